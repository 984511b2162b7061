"""One tube with a known file, and the gates of a workspace made for it."""

from __future__ import annotations

import numpy as np
import pytest
from tests.io.gates.workspace_maker import CHANNELS, SPILL, sample, workspace

from cellprec.io.export import write_fcs
from cellprec.io.fcs import read_fcs
from cellprec.io.gates import apply_gates


@pytest.fixture
def events(tmp_path):
    rng = np.random.default_rng(3)
    values = rng.uniform(-500, 20_000, (4000, 4)).astype(np.float32)
    values[:, 3] = np.arange(4000)
    words = {"$FIL": "raw.fcs", "GUID": "g-1", "TUBE NAME": "T7", "$DATE": "01-JAN-2020", "$BTIM": "10:00:00"}
    words |= {"$ETIM": "10:01:00", "$TIMESTEP": "0.01"}
    path = write_fcs(tmp_path / "tube.fcs", values, channels=CHANNELS, keywords=words)
    adata = read_fcs(path, sample_id="P01")
    assert "spillover" not in adata.varp
    return adata


@pytest.fixture
def gated(events, tmp_path):
    def _gated(*populations: str, name: str = "tube.fcs", check: bool = True, **parts):
        path = tmp_path / "w.wsp"
        path.write_text(workspace(sample(*populations, name=name, **parts)))
        apply_gates(events, gates=path, check_counts=check)
        return dict(zip(map(str, events.uns["gates"]["path"]), events.obsm["gates"].T, strict=True))

    return _gated


@pytest.fixture
def values(events):
    raw = np.asarray(events.X, dtype=np.float64)
    return {name: raw[:, i] for i, name in enumerate(CHANNELS)} | {
        f"Comp-{name}": column
        for name, column in zip(CHANNELS[1:3], (raw[:, 1:3] @ np.linalg.inv(SPILL)).T, strict=True)
    }

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

from cellprec.errors import UsageError
from cellprec.pl.gating import density


def events(n: int = 500) -> anndata.AnnData:
    values = np.random.default_rng(0).normal(size=(n, 2)).astype("float32")
    adata = anndata.AnnData(values, var=pd.DataFrame(index=["CD3", "CD19"]))
    adata.obsm["gates"] = np.column_stack([values[:, 0] > 0, values[:, 1] > 1])
    adata.uns["gates"] = {"name": ["T", "B"], "path": ["Lymphocytes > T", "Lymphocytes > B"]}
    return adata


def test_every_event_is_counted_once() -> None:
    adata = events()
    ax = density(adata, x="CD3", y="CD19")
    assert float(np.nansum(ax.collections[0].get_array())) == 500
    assert ax.get_title() == "500 events"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("CD3", "CD19")


@pytest.mark.parametrize("gate", ["T", "Lymphocytes > T"])
def test_a_gate_splits_the_events_and_says_its_share(gate: str) -> None:
    adata = events()
    ax = density(adata, x="CD3", y="CD19", gate=gate)
    inside = int(adata.obsm["gates"][:, 0].sum())
    outside, dense = ax.collections
    assert len(outside.get_offsets()) == 500 - inside
    assert float(np.nansum(dense.get_array())) == inside
    assert f"{inside / 500:.1%}" in ax.get_title()


def test_thresholds_are_lines_where_there_are_any() -> None:
    adata = events()
    adata.var["threshold"] = [0.5, np.nan]
    ax = density(adata, x="CD3", y="CD19")
    assert [line.get_xdata()[0] for line in ax.lines] == [0.5]


def test_unknown_channels_and_gates_are_told() -> None:
    with pytest.raises(UsageError, match="CD4"):
        density(events(), x="CD4", y="CD19")
    with pytest.raises(UsageError, match="NK") as caught:
        density(events(), x="CD3", y="CD19", gate="NK")
    assert "Lymphocytes > T" in caught.value.fix


def test_empty_constant_and_missing_values_can_be_drawn() -> None:
    assert density(events(0), x="CD3", y="CD19").get_title() == "no events"
    adata = events()
    adata.X[:, 0] = 2
    adata.X[:10, 1] = np.nan
    ax = density(adata, x="CD3", y="CD19")
    ax.figure.canvas.draw()
    assert ax.get_title() == "490 events"
    adata.obsm["gates"][:, 0] = False
    density(adata, x="CD3", y="CD19", gate="T").figure.canvas.draw()

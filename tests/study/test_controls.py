"""Single-stained controls: found by `init`, judged by `check`, used by `run`."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from cellprec.engine.notebook import run
from cellprec.engine.store import RunFolder
from cellprec.errors import CellprecError
from cellprec.io import read_fcs, write_fcs
from cellprec.study.discover import write_study
from cellprec.study.preflight import preflight

DYES = ["FITC-A", "PE-A", "APC-A"]
CHANNELS = ["FSC-A", "FSC-H", "SSC-A", *DYES, "Time"]
SPILLOVER = np.array([[1, 0.21, 0.004], [0.06, 1, 0.015], [0.002, 0.01, 1]])
TUBES = {"FITC": 0, "PE": 1, "APC": 2}


def tube(path: Path, light: np.ndarray, *, rng: np.random.Generator, markers: tuple[str, ...] = ()) -> None:
    n = len(light)
    forward = rng.normal(60_000, 4_000, n)
    seen = light @ SPILLOVER + rng.normal(60, 15, (n, 3))
    scatter = [forward, forward * rng.normal(0.9, 0.01, n), rng.normal(20_000, 2_000, n)]
    events = np.column_stack([*scatter, seen, np.arange(n)])
    write_fcs(path, events, channels=CHANNELS, markers=markers or None, ranges=[262_144] * len(CHANNELS))


def folder(root: Path) -> np.ndarray:
    """Write three controls, an unstained one and a sample; return the light of the dyes in the sample."""
    rng = np.random.default_rng(4)
    for name, column in TUBES.items():
        light = np.zeros((3000, 3))
        light[:1800, column] = rng.lognormal(9, 0.4, 1800)
        tube(root / f"Compensation Controls_{name} Stained Control.fcs", light, rng=rng)
    tube(root / "Compensation Controls_Unstained Control.fcs", np.zeros((3000, 3)), rng=rng)
    light = rng.lognormal(8, 0.6, (2000, 3)) * rng.integers(0, 2, (2000, 3))
    tube(root / "P01.fcs", light, rng=rng, markers=("", "", "", "CD3", "CD4", "CD19", ""))
    return light


@pytest.fixture
def study(tmp_path):
    light = folder(tmp_path)
    path, _ = write_study(tmp_path)
    return path, light


def fill(path: Path, **columns: str) -> None:
    sheet = pd.read_csv(path.parent / "samples.csv", dtype=str, keep_default_na=False)
    for name, stain in columns.items():
        sheet.loc[sheet["path"].str.contains(f"_{name} "), "column"] = stain
    sheet.to_csv(path.parent / "samples.csv", index=False)


def test_init_finds_controls_and_check_asks_what_they_are(study):
    path, _ = study
    sheet = pd.read_csv(path.parent / "samples.csv", keep_default_na=False)
    kinds = dict(zip(sheet["path"], sheet["modality"], strict=True))
    assert kinds.pop("P01.fcs") == "cytometry"
    assert set(kinds.values()) == {"control"}
    assert sheet.loc[sheet["path"].str.contains("Unstained"), "column"].tolist() == ["unstained"]
    _, problems = preflight(path)
    missing = [p for p in problems if p.code == "samples.control"]
    assert len(missing) == 3
    assert all(p.column == "column" and p.severity == "error" and "PE-A" in p.fix for p in missing)
    fill(path, FITC="FITC-A", PE="fitc-a", APC="APC-A")
    _, problems = preflight(path)
    assert [p.what for p in problems if p.severity == "error"] == ["there is a control for 'fitc-a' in row 3 already"]


def test_run_compensates_with_what_the_controls_show(study):
    path, light = study
    fill(path, FITC="FITC-A", PE="PE-A", APC="APC-A")
    done = run(path, until="events")
    matrix = anndata.read_h5ad(done.path / "data" / "compensation.h5ad").to_df()
    np.testing.assert_allclose(matrix.loc[DYES, DYES], SPILLOVER, atol=0.005)
    events = anndata.read_h5ad(next((done.path / "work").glob("events/*.h5ad")))
    assert "spillover" not in read_fcs(path.parent / "P01.fcs").varp
    found = events.layers["compensated"][:, 3:6]
    # background stays in; what the dyes lend each other is gone
    np.testing.assert_allclose(np.median(found - light, axis=0), [60 * 0.8, 60 * 0.95, 60], atol=20)
    dark = light[:, 1] == 0
    slope = np.polyfit(light[dark, 0], found[dark, 1], 1)[0]
    assert abs(slope) < 0.005
    assert list(done.table("compensation.pairs")["dye"].unique()) == DYES
    assert set(done.table("compensation.errors")["verdict"]) == {"fine"}


def test_a_sample_is_not_compensated_otherwise_where_the_controls_fail(study):
    path, _ = study
    fill(path, FITC="FITC-A", PE="PE-A", APC="APC-A")
    rng = np.random.default_rng(0)
    tube(path.parent / "Compensation Controls_PE Stained Control.fcs", np.zeros((3000, 3)), rng=rng)
    with pytest.raises(CellprecError, match="compensation controls") as caught:
        run(path, until="events")
    assert "PE" in caught.value.why
    done = RunFolder(path.parent / "results")
    status = {entry["step"]: entry["status"] for entry in done.manifest()["steps"]}
    assert (status["compensation"], status["events"]) == ("failed", "failed")
    assert not list((done.path / "work").glob("events/*.h5ad"))

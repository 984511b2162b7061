"""Single-stained controls: found by `init`, judged by `check`, used by `run`."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from cellprec.cytometry import sample_tables
from cellprec.engine.notebook import run
from cellprec.engine.store import RunFolder
from cellprec.errors import CellprecError
from cellprec.io import label_populations, read_fcs, write_fcs
from cellprec.simulate import simulate_spectral, simulate_tubes
from cellprec.study.discover import write_study
from cellprec.study.judge import _judge_controls, _judge_twice
from cellprec.study.preflight import preflight
from cellprec.study.sheet import Sheet

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


def test_a_control_for_a_channel_that_is_not_there_is_looked_at_before_the_run(study):
    path, _ = study
    fill(path, FITC="FITC-A", PE="PE-B", APC="APC-A")
    _, problems = preflight(path)
    (told,) = [p for p in problems if p.code == "controls.stain"]
    assert (told.severity, told.fix) == ("warning", "Did you mean 'PE-A'?")


def judged(*stains: str, paths: tuple[str, ...] = ()) -> list[str]:
    """What is wrong with the rows of these controls."""
    frame = pd.DataFrame({"sample_id": [f"c{i}" for i in range(len(stains))], "column": stains}, dtype=str)
    frame = frame.assign(modality="control", path=paths or [f"c{i}.fcs" for i in range(len(stains))])
    sheet = Sheet("samples.csv", frame.set_axis(range(2, 2 + len(stains))))
    return [f"{p.row} {p.what}" for p in _judge_controls(sheet) + _judge_twice(sheet, Path())]


def test_controls_are_judged_by_what_they_are_stained_for():
    assert judged("PE-A", "FITC-A", "unstained") == []
    assert judged("pe-a", "PE-A", "Unstained", "unstained") == [
        "3 there is a control for 'PE-A' in row 2 already",
        "5 there is a control for 'unstained' in row 4 already",
    ]
    assert judged("PE-A", " ") == ["3 the control does not say what it is stained for"]
    assert judged("Unstained") == ["None no control is stained"]


def test_one_tube_is_no_control_of_two_dyes():
    assert judged("PE-A", "FITC-A", paths=("a.fcs", "a.fcs")) == ["3 the file is already named in row 2"]


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


def test_a_panel_goes_from_tubes_to_gated_populations(tmp_path):
    truth = simulate_tubes(tmp_path, n_events=3000, seed=2)
    done = run(tmp_path / "study.yaml", until="events")
    matrix = anndata.read_h5ad(done.path / "data" / "compensation.h5ad").to_df()
    np.testing.assert_allclose(matrix.loc[truth.index, truth.columns], truth, atol=0.005)
    samples = {name: anndata.read_h5ad(done.path / "work" / "events" / f"{name}.h5ad") for name in ("S1", "S2")}
    for name, cells in samples.items():
        known = pd.read_csv(tmp_path / f"truth_{name}.csv")
        keep = cells.obs["keep"].to_numpy()
        # the clog, the dead and the debris are gone, and the gates of the template name the rest
        assert known["clog"][keep].mean() < 0.01
        assert known["population"][keep].isin(["dead", "debris"]).mean() < 0.01
        label_populations(cells)
        named = cells.obs["population"].astype(str).to_numpy()
        for population, gate in (("CD4 T", "CD4 T cells"), ("CD8 T", "CD8 T cells"), ("B", "B cells")):
            assert (named[keep & (known["population"] == population)] == gate).mean() > 0.95
            assert (known["population"][named == gate] == population).mean() > 0.98
    bins = sample_tables(samples)["acquisition"]
    assert bins.loc[bins["flagged"] > 0, "sample_id"].unique().tolist() == ["S2"]


def test_a_spectral_study_is_unmixed_and_its_dead_cells_still_found(tmp_path):
    panel = simulate_spectral(n_dyes=6, n_detectors=24, n_events=2000, n_control_events=1500, seed=3)
    rows = []
    tubes = {**panel.controls, "unstained": panel.unstained, "S1": panel.stained}
    dead = panel.spectra.index[0]
    for name, adata in tubes.items():
        channels = list(adata.var["channel"])
        write_fcs(tmp_path / f"{name}.fcs", adata.X, channels=channels, ranges=list(adata.var["range"]))
        stain = "" if name == "S1" else "Live/Dead" if name == dead else name
        rows.append((name, "cytometry" if name == "S1" else "control", f"{name}.fcs", stain))
    sheet = pd.DataFrame(rows, columns=["sample_id", "modality", "path", "column"])
    sheet.to_csv(tmp_path / "samples.csv", index=False)
    (tmp_path / "study.yaml").write_text("settings:\n  compensation: {spectral: true}\n")
    done = run(tmp_path / "study.yaml", until="events")
    events = anndata.read_h5ad(done.path / "work" / "events" / "S1.h5ad")
    truth = panel.abundances.rename(columns={dead: "Live/Dead"})
    for dye in truth.columns.drop("AF", errors="ignore"):
        assert np.corrcoef(events.to_df()[dye], truth[dye])[0, 1] ** 2 > 0.97
    reasons = pd.DataFrame(events.obsm["drop_reasons"], columns=events.uns["drop_reasons"])
    stained = truth["Live/Dead"].to_numpy() > 0
    assert reasons["dead"][stained].mean() > 0.9
    assert reasons["dead"][~stained].mean() < 0.02
    assert (events.obs["keep"].to_numpy() == ~reasons.any(axis=1).to_numpy()).all()

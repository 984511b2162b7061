"""What the report says of single-stained controls and of disturbed acquisition."""

from __future__ import annotations

from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cellprec.report.section import Parts
from cellprec.report.sections.acquisition import draw_acquisition
from cellprec.report.sections.controls import draw_controls

DYES = ["FITC-A", "PE-A"]


def folder(tmp_path, *, verdict: str = "fine", unmixing: str = "") -> SimpleNamespace:
    matrix = anndata.AnnData(
        np.array([[1, 0.2], [0.05, 1]]), obs=pd.DataFrame(index=DYES), var=pd.DataFrame(index=DYES)
    )
    matrix.uns["unmixing"] = unmixing
    errors = pd.DataFrame({"dye": DYES, "detector": DYES[::-1], "verdict": ["fine", verdict], "error": [0.001, -0.04]})
    errors = errors.assign(low=errors["error"] - 0.01, high=errors["error"] + 0.01, reason="")
    pairs = pd.DataFrame({"dye": ["FITC"], "other": ["PE"], "cosine": [0.97]})
    tables = {"compensation.errors": pd.DataFrame() if unmixing else errors, "compensation.pairs": pairs}
    return SimpleNamespace(
        path=tmp_path, data=lambda step: matrix if step == "compensation" else None, table=tables.get
    )


def test_the_matrix_and_what_it_leaves(tmp_path):
    parts = Parts()
    draw_controls(parts, folder(tmp_path, verdict="over"))
    assert parts.figures[0].alt.endswith("Largest: FITC-A in PE-A 20.0 %; PE-A in FITC-A 5.0 %.")
    (alert,) = parts.alerts
    assert alert.title.startswith("1 coefficient of the compensation")
    assert alert.text == "PE-A in FITC-A (over, -4.0 %)."
    assert parts.tables[0].rows[0][:3] == ("PE-A", "FITC-A", "over")


def test_a_right_matrix_gives_no_alert_and_spectra_show_who_is_alike(tmp_path):
    parts = Parts()
    draw_controls(parts, folder(tmp_path))
    assert not parts.alerts
    spectral = Parts()
    draw_controls(spectral, folder(tmp_path, unmixing="ols"))
    assert "spectrum of each dye" in spectral.figures[0].caption
    assert spectral.tables[0].rows[0] == ("FITC", "PE", "0.970")
    none = Parts()
    draw_controls(none, SimpleNamespace(path=tmp_path, data=lambda _: None, table=lambda _: None))
    assert not none.figures


def test_too_little_compensation_is_told_as_too_much_is(tmp_path):
    parts = Parts()
    draw_controls(parts, folder(tmp_path, verdict="under"))
    (alert,) = parts.alerts
    assert alert.text == "PE-A in FITC-A (under, -4.0 %)."


def test_only_disturbed_samples_are_drawn_the_worst_named_first(tmp_path):
    bins = pd.DataFrame({"sample_id": np.repeat(["a", "b", "c"], 10), "bin": np.tile(np.arange(10), 3)})
    bins = bins.assign(events=50, flagged=0, rate=10.0, why="", start=0.0, end=1.0)
    run = SimpleNamespace(path=tmp_path)
    parts = Parts()
    draw_acquisition(parts, run, bins)
    draw_acquisition(parts, run, None)
    assert not parts.figures
    bins.loc[3, "flagged"] = 50
    bins.loc[[23, 24], ["flagged", "why"]] = [50, "CD3 lower"]
    draw_acquisition(parts, run, bins)
    assert "Most set aside: c (20.0 %) and a (10.0 %). Why, most often: CD3 lower." in parts.figures[0].alt
    assert "2 samples of 3 have stretches" in parts.figures[0].caption


def test_of_many_disturbed_samples_the_worst_are_drawn_and_it_is_said(tmp_path, monkeypatch):
    names = [f"S{i:02d}" for i in range(26)]
    bins = pd.DataFrame({"sample_id": np.repeat(names, 30), "bin": np.tile(np.arange(30), 26)})
    bins = bins.assign(events=50, rate=10.0, start=0.0, end=1.0)
    # the first sample is disturbed least, and in its own way
    bins["flagged"] = 50 * (bins["bin"] <= np.repeat(np.arange(26), 30))
    bins["why"] = np.where(bins["flagged"] == 0, "not flagged", np.where(bins["sample_id"] == "S00", "odd", "usual"))
    drawn = []

    def draw(table: pd.DataFrame) -> Axes:
        drawn.extend(table["sample_id"].unique())
        return Figure().subplots()

    monkeypatch.setattr("cellprec.report.sections.acquisition.acquisition", draw)
    parts = Parts()
    draw_acquisition(parts, SimpleNamespace(path=tmp_path), bins)
    assert drawn == names[1:]
    assert parts.figures[0].caption.endswith("The 25 most disturbed are shown.")
    assert "26 samples of 26 have stretches" in parts.figures[0].caption
    assert parts.figures[0].alt.startswith("Bars over time of 25 samples")
    assert parts.figures[0].alt.endswith("Why, most often: usual.")

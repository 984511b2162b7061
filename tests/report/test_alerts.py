from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from cellprec.notes import Note
from cellprec.pl.style import new_axes
from cellprec.report.build import _facts
from cellprec.report.figure import save_figure
from cellprec.report.sections.alerts import _noted
from cellprec.report.sections.biomarkers import _cannot_tell
from cellprec.report.sections.clones import shift_alerts
from cellprec.report.sections.cytometry import margin_alerts
from cellprec.report.sections.rna import weak_names

NONE = pd.DataFrame({"outcome": [], "feature": [], "verdict": []})


def prediction(features: str) -> pd.DataFrame:
    verdicts = ["cannot tell: no covariates were named", features, "cannot tell: no covariates were named"]
    models = ["clinical only", "features", "features + clinical"]
    return pd.DataFrame({"outcome": "response", "model": models, "verdict": verdicts})


def test_no_covariates_is_no_news_where_the_features_have_their_answer() -> None:
    assert _cannot_tell(NONE, prediction("no better than chance")) == []
    assert [alert.title for alert in _cannot_tell(NONE, prediction("cannot tell: 3 patients"))] == [
        "No prediction of response",
        "No prediction of response",
    ]


def test_every_column_that_was_dropped_is_named_on_top() -> None:
    notes = [Note("table.dropped", f"column {name} was dropped: all the same", None, "labs") for name in ("ldh", "crp")]
    (alert,) = _noted(notes)
    assert "ldh" in alert.text
    assert "crp" in alert.text


@pytest.mark.parametrize("code", ["cytometry.set_aside", "cytometry.panel", "clones.pcr"])
def test_samples_with_one_trouble_share_one_alert(code: str) -> None:
    (alert,) = _noted([Note(code, f"trouble of {name}", 1, name) for name in ("a", "b")])
    assert "2 samples: a and b" in alert.title


def test_margins_are_told_beyond_a_fifth_only() -> None:
    table = pd.DataFrame({"sample_id": ["a", "b"], "n_events": [100, 100], "margin": [20, 21]})
    (alert,) = margin_alerts(table)
    assert alert.text == "b (21.0 %)."
    assert margin_alerts(table.head(1)) == []


def test_weak_names_are_counted_in_cells_and_the_unassigned_have_no_name() -> None:
    table = pd.DataFrame({"cluster": list("012"), "n": [10, 60, 30], "population": ["T", "unassigned", "B"]})
    (alert,) = weak_names(table.assign(confidence=[0.59, 0.0, 0.6]))
    assert "10.0 % of the cells" in alert.title
    assert "T (cluster 0, 0.59)" in alert.text
    assert "B (" not in alert.text


def test_a_far_shift_is_told_in_both_directions_and_a_small_or_missing_one_is_not() -> None:
    table = pd.DataFrame({"contrast": list("abcd"), "shift": [3.0, -4.0, 2.9, float("nan")]})
    (alert,) = shift_alerts(table)
    assert alert.text.startswith("a (share rises 8-fold) and b (share falls 16-fold)")
    assert shift_alerts(table.tail(2)) == []


@pytest.mark.parametrize(("sheet", "expected"), [(["", ""], "3"), (["P1", "P2"], "2")])
def test_patients_are_counted_from_their_table_where_the_sheet_names_none(sheet: list[str], expected: str) -> None:
    samples = pd.DataFrame({"sample_id": ["a", "b"], "modality": "table", "patient_id": sheet})
    patients = pd.DataFrame({"age": [1, 2, 3]}, index=["P1", "P2", "P3"])
    study = SimpleNamespace(design=SimpleNamespace(samples=samples, patients=patients))
    assert dict(_facts({}, study))["Patients"] == expected


def test_a_layout_without_room_does_not_reach_the_terminal(tmp_path: Path) -> None:
    ax = new_axes(size=(1, 0.3))
    ax.plot([0], [0], label="x" * 200)
    ax.set_ylabel("y" * 200)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_figure(tmp_path, ax, name="a.b", alt="", caption="")

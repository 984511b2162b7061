from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd

from cellprec.notes import Note
from cellprec.report.sections import happened, methods


def ran(*notes: Note, tables: dict[str, pd.DataFrame] | None = None, **settings: dict[str, Any]) -> Any:
    names = {"cells": ["a", "b", "c"], "events": ["a", "b", "c"]}
    steps = [
        {"step": step, "sample": name, "status": "done", "settings": used}
        for step, used in settings.items()
        for name in names.get(step, [""])
    ]
    held = tables or {}
    return SimpleNamespace(
        manifest=lambda: {"steps": steps}, notes=lambda: list(notes), table=held.get, data=lambda _: None
    )


def text(run: Any) -> str:
    return " ".join(methods.write(run, SimpleNamespace(design=SimpleNamespace(outcomes=()))))


def test_scrublet_is_claimed_only_where_it_could_tell() -> None:
    silent = [Note("cells.doublets_cannot_tell", "fewer than 100", None, name) for name in "abc"]
    none = text(ran(*silent, cells={"doublets": True}))
    assert "in none of 3 samples" in none
    assert "Scrublet" not in none
    one = text(ran(Note("cells.doublets", "5", 5, "c"), *silent[:2], cells={"doublets": True}))
    assert "Scrublet" in one
    assert "set aside in 1 of 3 samples (in 2 it could not be told" in one


def test_calls_that_were_not_believed_are_not_said_to_be_applied() -> None:
    notes = [Note("cells.doublets", "5", 5, "a"), Note("cells.doublets_not_applied", "49", 49, "b")]
    assert happened.cell_doublets(ran(*notes, cells={"doublets": True})) == (
        "in 1 of 3 samples (in 1 the calls were not believed and no cell was dropped)"
    )


def test_scvi_given_up_for_few_cells_is_not_claimed() -> None:
    said = text(ran(Note("rna.few_cells", "too few", 80), rna={"integration": "scvi"}))
    assert "scVI" not in said
    assert "principal components" in said
    assert "scVI" in text(ran(rna={"integration": "scvi"}))


def test_populations_are_named_by_gates_only_if_all_samples_have_them() -> None:
    gates = {"cytometry.gates": pd.DataFrame({"sample_id": ["a"], "path": ["CD3+"]})}
    assert "gated population" in text(ran(tables=gates, cytometry={}))
    assert "signs of their markers" in text(ran(Note("cytometry.some_gated", "1 of 3", 1), tables=gates, cytometry={}))


def test_a_sample_without_a_matrix_is_not_said_to_be_compensated() -> None:
    assert "stored in each file in 2 of 3 samples" in text(
        ran(Note("events.no_spillover", "none", None, "b"), events={})
    )


def test_a_check_that_could_not_be_made_everywhere_says_where_it_was() -> None:
    checks = {"margins": True, "acquisition": True, "doublets": False, "dead": True}
    notes = [Note("events.no_dead_check", "no stain", None, name) for name in "abc"]
    said = text(ran(Note("events.no_acquisition_check", "few", None, "b"), *notes, events=checks))
    assert "Emmaneel et al. 2022) (which could be told in 2 of 3 samples)" in said
    assert "viability stain)" not in said
    assert "dead cells be told from the others" in said
    assert "edge of a detector's range;" in said
    assert "doublets (by area" not in said
    assert "No events were set aside." in text(ran(events=dict.fromkeys(checks, False)))


def test_the_matrix_that_was_used_is_the_one_that_is_named() -> None:
    controls = {"spectral": False, "unmixing": "nnls"}
    assert "stored in each file where there was one." in text(ran(events={}))
    assert "single-stained controls (Bagwell" in text(ran(events={}, compensation=controls))
    assert "unmixed by non-negative least squares" in text(ran(events={}, compensation=controls | {"spectral": True}))
    given = text(ran(events={"spillover": "matrix.csv"}, compensation=controls | {"spectral": True}))
    assert "a spillover matrix given by the user." in given
    assert "unmixed" not in given
    assert "controls" not in given
    none = [Note("events.identity_spillover", "ones", None, "a"), Note("events.no_spillover", "none", None, "b")]
    assert "stored in each file in 1 of 3 samples." in text(ran(*none, events={}))

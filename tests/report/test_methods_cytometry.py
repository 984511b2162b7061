"""What the methods say of cytometry: what was done to these events, not what could be done."""

from __future__ import annotations

from types import SimpleNamespace

import anndata
import pandas as pd
import pytest

from cellprec.notes import Note
from cellprec.report.sections.methods_cytometry import describe_cytometry

EVENTS = {"margins": True, "acquisition": True, "doublets": True, "dead": True, "spillover": None, "template": None}


def told(*, kind: str = "fluorescence", notes: tuple[Note, ...] = (), **settings: dict) -> str:
    cells = anndata.AnnData(shape=(0, 1), var=pd.DataFrame({"kind": [kind]}, index=["CD3"]))
    steps = [{"step": "events", "sample": name, "status": "done"} for name in "ab"]
    run = SimpleNamespace(
        data=lambda _: cells, table=lambda _: None, notes=lambda: list(notes), manifest=lambda: {"steps": steps}
    )
    return " ".join(describe_cytometry({"events": EVENTS, "cytometry": {}} | settings, run, None))


def test_each_kind_of_cytometry_is_told_by_its_own_checks():
    light, metal = told(), told(kind="mass")
    assert "logicle" in light
    assert "area against height" in light
    assert not {"beads", "DNA"} & set(light.replace(",", " ").split())
    assert "DNA content" in metal
    assert "cofactor 5" in metal
    assert "logicle" not in metal


def test_what_could_not_be_told_is_not_claimed():
    some = told(notes=(Note("events.no_dead_check", "no stain", None, "a"),))
    assert "dead cells (above the valley of a viability stain) (which could be told in 1 of 2 samples)" in some
    none = told(notes=tuple(Note("events.no_dead_check", "no stain", None, name) for name in "ab"))
    assert "In no sample could dead cells be told from the others." in none
    assert "viability" not in none
    assert told(events=dict.fromkeys(EVENTS)).count("No events were set aside.") == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"events": EVENTS | {"spillover": "m.csv"}, "compensation": {}}, "a spillover matrix given by the user"),
        ({"compensation": {"spectral": False}}, "estimated from the study's single-stained controls"),
        ({"compensation": {"spectral": True, "unmixing": "nnls"}}, "unmixed by non-negative least squares"),
        ({}, "the spillover matrix stored in each file where there was one"),
        ({"cytometry": {"scale": "biexponential"}}, "FlowJo's biexponential scale"),
        ({"cytometry": {"cofactor": 150}}, "with a cofactor of 150"),
    ],
)
def test_whose_matrix_and_which_scale(settings, says):
    assert says in told(**settings)

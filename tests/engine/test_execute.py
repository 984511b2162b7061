"""What a task waits for, and what its receipt tells of input that cannot be used."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anndata
import pytest

from cellprec.engine.execute import _need, _told
from cellprec.errors import InputError, Problem, StudyError
from cellprec.steps.catalogue import CATALOGUE


def need(step: str, name: str, *, planned: bool, made: Any = None) -> Any:
    """Ask for what a step needs in a run that planned to make it or not, and made it or not."""
    steps = [CATALOGUE[name]] if planned else []
    plan = SimpleNamespace(steps=steps, samples=lambda _: [SimpleNamespace(sample_id="S1")])
    run = SimpleNamespace(data=lambda _: made, artifacts=lambda _, samples: made or {})
    return _need(plan, run, CATALOGUE[step], name)


def test_a_sample_waits_for_the_controls_of_its_study_and_goes_on_where_there_are_none() -> None:
    matrix = anndata.AnnData(shape=(2, 2))
    assert need("events", "compensation", planned=True, made=matrix) is matrix
    assert need("events", "compensation", planned=False) is None
    with pytest.raises(InputError, match="needs the result of compensation") as caught:
        need("events", "compensation", planned=True)
    assert (caught.value.where, caught.value.fix) == ("step events", "Mend compensation first.")


def test_the_study_goes_on_without_what_it_may_lack_and_not_without_the_rest() -> None:
    with pytest.raises(InputError, match="none of the 1 files could be read"):
        need("compensation", "controls", planned=True)
    assert need("compensation", "controls", planned=True, made={"S1": 1}) == {"S1": 1}
    optional = [n.name for n in CATALOGUE["patients"].needs if n.optional and CATALOGUE[n.name].scope == "study"]
    assert optional
    assert all(need("patients", name, planned=True) is None for name in optional)


def test_every_problem_reaches_the_receipt_with_its_place_and_its_remedy() -> None:
    problems = [
        Problem("a", "no dye", file="samples.csv", row=3, column="column", sample="S1", fix="Write it."),
        Problem("b", "no control is stained", fix="Add them."),
    ]
    told = _told(StudyError(problems, what="the controls cannot be used"))
    assert told["what"] == "the controls cannot be used"
    assert told["why"].splitlines() == [
        "samples.csv, row 3, column column, sample S1: no dye. Write it.",
        "no control is stained. Add them.",
    ]
    plain = InputError("no file", where="S1", why="it was moved", fix="Check the path.")
    assert _told(plain) == {"what": "no file", "where": "S1", "why": "it was moved", "fix": "Check the path."}

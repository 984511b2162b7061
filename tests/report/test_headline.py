from __future__ import annotations

from types import SimpleNamespace

import pandas as pd

from cellprec.report.sections.headline import clone_answers, section, top_clones, under_both


def contrasts(n: int, **columns: object) -> pd.DataFrame:
    base = {"kind": "drug", "n_enriched": 0, "n_depleted": 0, "verdict": "no clone rose or fell"}
    return pd.DataFrame({"contrast": [f"c{i}" for i in range(n)], **base, **columns})


def test_few_contrasts_answer_for_themselves() -> None:
    assert clone_answers(contrasts(2)) == [("c0", "No clone rose or fell."), ("c1", "No clone rose or fell.")]


def test_many_contrasts_are_summed_up_with_none_lost() -> None:
    verdicts = ["1 clone fell"] * 3 + ["no clone rose"] * 20 + ["cannot tell: few cells"]
    table = contrasts(24, kind="time, sampling only", n_depleted=[1] * 3 + [0] * 21, verdict=verdicts)
    said = "Clones rose or fell in 3 of 23: c0 (1), c1 (1) and c2 (1). For 1 it cannot be told."
    assert clone_answers(table) == [("24 contrasts over time", said)]


def test_the_biomarkers_answer_first() -> None:
    tables = {
        "biomarkers.headlines": pd.DataFrame({"outcome": ["response"], "sentence": ["rna:x@d0 goes along with it."]}),
        "clones.contrasts": contrasts(1),
    }
    made = section(SimpleNamespace(table=tables.get), None)
    assert made is not None
    assert made.answers == (("response", "rna:x@d0 goes along with it."), ("c0", "No clone rose or fell."))


def test_without_a_question_there_is_no_answer() -> None:
    assert section(SimpleNamespace(table=lambda name: None), None) is None


def test_the_surest_clones_are_named_and_the_depleted_are_not() -> None:
    rows = [
        {"contrast": "A", "clone": name, "call": call, "log2fc": 2.0, "low": 1.0, "high": 3.0, "p": p}
        for name, call, p in (("late", "enriched", 0.01), ("first", "enriched", 1e-9), ("gone", "depleted", 1e-12))
    ]
    assert (
        top_clones("A", pd.DataFrame(rows))
        == " Surest: first (4.00-fold, 2.00 to 8.00); late (4.00-fold, 2.00 to 8.00)."
    )
    assert top_clones("B", pd.DataFrame(rows)) == ""


def test_one_drug_has_no_clones_under_both() -> None:
    contrasts = pd.DataFrame({"contrast": ["A", "halves"], "kind": ["drug", "negative control"]})
    assert under_both(contrasts, pd.DataFrame({"contrast": ["A"], "clone": ["x"], "call": ["enriched"]})) == []

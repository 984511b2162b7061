"""The answers in one sentence each: what foretells what, which clones resist, or that the data cannot tell."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pandas as pd

from cellprec.pl.forest import in_words
from cellprec.report.section import Section
from cellprec.report.sections.clone_figures import ranked
from cellprec.report.table import as_text, counted, short, some, upper

if TYPE_CHECKING:
    from cellprec.report.section import RunFolder, Study

MOST_NAMED = 3
MOST_CONTRASTS = 6  # of one kind; more of them, such as one per patient, are summed up


def section(run: RunFolder, study: Study) -> Section | None:  # noqa: ARG001 - all sections are called alike
    """Return the answers of the study, each with the question it answers.

    >>> from types import SimpleNamespace
    >>> table = pd.DataFrame({"outcome": ["response"], "sentence": ["Nothing foretells response."]})
    >>> tables = {"biomarkers.headlines": table}
    >>> section(SimpleNamespace(table=tables.get), None).answers
    (('response', 'Nothing foretells response.'),)
    """
    answers: list[tuple[str, str]] = []
    headlines, contrasts = run.table("biomarkers.headlines"), run.table("clones.contrasts")
    if headlines is not None:
        associations = run.table("biomarkers.associations")
        features = [] if associations is None else associations["feature"].astype(str).tolist()
        said = [in_words(sentence, features) for sentence in headlines["sentence"].astype(str)]
        answers += list(zip(headlines["outcome"].astype(str), said, strict=True))
    if contrasts is not None and len(contrasts):
        tests = run.table("clones.tests")
        answers += clone_answers(contrasts, tests)
        answers += under_both(contrasts, tests)
    if not answers:
        return None
    return Section(
        key="headline",
        title="The answers",
        lead="One answer per question. The numbers behind each, and all other contrasts, are in the sections below.",
        answers=tuple(answers),
    )


def clone_answers(contrasts: pd.DataFrame, tests: pd.DataFrame | None = None) -> list[tuple[str, str]]:
    """Return the verdicts about clones, one by one or, where they are many of a kind, summed up in one sentence.

    >>> table = pd.DataFrame({"contrast": [f"P{i}" for i in range(9)], "kind": "time", "n_enriched": [2, 1] + [0] * 7})
    >>> clone_answers(table.assign(n_depleted=0, verdict=["", ""] + ["none"] * 6 + ["cannot tell: few"]))
    [('9 contrasts over time', 'Clones rose or fell in 2 of 8: P0 (2) and P1 (1). For 1 it cannot be told.')]
    """
    answers = []
    for kind, own in ranked(contrasts).groupby("kind", sort=False):
        if len(own) <= MOST_CONTRASTS:
            said = [
                f"{upper(verdict)}.{top_clones(str(name), tests)}"
                for name, verdict in zip(own["contrast"], own["verdict"].astype(str), strict=True)
            ]
            answers += list(zip(own["contrast"].astype(str), said, strict=True))
            continue
        silent = own["verdict"].astype(str).str.lower().str.startswith("cannot tell")
        told = own[~silent]
        calls = (told["n_enriched"] + told["n_depleted"]).astype(int)
        moved = [f"{name} ({n})" for name, n in zip(told["contrast"], calls, strict=True) if n]
        sentence = f"Clones rose or fell in {len(moved)} of {len(told)}" + (f": {some(moved)}." if moved else ".")
        sentence += f" For {int(silent.sum())} it cannot be told." if silent.any() else ""
        word = "contrasts over time" if str(kind).startswith("time") else f"contrasts: {kind}"
        answers.append((f"{len(own)} {word}", sentence))
    return answers


def top_clones(contrast: str, tests: pd.DataFrame | None) -> str:
    """Name the enriched clones of a contrast that are surest, with their fold and its interval; "" where none is.

    >>> row = {"contrast": "drug", "clone": "ACGT", "call": "enriched", "log2fc": 3.0, "low": 2.0, "high": 4.0}
    >>> top_clones("drug", pd.DataFrame([{**row, "p": 0.0}]))
    ' Surest: ACGT (8.00-fold, 4.00 to 16.0).'
    """
    if tests is None or not len(tests):
        return ""
    own = tests[(tests["contrast"].astype(str) == contrast) & (tests["call"].astype(str) == "enriched")]
    told = []
    for row in own.sort_values("p", kind="stable").head(MOST_NAMED).to_dict("records"):
        fold, low, high = (as_text(2.0 ** float(row[key]), kind="number") for key in ("log2fc", "low", "high"))
        told.append(f"{short(str(row['clone']))} ({fold}-fold, {low} to {high})")
    return f" Surest: {'; '.join(told)}." if told else ""


def under_both(contrasts: pd.DataFrame, tests: pd.DataFrame | None) -> list[tuple[str, str]]:
    """Say how many clones are enriched under each pair of drugs; nothing where there are fewer than two drugs.

    >>> contrasts = pd.DataFrame({"contrast": ["A", "B"], "kind": "drug"})
    >>> tests = pd.DataFrame({"contrast": ["A", "A", "B"], "clone": ["x", "y", "x"], "call": "enriched"})
    >>> under_both(contrasts, tests)
    [('More than one drug', 'A and B: 1 clone is enriched under both (of 2 and 1).')]
    """
    drugs = contrasts.loc[contrasts["kind"].astype(str) == "drug", "contrast"].astype(str).tolist()
    if tests is None or not 2 <= len(drugs) <= MOST_CONTRASTS:
        return []
    up = tests[tests["call"].astype(str) == "enriched"]
    held = {drug: set(up.loc[up["contrast"].astype(str) == drug, "clone"].astype(str)) for drug in drugs}
    said = []
    for one, other in combinations(drugs, 2):
        n = len(held[one] & held[other])
        verb = "is" if n == 1 else "are"
        said.append(
            f"{one} and {other}: {counted(n, one='clone')} {verb} enriched under both "
            f"(of {len(held[one]):,} and {len(held[other]):,})."
        )
    return [("More than one drug", " ".join(said))]

"""The answers in one sentence each: what foretells what, which clones resist, or that the data cannot tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from cellprec.pl.forest import in_words
from cellprec.report.section import Section
from cellprec.report.sections.clone_figures import ranked
from cellprec.report.table import some, upper

if TYPE_CHECKING:
    from cellprec.report.section import RunFolder, Study

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
        answers += clone_answers(contrasts)
    if not answers:
        return None
    return Section(
        key="headline",
        title="The answers",
        lead="One answer per question. The numbers behind each, and all other contrasts, are in the sections below.",
        answers=tuple(answers),
    )


def clone_answers(contrasts: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the verdicts about clones, one by one or, where they are many of a kind, summed up in one sentence.

    >>> table = pd.DataFrame({"contrast": [f"P{i}" for i in range(9)], "kind": "time", "n_enriched": [2, 1] + [0] * 7})
    >>> clone_answers(table.assign(n_depleted=0, verdict=["", ""] + ["none"] * 6 + ["cannot tell: few"]))
    [('9 contrasts over time', 'Clones rose or fell in 2 of 8: P0 (2) and P1 (1). For 1 it cannot be told.')]
    """
    answers = []
    for kind, own in ranked(contrasts).groupby("kind", sort=False):
        if len(own) <= MOST_CONTRASTS:
            said = [f"{upper(text)}." for text in own["verdict"].astype(str)]
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

"""The answers in one sentence each: what foretells what, which clones resist, or that the data cannot tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellprec.report.section import Section
from cellprec.report.sections.clone_figures import ranked
from cellprec.report.table import upper

if TYPE_CHECKING:
    from cellprec.report.section import RunFolder, Study

MOST_CONTRASTS = 8


def section(run: RunFolder, study: Study) -> Section | None:  # noqa: ARG001 - all sections are called alike
    """Return the answers of the study, each with the question it answers.

    >>> from types import SimpleNamespace
    >>> import pandas as pd
    >>> table = pd.DataFrame({"outcome": ["response"], "sentence": ["Nothing foretells response."]})
    >>> tables = {"biomarkers.headlines": table}
    >>> section(SimpleNamespace(table=tables.get), None).answers
    (('response', 'Nothing foretells response.'),)
    """
    answers = []
    for name, question, answer in (
        ("biomarkers.headlines", "outcome", "sentence"),
        ("clones.contrasts", "contrast", "verdict"),
    ):
        table = run.table(name)
        if table is not None and len(table):
            table = ranked(table).head(MOST_CONTRASTS) if name == "clones.contrasts" else table
            said = [f"{upper(text)}." for text in table[answer].astype(str)]
            answers += list(zip(table[question].astype(str), said, strict=True))
    if not answers:
        return None
    return Section(
        key="headline",
        title="The answers",
        lead="One answer per question. The numbers behind each, and all other contrasts, are in the sections below.",
        answers=tuple(answers),
    )

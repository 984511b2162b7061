"""The answers in one sentence each: what foretells what, which clones resist, or that the data cannot tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellprec.report.section import Section

if TYPE_CHECKING:
    from cellprec.report.section import RunFolder, Study

MOST_ANSWERS = 24


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
        if table is not None:
            answers += list(zip(table[question].astype(str), table[answer].astype(str), strict=True))
    if not answers:
        return None
    return Section(
        key="headline",
        title="The answers",
        lead="One sentence per question. The numbers behind each are in the sections below.",
        answers=tuple(answers[:MOST_ANSWERS]),
        paragraphs=(f"{len(answers) - MOST_ANSWERS:,} more are in the sections below.",)
        if len(answers) > MOST_ANSWERS
        else (),
    )

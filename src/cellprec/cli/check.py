"""``cellprec check``: everything that is wrong with a study, at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cellprec.cli.say import out, tell_all


def check(
    study: Annotated[Path, typer.Argument(help="study.yaml, or the folder it is in")] = Path("study.yaml"),
) -> None:
    """Name everything that is wrong with a study: file, row, column, fix. Opens every file, changes nothing."""
    from cellprec.study.preflight import preflight  # noqa: PLC0415 - help must stay light

    found, problems = preflight(study)
    tell_all(problems, out)
    errors = sum(problem.severity == "error" for problem in problems)
    if errors:
        out.print(f"[red]{errors} to mend[/], {len(problems) - errors} to look at")
        raise typer.Exit(3)
    if found is None:  # nothing to run and nothing wrong: the sheet named no file
        raise typer.Exit(3)
    for outcome in found.design.outcomes:
        values = list(outcome.yes.values())
        yes, no = values.count(1.0), values.count(0.0)
        out.print(f"  {outcome.name}: {yes} yes ({outcome.rule}), {no} no, {len(values) - yes - no} missing")
    files = len(found.samples)
    out.print(f"[green]ready[/]: {files} file{'s' * (files != 1)}. Next: cellprec run {study}")

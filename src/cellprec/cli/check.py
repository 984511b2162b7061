"""``cellprec check``: everything that is wrong with a study, at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cellprec.cli.say import out, tell


def check(
    study: Annotated[Path, typer.Argument(help="study.yaml, or the folder it is in")] = Path("study.yaml"),
) -> None:
    """Name everything that is wrong with a study: file, row, column, fix. Opens every file, changes nothing."""
    from cellprec.study.preflight import preflight  # noqa: PLC0415 - help must stay light

    found, problems = preflight(study)
    for number, problem in enumerate(problems, start=1):
        tell(problem, number)
    errors = sum(problem.severity == "error" for problem in problems)
    if errors:
        out.print(f"[red]{errors} to mend[/], {len(problems) - errors} to look at")
        raise typer.Exit(3)
    assert found is not None  # noqa: S101 - no error means there is a study
    files = len(found.samples)
    out.print(f"[green]ready[/]: {files} file{'s' * (files != 1)}. Next: cellprec run {study}")

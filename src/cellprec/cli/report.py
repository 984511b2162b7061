"""``cellprec report``: the report of what has been run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cellprec.cli.say import out


def report(
    study: Annotated[Path, typer.Argument(help="study.yaml, or the folder it is in")] = Path("study.yaml"),
) -> None:
    """Write the report of what has been run so far."""
    from cellprec.engine.manifest import write_manifest  # noqa: PLC0415 - help must stay light
    from cellprec.engine.plan import plan  # noqa: PLC0415
    from cellprec.engine.runner import forget_gone  # noqa: PLC0415
    from cellprec.engine.store import RunFolder  # noqa: PLC0415
    from cellprec.report.build import build_report  # noqa: PLC0415
    from cellprec.study.load import load_study  # noqa: PLC0415

    found = load_study(study)
    run = RunFolder(found.results)
    forget_gone(run, found)
    write_manifest(run, plan(found))
    out.print(f"[green]report:[/] {build_report(run, found)}")

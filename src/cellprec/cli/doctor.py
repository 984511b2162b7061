"""``cellprec doctor``: is this machine fit for the work, and what to do if not."""

from __future__ import annotations

import typer

from cellprec.cli.say import out


def doctor() -> None:
    """Look at Python, cores, memory, disk, torch and GPU, Slurm; one line of advice for each."""
    from cellprec.engine.doctor import examine  # noqa: PLC0415 - help must stay light

    found = examine()
    for finding in found:
        color = {"good": "green", "look": "yellow", "bad": "red"}[finding.state]
        out.print(f"[{color}]{finding.state:>4}[/]  [bold]{finding.what}[/]: {finding.found}", highlight=False)
        out.print(f"      {finding.advice}")
    if any(finding.state == "bad" for finding in found):
        raise typer.Exit(4)

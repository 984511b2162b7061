"""``cellprec run``: the whole study, from files to the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from cellprec.cli.say import err, fail, out
from cellprec.errors import WAITS
from cellprec.settings import settings
from cellprec.steps.catalogue import CATALOGUE


def _epilog() -> str:
    lines = ["Steps and their settings (under `settings:` in study.yaml):"]
    for step in CATALOGUE.values():
        knobs = ", ".join(f"{knob.name}={knob.default!r}" for knob in step.settings.values())
        lines.append(f"{step.name}: {step.says}." + (f" {knobs}" if knobs else ""))
    return "\n\n".join(lines)


def run(
    study: Annotated[Path, typer.Argument(help="study.yaml, or the folder it is in")] = Path("study.yaml"),
    until: Annotated[str | None, typer.Option(help="Stop after this step.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Tasks at once; all cores by default.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda; cuda never falls back in silence.")] = "auto",
) -> None:
    """Run a study: what is due, and the report. Can be stopped at any moment and run again."""
    run_study_with_progress(study, until=until, jobs=jobs, device=device)


run.__doc__ = f"{run.__doc__}\n\n{_epilog()}"


def run_study_with_progress(
    path: Path, *, until: str | None = None, jobs: int | None = None, device: str = "auto"
) -> None:
    """Run a study under a progress display and print where the report is."""
    from cellprec.cli.progress import Progress  # noqa: PLC0415 - help must stay light
    from cellprec.engine.runner import run_study  # noqa: PLC0415
    from cellprec.engine.store import RunFolder  # noqa: PLC0415
    from cellprec.report.build import build_report  # noqa: PLC0415
    from cellprec.study.load import load_study  # noqa: PLC0415

    settings.device = checked_device(device)
    study = load_study(path)
    run = RunFolder(study.results)
    try:
        with Progress(study, until=until, log=run.path / "log.txt") as progress:
            outcomes = run_study(study, until=until, jobs=jobs, report=progress.tell)
            progress.say("Writing the report")
            page = build_report(run, study)
    except KeyboardInterrupt:
        fail("interrupted: what is finished is kept; run the same command again to go on")
        raise typer.Exit(130) from None
    waiting = 0
    for task, receipt in outcomes.receipts.items():
        if receipt.error and receipt.error["what"].startswith(WAITS):
            waiting += 1
        elif receipt.error:
            _complain(task, receipt.error)
    if waiting:
        err.print(f"  {waiting} later task{'s' * (waiting != 1)} could not be done without these")
    done = len(outcomes.fresh)
    out.print(f"{done} of {len(outcomes.receipts)} tasks were due. Log: {run.path / 'log.txt'}")
    out.print(f"[green]report:[/] {page}")
    if outcomes.exit_code:
        raise typer.Exit(outcomes.exit_code)


def checked_device(device: str) -> Any:
    """Return a device name that means something, or stop."""
    if device not in {"auto", "cpu", "cuda"}:
        raise typer.BadParameter(f"{device!r} is not one of auto, cpu, cuda")
    return device


def _complain(task: Any, error: dict[str, str]) -> None:
    place = f"{task.step} {task.sample}".strip()
    err.print(f"[red]x[/] [bold]{escape(place)}[/]: {escape(error['what'])}")
    for label in ("where", "why", "fix"):
        if error[label]:
            err.print(f"  [dim]{label}:[/] {escape(error[label])}")

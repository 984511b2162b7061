"""``cellprec step``: one step on one sample, as every Snakemake rule calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cellprec.cli.run import checked_device
from cellprec.cli.say import err, out
from cellprec.settings import settings


def step(
    name: Annotated[str, typer.Argument(help="Name of the step.")],
    study: Annotated[Path, typer.Argument(help="study.yaml, or the folder it is in")] = Path("study.yaml"),
    sample: Annotated[str, typer.Option(help="The sample, for steps that run on one.")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Run one step (what a cluster job does). A sample that cannot be read is recorded, so that the rest goes on."""
    from cellprec.engine.execute import execute  # noqa: PLC0415 - help must stay light
    from cellprec.engine.plan import Task, plan  # noqa: PLC0415
    from cellprec.errors import UsageError  # noqa: PLC0415
    from cellprec.study.load import load_study  # noqa: PLC0415

    settings.device = checked_device(device)
    todo = plan(load_study(study))
    task = Task(name, sample)
    if task not in todo.tasks():
        known = sorted({t.step for t in todo.tasks()})
        raise UsageError(
            f"this study has no task {name!r}" + (f" for sample {sample!r}" if sample else ""),
            fix=f"Steps: {', '.join(known)}; steps that run on one file need --sample.",
        )
    receipt = execute(todo, task)
    out.print(f"{name} {sample}: {receipt.status} in {receipt.seconds:.1f} s".replace(" :", ":"))
    if receipt.error is not None:
        err.print(f"[red]x[/] {receipt.error['what']}\n  fix: {receipt.error['fix']}")
    if receipt.status == "crashed":
        err.print(receipt.traceback, markup=False)
        raise typer.Exit(1)
    if receipt.status == "failed" and not sample:
        raise typer.Exit(3)

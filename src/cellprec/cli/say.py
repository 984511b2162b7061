"""What the command line says, and how it looks."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from cellprec.errors import CellprecError, Problem, StudyError

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(error: CellprecError | str) -> None:
    """Tell an error: what happened, where, why it matters, what to do."""
    if isinstance(error, str):
        err.print(f"[bold red]x[/] {escape(error)}")
        return
    err.print(f"[bold red]x[/] [bold]{escape(error.what)}[/]")
    if isinstance(error, StudyError):
        for number, problem in enumerate(error.problems, start=1):
            tell(problem, number)
        return
    for label, text in (("where", error.where), ("why", error.why), ("fix", error.fix)):
        if text:
            err.print(f"  [dim]{label}:[/] {escape(text)}")


def tell(problem: Problem, number: int) -> None:
    """Tell one problem of a study."""
    color = "red" if problem.severity == "error" else "yellow"
    err.print(f"[{color}]{number:>3}.[/] [bold]{escape(problem.where)}[/]: {escape(problem.what)}")
    if problem.fix:
        err.print(f"     [green]fix:[/] {escape(problem.fix)}")

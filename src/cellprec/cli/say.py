"""What the command line says, and how it looks."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from cellprec.errors import CellprecError, Problem, StudyError

out = Console(highlight=False, soft_wrap=True)
_ALIKE = 5
err = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(error: CellprecError | str) -> None:
    """Tell an error: what happened, where, why it matters, what to do."""
    if isinstance(error, str):
        err.print(f"[bold red]x[/] {escape(error)}")
        return
    err.print(f"[bold red]x[/] [bold]{escape(error.what)}[/]")
    if isinstance(error, StudyError):
        tell_all(error.problems, err)
        return
    for label, text in (("where", error.where), ("why", error.why), ("fix", error.fix)):
        if text:
            err.print(f"  [dim]{label}:[/] {escape(text)}")


def tell_all(problems: list[Problem], console: Console) -> None:
    """Tell the problems of a study; of many that are alike the first ones, and which rows the others are in."""
    told: dict[tuple[str, str, str], list[Problem]] = {}
    for problem in problems:
        told.setdefault((problem.code, problem.file, problem.column), []).append(problem)
    number = 0
    for alike in told.values():
        for problem in alike[:_ALIKE]:
            number += 1
            _tell(problem, number, console)
        if len(alike) > _ALIKE:
            rows = ", ".join(str(p.row) for p in alike[_ALIKE : _ALIKE + 12] if p.row is not None)
            more = f"and {len(alike) - _ALIKE} more like these"
            console.print(
                f"     {more}" + (f" (rows {rows}{', …' if len(alike) > _ALIKE + 12 else ''})" if rows else "")
            )


def _tell(problem: Problem, number: int, console: Console) -> None:
    color = "red" if problem.severity == "error" else "yellow"
    console.print(f"[{color}]{number:>3}.[/] [bold]{escape(problem.where)}[/]: {escape(problem.what)}")
    if problem.fix:
        console.print(f"     [green]fix:[/] {escape(problem.fix)}")

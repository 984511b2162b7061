"""One file per command. Nothing heavy is imported before a command needs it, so that help is instant."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer

from cellprec.cli.check import check
from cellprec.cli.demo import demo
from cellprec.cli.doctor import doctor
from cellprec.cli.init import init
from cellprec.cli.report import report
from cellprec.cli.run import run
from cellprec.cli.say import err, fail
from cellprec.cli.schema import schema
from cellprec.cli.step import step
from cellprec.errors import CellprecError

_COMMANDS: tuple[Callable[..., None], ...] = (init, check, run, report, demo, doctor, schema, step)


def _app() -> typer.Typer:
    app = typer.Typer(
        name="cellprec",
        help="From FCS files, single-cell RNA and lineage barcodes to resistant clones and biomarkers.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_version)
    for command in _COMMANDS:
        app.command()(command)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        from cellprec import __version__  # noqa: PLC0415 - only when asked

        print(f"cellprec {__version__}")
        raise typer.Exit


def _version(
    version: bool = typer.Option(
        False, "--version", help="Print the version and stop.", is_eager=True, callback=_print_version
    ),
) -> None:
    del version  # the callback has done it


def main() -> None:
    """Run the command line; errors of the user's making end in words and an exit code, never in a traceback."""
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    try:
        _app()(prog_name="cellprec")
    except CellprecError as error:
        fail(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        fail("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:  # no naked traceback reaches a biologist
        if os.environ.get("CELLPREC_TRACEBACK"):
            raise
        fail(f"cellprec met a bug: {type(error).__name__}: {error}")
        err.print("  Please report it. Set CELLPREC_TRACEBACK=1 and run again to see where; a run also writes log.txt.")
        sys.exit(1)

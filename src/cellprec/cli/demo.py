"""``cellprec demo``: a study with known truth, from files to the report."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cellprec.cli.say import out


class Kind(StrEnum):
    """The studies that can be simulated."""

    cart = "cart"
    barcoding = "barcoding"


def demo(
    kind: Annotated[Kind, typer.Argument(help="cart: CAR-T patients. barcoding: clones under two drugs.")] = Kind.cart,
    folder: Annotated[Path | None, typer.Option(help="Where to write; ./cellprec-demo-KIND by default.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Tasks at once; all cores by default.")] = None,
) -> None:
    """Simulate a study with planted truth as real files, run it, and compare what is found with what was planted."""
    from cellprec.cli.run import run_study_with_progress  # noqa: PLC0415 - help must stay light
    from cellprec.simulate import simulate_barcoding, simulate_cart  # noqa: PLC0415

    folder = folder or Path(f"cellprec-demo-{kind}")
    study = folder / "study.yaml"
    if not study.exists():
        out.print(f"Simulating the {kind} study in {folder}")
        make = simulate_cart if kind is Kind.cart else simulate_barcoding
        study = make(folder)
    run_study_with_progress(study, jobs=jobs)

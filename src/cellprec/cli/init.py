"""``cellprec init``: find the files of a folder and write a study to edit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from cellprec.cli.say import out


def init(
    folder: Annotated[Path, typer.Argument(help="the folder that holds the data files")] = Path(),
) -> None:
    """Find FCS, 10x, contig, FASTQ and count files and write a commented study to edit."""
    from cellprec.study.discover import write_study  # noqa: PLC0415 - help must stay light

    study, found = write_study(folder)
    for modality, number in sorted(Counter(item.modality for item in found).items()):
        out.print(f"  {modality}: {number}")
    out.print(f"Wrote {study} and {folder / 'samples.csv'}. Fill in the sheet, then: cellprec check {study}")

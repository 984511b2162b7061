"""Sequencing reads, one after the other, from FASTQ files."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import dnaio

from cellprec.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator


def iterate_reads(path: str | Path) -> Iterator[tuple[str, str]]:
    r"""Yield every read of a FASTQ file: its bases and its qualities.

    Parameters
    ----------
    path
        A FASTQ file, gzipped or not, whatever its name says. An empty file yields nothing.

    Yields
    ------
    tuple of str
        Bases, and Phred+33 qualities as the file spells them (ASCII), both of the same length.

    Raises
    ------
    InputError
        There is no such file.
    FileFormatError
        The file is not FASTQ, or it is cut short or damaged; raised when the damage is reached.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "reads.fastq"
    >>> _ = path.write_text("@read1\nACGTN\n+\nIIII#\n")
    >>> list(iterate_reads(path))
    [('ACGTN', 'IIII#')]
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("there is no such file", where=path, fix="Check the path in the sheet.")
    n_reads = 0
    try:
        with dnaio.open(path, fileformat="fastq") as records:
            for record in records:
                n_reads += 1
                yield record.sequence, record.qualities
    except dnaio.FileFormatError as error:
        raise FileFormatError(
            f"this is not FASTQ: {error}",
            where=f"{path}, after {n_reads:,} reads",
            why="A read is four lines: @name, bases, +, as many qualities as bases.",
            fix="Give the FASTQ file as the sequencer's software wrote it; if it is, copy it again.",
        ) from error
    except (EOFError, OSError, zlib.error, UnicodeDecodeError) as error:
        raise FileFormatError(
            f"the file cannot be read to its end ({error})",
            where=f"{path}, after {n_reads:,} reads",
            why="It was cut short or damaged on its way here; counting only its beginning would give wrong numbers.",
            fix="Copy or download it again; `gzip -t FILE` must be silent.",
        ) from error

"""Text tables as programs and people write them: any separator, compressed or not, every cell as text."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd

from cellprec.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

_UNDEFINED: Final = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")


@dataclass(frozen=True)
class Delimited:
    """An open text table: its column names, in order, and its cells once they are asked for."""

    path: Path
    header: list[str]
    separator: str
    header_row: int
    text: str

    def frame(self, names: Sequence[str]) -> pd.DataFrame:
        """Return some columns as stripped text, indexed by the row number a spreadsheet would show.

        Parameters
        ----------
        names
            Columns to parse, each one of ``header``; the others are never converted, which keeps wide tables cheap.

        Returns
        -------
        DataFrame
            Empty cells are empty text; rows that are empty in all these columns are left out.

        Raises
        ------
        FileFormatError
            A row holds more cells than the header has names.
        """
        places = [self.header.index(name) for name in names]
        width = len(self.header)
        records, numbers = [], []
        body = csv.reader(io.StringIO(self.text, newline=""), delimiter=self.separator)
        end = 0
        try:
            for cells in body:
                number, end = end + 1, body.line_num
                if number <= self.header_row:
                    continue
                if len(cells) != width:
                    if any(cells[width:]):
                        raise self._ragged(number, len(cells))
                    cells = (cells + [""] * width)[:width]  # noqa: PLW2901
                kept = [cells[place].strip() for place in places]
                if any(kept):
                    records.append(kept)
                    numbers.append(number)
        except csv.Error as error:
            raise FileFormatError(
                f"the table cannot be read ({error})",
                where=f"{self.path}, row {end + 1}",
                fix="Save it again as CSV (UTF-8) or TSV.",
            ) from error
        index = pd.Index(numbers, dtype=int)
        return pd.DataFrame(records, columns=list(names), index=index, dtype=str)

    def _ragged(self, row: int, cells: int) -> FileFormatError:
        return FileFormatError(
            f"the row has {cells} cells but the header has {len(self.header)}",
            where=f"{self.path}, row {row}",
            why="It is not clear which value belongs to which column.",
            fix="Quote cells that hold the separator, or remove the extra cell.",
        )


def open_delimited(path: str | Path) -> Delimited:
    r"""Open a CSV or TSV, gzipped or not: separator, encoding and header are found in the file itself.

    A header one name shorter than its rows (as R writes it) gets an empty first name.

    Parameters
    ----------
    path
        The table; comma, semicolon or tab between cells.

    Raises
    ------
    FileFormatError
        Empty, binary or cut short, or two columns of one name.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "counts.csv"
    >>> _ = path.write_text("barcode;A;B\nACGT;1;2\n")
    >>> table = open_delimited(path)
    >>> table.header
    ['barcode', 'A', 'B']
    >>> table.frame(["B"])
       B
    2  2
    """
    path = Path(path)
    text = _decode(read_bytes(path), path)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = (line for line in io.StringIO(text, newline="") if line)
    header_row, first, second = 0, "", ""
    for line in lines:
        if first and line.strip():
            second = line
            break
        if not first:
            header_row += 1
            first = line if line.strip(" \t\n,;") else ""
    if not first:
        raise FileFormatError("the table is empty", where=path, fix="Give a table with a header row.")
    separator = max("\t,;", key=first.count)
    header = [cell.strip() for cell in next(csv.reader([first], delimiter=separator))]
    width = len(next(csv.reader([second], delimiter=separator), []))
    if width == len(header) + 1:
        header = ["", *header]
    header = [name or (f"unnamed_{place}" if place > 1 else "") for place, name in enumerate(header, start=1)]
    twice = [name for name, times in Counter(header).items() if times > 1]
    if twice:
        raise FileFormatError(
            f"two columns are named {twice[0]!r}",
            where=f"{path}, row {header_row}",
            fix="Rename or remove one of them.",
        )
    return Delimited(path, header, separator, header_row, text)


def read_bytes(path: Path) -> bytes:
    """Return the content of a file, decompressed where it is gzipped, whatever its name says.

    Raises
    ------
    InputError
        There is no such file.
    FileFormatError
        The compressed file is cut short or damaged.
    """
    if not path.is_file():
        raise InputError("there is no such file", where=path, fix="Check the path in the sheet.")
    data = path.read_bytes()
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise FileFormatError(
            f"the compressed file cannot be read to its end ({error})",
            where=path,
            why="It was cut short or damaged on its way here.",
            fix="Copy or download the file again; `gzip -t FILE` must be silent.",
        ) from error


def plain_name(name: str) -> str:
    """Return a column name without case, blanks, dots, hyphens and underscores, for comparing spellings.

    >>> plain_name("Read.Count") == plain_name("read_count")
    True
    """
    return re.sub(r"[\s_\-.]+", "", name).lower()


def _decode(data: bytes, path: Path) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    if b"\0" in data[:65536]:
        kind = "an Excel workbook or a zip archive" if data.startswith(b"PK") else "a binary file"
        raise FileFormatError(
            f"this is {kind}, not a text table", where=path, fix="Save it as CSV (UTF-8) and give that file."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # what Excel writes where it does not write UTF-8; five bytes mean nothing there, and are taken as Latin-1
        return "".join(_byte(value) for value in data) if _UNDEFINED.search(data) else data.decode("cp1252")


def _byte(value: int) -> str:
    code = bytes([value])
    return code.decode("latin-1" if _UNDEFINED.match(code) else "cp1252")

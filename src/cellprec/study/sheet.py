"""Sheets as people save them: read tolerantly, every cell as text, every row with its number in the file."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, field
from pathlib import Path

import openpyxl
import pandas as pd

from cellprec.errors import Problem

_DECIMAL_COMMA = re.compile(r"^[+-]?(\d+|\d{1,3}( \d{3})+),\d+$")
_BLANK = re.compile(r"[\s\u00a0\ufeff]+")


@dataclass
class Sheet:
    """A table of text: ``frame`` is indexed by the row number a spreadsheet shows; ``problems`` is what was odd."""

    file: str
    frame: pd.DataFrame
    problems: list[Problem] = field(default_factory=list)


def read_sheet(path: Path, *, known: tuple[str, ...] = ()) -> Sheet:
    r"""Read a CSV, TSV or Excel sheet as it comes: any separator, decimal commas, BOM, CRLF, blank rows, stray blanks.

    Parameters
    ----------
    path
        The sheet: ``.xlsx``, or text separated by comma, semicolon or tab.
    known
        Column names that matter; a header that differs from one only by case, blanks or hyphens is taken for it.

    Returns
    -------
    Sheet
        All cells as stripped text (empty where there is nothing). Nothing is judged here except what would make a
        cell ambiguous: rows longer than the header and columns of one name. What was converted is a warning.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "patients.csv"
    >>> _ = path.write_bytes("\ufeffPatient ID;age_years\r\nP1;61,5\r\n".encode())
    >>> read_sheet(path, known=("patient_id",)).frame
      patient_id age_years
    2         P1      61.5
    """
    sheet = Sheet(path.name, pd.DataFrame())
    rows = _excel_rows(path) if path.suffix.lower() in {".xlsx", ".xlsm"} else _text_rows(path, sheet)
    rows = [(number, cells) for number, cells in rows if any(cells)]
    if not rows:
        sheet.problems.append(
            Problem("sheet.empty", "the sheet is empty", sheet.file, fix="Add a header row and one row per entry.")
        )
        return sheet
    (_, header), *body = rows
    columns = _columns(header, known, sheet)
    records, numbers = [], []
    for number, cells in body:
        if any(cells[len(columns) :]):
            sheet.problems.append(
                Problem(
                    "sheet.long_row",
                    f"the row has {len(cells)} cells but the header has {len(columns)}",
                    sheet.file,
                    number,
                    fix="Quote cells that hold the separator, or remove the extra cell.",
                )
            )
        records.append((cells + [""] * len(columns))[: len(columns)])
        numbers.append(number)
    sheet.frame = pd.DataFrame(records, columns=columns, index=numbers, dtype=str)
    return sheet


def _excel_rows(path: Path) -> list[tuple[int, list[str]]]:
    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    rows = [
        (number, [_cell(value) for value in values])
        for number, values in enumerate(book.worksheets[0].iter_rows(values_only=True), start=1)
    ]
    book.close()
    return rows


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if hasattr(value, "isoformat"):
        return str(value.isoformat()).removesuffix("T00:00:00")
    return _strip(str(value))


def _strip(text: str) -> str:
    return _BLANK.sub(" ", text).strip()


def _text_rows(path: Path, sheet: Sheet) -> list[tuple[int, list[str]]]:
    text, oddities = _decode(path.read_bytes())
    if "\r" in text.replace("\r\n", ""):
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows, end = [], 0
    for cells in reader:
        rows.append((end + 1, [_strip(cell) for cell in cells]))
        end = reader.line_num
    if separator == ";":
        oddities.append("semicolons")
        converted = sum(bool(_DECIMAL_COMMA.match(cell)) for _, cells in rows for cell in cells)
        if converted:
            rows = [
                (n, [c.replace(",", ".").replace(" ", "") if _DECIMAL_COMMA.match(c) else c for c in cells])
                for n, cells in rows
            ]
            oddities.append(f"{converted} decimal commas")
    if oddities:
        sheet.problems.append(
            Problem(
                "sheet.export",
                f"looks like a spreadsheet export ({', '.join(oddities)}); it was read as such",
                sheet.file,
                1,
                fix="Nothing to do if the numbers below look right; otherwise save as CSV UTF-8 with commas.",
                severity="warning",
            )
        )
    return rows


def _decode(data: bytes) -> tuple[str, list[str]]:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16"), ["UTF-16"]
    oddities = ["byte order mark"] if data.startswith(b"\xef\xbb\xbf") else []
    try:
        return data.decode("utf-8-sig"), oddities
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace"), ["not UTF-8: read as Windows-1252"]


def _columns(header: list[str], known: tuple[str, ...], sheet: Sheet) -> list[str]:
    plain = {re.sub(r"[\s_\-.]+", "", name).lower(): name for name in known}
    while header and not header[-1]:
        header = header[:-1]
    columns: list[str] = []
    for place, cell in enumerate(header, start=1):
        name = plain.get(re.sub(r"[\s_\-.]+", "", cell).lower(), cell) or f"unnamed_{place}"
        if name in columns:
            sheet.problems.append(
                Problem(
                    "sheet.duplicate_column",
                    f"two columns are named {name!r}",
                    sheet.file,
                    1,
                    name,
                    fix="Rename or remove one of them.",
                )
            )
            name = f"{name}_{place}"
        columns.append(name)
    return columns

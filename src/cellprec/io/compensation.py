"""A compensation matrix from a file of its own: a table, a FlowJo matrix or workspace, or Gating-ML."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from cellprec.errors import FileFormatError
from cellprec.io.compensation_xml import matrix_from_xml
from cellprec.io.delimited import open_delimited, read_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

# DataFrame.attrs: sentences for the reader, which compensate() turns into notes
NOTES: Final = "notes"
_XML: Final = re.compile(rb"^\s*(\xef\xbb\xbf)?\s*<(\?xml|!--|[A-Za-z])")
# the second line of a FlowJo text matrix: what stands around the names of compensated channels, "<" and ">"
_AROUND: Final = re.compile(r"^[<>\s]+$")


def read_compensation(path: str | Path, *, sample: str | None = None, name: str | None = None) -> pd.DataFrame:
    r"""Read a spillover matrix: dyes in rows, detectors in columns.

    path: a table (CSV, TSV, ``;`` with decimal commas, as R writes it; with or without a first column of names;
    fractions or percent), a FlowJo matrix (``.mtx``, text or XML), a FlowJo workspace (``.wsp``) or Gating-ML 2
    (``spectrumMatrix``). FlowJo's ``FITC-A :: CD3`` is cut to the channel. sample: the sample of a workspace whose
    matrix is meant, by name or file. name: the matrix of that name or id. A file with several needs one of the two.

    Returns a square frame, named by detector, rows in the order of the columns, fractions with ones on the diagonal:
    what ``compensate(spillover=)`` takes. ``attrs["notes"]``: what was assumed.

    Raises InputError where there is no such file, sample or matrix, or several and none is chosen; FileFormatError
    where the table is not square, holds what is no number, or its rows and columns do not name the same channels.
    Source: Spidlen et al. 2015, Cytometry A 87:683 (Gating-ML 2.0).

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder) / "matrix.csv"
    ...     _ = file.write_text(";FITC-A :: CD3;PE-A :: CD4\nFITC-A :: CD3;100;12,5\nPE-A :: CD4;1;100\n")
    ...     read_compensation(file)
            FITC-A   PE-A
    FITC-A    1.00  0.125
    PE-A      0.01  1.000
    """
    path = Path(path)
    data = read_bytes(path)
    if _XML.match(data):
        names, values, notes = matrix_from_xml(path, data, sample=sample, name=name)
    else:
        names, values, notes = _from_text(path)
    frame = pd.DataFrame(_fractions(path, values), index=pd.Index(names), columns=pd.Index(names))
    frame.attrs[NOTES] = notes
    return frame


def _from_text(path: Path) -> tuple[list[str], np.ndarray, list[str]]:
    lines = [line for line in open_delimited(path).text.split("\n") if line.strip(" \t,;")]
    if len(lines) > 2 and _AROUND.match(lines[1]):
        lines = lines[2:]
    rows = _cells(lines)
    header, body = rows[0], rows[1:]
    labeled = len(body) > 0 and (len(body[0]) > len(header) or not header[0] or _number(body[0][0]) is None)
    if labeled and len(header) == len(body[0]):
        header = header[1:]
    columns = [_channel(cell) for cell in header]
    labels = [_channel(row[0]) for row in body] if labeled else columns
    notes = [] if labeled else ["the rows of the matrix carry no names: they were taken in the order of its columns"]
    if len(set(columns)) < len(columns):
        raise FileFormatError("the spillover matrix names a channel twice", where=path)
    if not body or sorted(labels) != sorted(columns) or len(body) != len(columns):
        apart = sorted(set(labels) ^ set(columns))
        raise FileFormatError(
            "the rows and columns of the spillover matrix do not name the same channels",
            where=path,
            why=f"{', '.join(apart[:4])}: in one only" if apart else f"{len(body)} rows, {len(columns)} columns",
            fix="Export the matrix again, with channel names in the first row and the first column.",
        )
    values = np.full((len(body), len(columns)), np.nan)
    for i, row in enumerate(body):
        cells = row[1:] if labeled else row
        if len(cells) != len(columns):
            what = f"row {labels[i]} of the spillover matrix has {len(cells)} numbers, not {len(columns)}"
            raise FileFormatError(what, where=path, fix="Export the matrix again.")
        for j, cell in enumerate(cells):
            number = _number(cell)
            if number is None:
                what = f"{cell!r} in the spillover matrix is no number"
                raise FileFormatError(what, where=f"{path}, row {labels[i]}, column {columns[j]}")
            values[i, j] = number
    return columns, values[[labels.index(column) for column in columns]], notes


def _cells(lines: Sequence[str]) -> list[list[str]]:
    separator = max("\t,;", key=lines[0].count)
    if separator not in lines[0]:
        separator = " "
    parsed = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    rows = [[cell.strip() for cell in row] for row in parsed]
    # a separator at the end of every line is no column
    while len(rows[0]) > 1 and all(len(row) > 1 and not row[-1] for row in rows):
        rows = [row[:-1] for row in rows]
    return rows


def _number(cell: str) -> float | None:
    text = cell.strip().removesuffix("%").strip()
    if re.fullmatch(r"[-+]?\d*,\d+", text):
        text = text.replace(",", ".")
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _channel(name: str) -> str:
    return name.split("::", maxsplit=1)[0].strip()


def _fractions(path: Path, values: np.ndarray) -> np.ndarray:
    diagonal = np.diag(values)
    if np.allclose(diagonal, 100, rtol=1e-4):
        return np.asarray(values / 100)
    if not np.allclose(diagonal, 1, rtol=1e-4):
        raise FileFormatError(
            "the diagonal of the spillover matrix is not 1",
            where=path,
            why=f"it holds {', '.join(f'{value:g}' for value in diagonal[:4])}",
            fix="Normalize its rows, and give the spillover matrix, not its inverse.",
        )
    return values

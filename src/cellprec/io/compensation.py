"""A compensation matrix in a table of its own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cellprec.errors import FileFormatError
from cellprec.io.delimited import open_delimited


def read_compensation(path: str | Path) -> pd.DataFrame:
    """Read a spillover matrix from CSV or TSV: stained channels in rows, detectors in columns.

    Parameters
    ----------
    path
        The first column names the channels; FlowJo's ``Channel :: Marker`` names are cut to the channel.

    Returns
    -------
    DataFrame
        Square, in the order of the file, with ones on the diagonal; percentages are turned into fractions.

    Raises
    ------
    FileFormatError
        The table is not square, a cell is no number, or the rows and columns do not name the same channels.
    """
    table = open_delimited(path)
    cells = table.frame(table.header)
    names = [_channel(name) for name in table.header[1:]]
    try:
        frame = cells.iloc[:, 1:].astype(float)
    except ValueError as error:
        raise FileFormatError("a cell of the spillover matrix is no number", where=path, why=str(error)) from error
    frame.columns = pd.Index(names)
    frame.index = pd.Index([_channel(name) for name in cells.iloc[:, 0]])
    if list(frame.index) != names:
        raise FileFormatError(
            "the rows and columns of the spillover matrix do not name the same channels in the same order",
            where=path,
            why="a matrix read in the wrong order compensates the wrong detectors",
            fix="Export the matrix again, with channel names in the first row and the first column.",
        )
    diagonal = pd.Series([frame.iat[i, i] for i in range(len(names))])
    if (diagonal == 100).all():
        return frame / 100
    if not (diagonal == 1).all():
        raise FileFormatError("the diagonal of the spillover matrix is not 1", where=path, fix="Normalize its rows.")
    return frame


def _channel(name: str) -> str:
    return name.split(" :: ", maxsplit=1)[0].strip()

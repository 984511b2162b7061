"""Which population carries which marker: the table a user gives, or a small human immune panel."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from cellprec.errors import FileFormatError

_SIGNS: Final = {
    "+": 1.0, "1": 1.0, "+1": 1.0, "1.0": 1.0, "pos": 1.0, "positive": 1.0, "hi": 1.0, "high": 1.0,
    "-": -1.0, "−": -1.0, "–": -1.0, "-1": -1.0, "-1.0": -1.0, "neg": -1.0, "negative": -1.0,
    "": np.nan, "0": np.nan, "0.0": np.nan, "?": np.nan, "na": np.nan, "nan": np.nan, ".": np.nan,
}  # fmt: skip

_T: Final = "CD3+ CD19- CD14-"
_DEFAULT: Final = {
    "T cells": _T,
    "CD4 T cells": f"{_T} CD4+ CD8- TCRgd-",
    "CD4 T naive": f"{_T} CD4+ CD8- TCRgd- CD45RA+ CCR7+",
    "CD4 T central memory": f"{_T} CD4+ CD8- TCRgd- CD45RA- CCR7+",
    "CD4 T effector memory": f"{_T} CD4+ CD8- TCRgd- CD45RA- CCR7-",
    "CD4 T TEMRA": f"{_T} CD4+ CD8- TCRgd- CD45RA+ CCR7-",
    "CD8 T cells": f"{_T} CD8+ CD4- TCRgd-",
    "CD8 T naive": f"{_T} CD8+ CD4- TCRgd- CD45RA+ CCR7+",
    "CD8 T central memory": f"{_T} CD8+ CD4- TCRgd- CD45RA- CCR7+",
    "CD8 T effector memory": f"{_T} CD8+ CD4- TCRgd- CD45RA- CCR7-",
    "CD8 T TEMRA": f"{_T} CD8+ CD4- TCRgd- CD45RA+ CCR7-",
    "Gamma-delta T cells": f"{_T} TCRgd+ CD4- CD8-",
    "B cells": "CD19+ CD3- CD14- CD56- CD123-",
    "NK cells": "CD56+ CD3- CD19- CD14- CD123-",
    "Classical monocytes": "CD14+ CD3- CD19- CD56- CD16-",
    "Non-classical monocytes": "CD16+ HLA-DR+ CD14- CD3- CD19- CD56- CD123-",
    "Conventional dendritic cells": "HLA-DR+ CD11c+ CD14- CD16- CD3- CD19- CD56- CD123-",
    "Basophils": "CD123+ HLA-DR- CD3- CD19- CD14- CD56-",
    "Plasmacytoid dendritic cells": "HLA-DR+ CD123+ CD11c- CD14- CD3- CD19- CD56-",
}


def default_signs() -> pd.DataFrame:
    """Return the marker signs of the main human blood leukocytes, populations × markers, +1, -1 or missing.

    T cells come with their parents (T cells, CD4 T cells), so that a cluster that cannot be told further still gets
    the name that is sure. Source: Maecker, McCoy and Nussenblatt 2012, Nat Rev Immunol 12:191.

    >>> default_signs().loc["B cells", ["CD19", "CD3"]].tolist()
    [1.0, -1.0]
    """
    rows = {
        name: {word[:-1]: 1.0 if word.endswith("+") else -1.0 for word in text.split()}
        for name, text in _DEFAULT.items()
    }
    signs = pd.DataFrame.from_dict(rows, orient="index")
    signs.index.name = "population"
    return signs


def read_signs(path: str | Path) -> pd.DataFrame:
    r"""Read a table of marker signs: one row per population, one column per marker, ``+``, ``-`` or empty.

    Also read as signs: 1, -1, pos, neg; 0 is the same as empty. The separator may be a comma, a semicolon or a tab.
    Raises FileFormatError, with row and column, for anything else.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "signs.csv"
    >>> _ = path.write_text("population;CD3;CD19\nT cells;+;-\n")
    >>> read_signs(path).loc["T cells"].tolist()
    [1.0, -1.0]
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(
            f"the sign table cannot be read: {error}", where=path, fix="save it as CSV UTF-8"
        ) from error
    header = text.split("\n", 1)[0]
    separator = max(",;\t", key=header.count)
    try:
        table = pd.read_csv(StringIO(text), sep=separator, dtype=str, keep_default_na=False, skip_blank_lines=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise FileFormatError(f"the sign table is no table: {error}", where=path, fix="save it as CSV") from error
    if table.shape[1] < 2 or table.empty:
        raise FileFormatError(
            "the sign table has no populations or no markers",
            where=path,
            fix="one row per population, its name in the first column, one column per marker",
        )
    names = table.iloc[:, 0].str.strip()
    filled = names.ne("")
    for line, name in enumerate(names, start=2):
        if name and names.eq(name).sum() > 1:
            raise FileFormatError(
                f"population {name!r} is there twice", where=f"{path}, row {line}", fix="keep one row"
            )
    columns = [str(name).strip() for name in table.columns[1:]]
    signs = pd.DataFrame(index=pd.Index(names[filled], name="population"), columns=columns, dtype=float)
    for position, column in enumerate(columns, start=1):
        values = table.iloc[:, position].str.strip().str.lower()
        for line, value in enumerate(values, start=2):
            if value not in _SIGNS:
                raise FileFormatError(
                    f"{value!r} is no sign", where=f"{path}, row {line}, column {column}", fix="write +, - or nothing"
                )
        signs[column] = values[filled].map(_SIGNS).to_numpy(dtype=float)
    return signs

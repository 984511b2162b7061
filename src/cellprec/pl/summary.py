"""Overviews: which sample has which data, and one number per name as a horizontal bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.colors import ListedColormap

from cellprec.errors import UsageError
from cellprec.pl.style import GREY, OKABE_ITO, new_axes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

STATES: Final = ("absent", "present", "failed")
_COLORS: Final = ("#EFEFEF", "#56B4E9", "#D55E00")
_MARKS: Final = {"absent": "", "present": "", "failed": "×"}
_MOST_LABELS: Final = 60


def completeness(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw what is there: rows (tubes or patients) by columns (kinds of data), failed ones marked with a cross.

    Parameters
    ----------
    table
        Rows × columns of ``"present"``, ``"failed"`` or ``"absent"``; index and column names are the labels.
    ax
        Axes to draw on; new ones otherwise.

    Raises
    ------
    UsageError
        If the table holds anything else.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"rna": ["present", "failed"]}, index=["P01 baseline", "P02 baseline"])
    >>> completeness(table).get_yticklabels()[1].get_text()
    'P02 baseline'
    """
    unknown = sorted(set(table.to_numpy().ravel().tolist()) - set(STATES))
    if unknown:
        raise UsageError(f"not a state of a sample: {unknown[0]!r}", fix=f"Use one of {', '.join(STATES)}.")
    n_rows, n_columns = table.shape
    height = 0.8 + 0.17 * min(n_rows, _MOST_LABELS)
    ax = new_axes(ax, size=(max(2.6, 1.6 + 0.75 * n_columns), height))
    codes = np.array([[STATES.index(state) for state in row] for row in table.to_numpy()]).reshape(table.shape)
    ax.imshow(codes, cmap=ListedColormap(_COLORS), vmin=0, vmax=2, aspect="auto", interpolation="nearest")
    for row, column in zip(*np.nonzero(codes == STATES.index("failed")), strict=True):
        ax.text(column, row, _MARKS["failed"], ha="center", va="center", color="white", fontweight="bold")
    ax.set_xticks(range(n_columns), [str(name) for name in table.columns])
    ax.xaxis.tick_top()
    every = -(-n_rows // _MOST_LABELS)
    rows = range(0, n_rows, every)
    ax.set_yticks(rows, [str(table.index[row]) for row in rows], fontsize="x-small")
    ax.set_xticks(np.arange(n_columns + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(n_rows + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=1.0)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    handles = [
        ax.plot([], [], marker="s", linestyle="", color=color, label=state)[0]
        for state, color in zip(STATES, _COLORS, strict=True)
        if state in set(table.to_numpy().ravel())
    ]
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize="small")
    return ax


def bars(
    values: pd.Series, *, label: str = "", top: int = 25, limit: float | None = None, ax: Axes | None = None
) -> Axes:
    """Draw one number per name as horizontal bars, in the order given, with an optional line to compare with.

    Parameters
    ----------
    values
        One number per name (index). More than ``top`` names: the first ``top`` are drawn, and the title says so.
    label
        What the numbers are, with their unit.
    top
        The most bars drawn.
    limit
        Where to draw a dashed line; bars below it are orange and hatched, so that the difference is not in color only.
    ax
        Axes to draw on; new ones otherwise.

    >>> import pandas as pd
    >>> ax = bars(pd.Series({"a": 0.9, "b": 0.2}), label="fraction kept", limit=0.5)
    >>> [float(bar.get_width()) for bar in ax.patches]
    [0.9, 0.2]
    """
    shown = values.head(top).astype(float)
    ax = new_axes(ax, size=(4.2, 0.9 + 0.2 * len(shown)))
    low = shown.to_numpy() < limit if limit is not None else np.zeros(len(shown), dtype=bool)
    drawn = ax.barh(range(len(shown)), shown.fillna(0.0), color=[OKABE_ITO[1] if few else OKABE_ITO[0] for few in low])
    for bar, few in zip(drawn, low, strict=True):
        if few:
            bar.set_hatch("///")
    for row in np.flatnonzero(shown.isna().to_numpy()).tolist():
        ax.text(0, row, " no value", va="center", fontsize="x-small", color="#555555")
    if limit is not None:
        ax.axvline(limit, color=GREY, linestyle="--", linewidth=1)
    ax.set_yticks(range(len(shown)), [str(name) for name in shown.index], fontsize="small")
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.set_xlabel(label)
    if len(shown) < len(values):
        ax.set_title(f"first {len(shown)} of {len(values):,}", fontsize="small", loc="left")
    return ax

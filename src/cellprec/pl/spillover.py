"""What each dye shows in each detector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.ticker import PercentFormatter

from cellprec.errors import UsageError
from cellprec.pl.style import SEQUENTIAL, new_axes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_WRITTEN = 14


def spillover(matrix: pd.DataFrame, *, ax: Axes | None = None, **style: Any) -> Axes:
    """Draw a spillover matrix, or the spectra of dyes: rows are dyes, columns are detectors.

    matrix: dyes × detectors, 1 where a dye is read at its brightest. Small values are drawn apart by a square-root
    scale; up to 14 detectors the numbers stand in the cells, in percent. style: passed to ``Axes.imshow``.

    >>> import pandas as pd
    >>> ax = spillover(pd.DataFrame([[1, 0.2], [0, 1]], index=["FITC", "PE"], columns=["FITC-A", "PE-A"]))
    >>> [text.get_text() for text in ax.texts]
    ['100', '20', '0', '100']
    """
    values = matrix.to_numpy(dtype=np.float64)
    if not values.size:
        raise UsageError("the matrix has no dye or no detector")
    rows, columns = values.shape
    ax = new_axes(ax, size=(2.0 + 0.3 * columns, 1.4 + 0.26 * rows))
    look: dict[str, Any] = {"aspect": "auto", "cmap": SEQUENTIAL, "norm": PowerNorm(0.5, vmin=0, vmax=1)} | style
    image = ax.imshow(np.clip(values, 0, None), **look)
    ax.set_xticks(np.arange(columns), matrix.columns.astype(str), rotation=90)
    ax.set_yticks(np.arange(rows), matrix.index.astype(str))
    ax.set(xlabel="detector", ylabel="dye")
    ax.spines[:].set_visible(False)
    if columns <= _WRITTEN:
        for (i, j), value in np.ndenumerate(values):
            color = "black" if value > 0.35 else "white"
            ax.text(j, i, _percent(value),
                    ha="center", va="center", fontsize=6, color=color)  # fmt: skip
    bar = ax.figure.colorbar(image, ax=ax, label="percent of the dye's own signal", shrink=0.7)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    return ax


def _percent(value: float) -> str:
    if abs(value) < 0.0005:
        return "0"
    return f"{100 * value:.2g}" if abs(value) < 0.995 else f"{100 * value:.0f}"

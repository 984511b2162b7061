"""How the events of a sample came in over time, and when the instrument was disturbed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_rgb

from cellprec.errors import UsageError
from cellprec.pl.style import GREY, OKABE_ITO, new_axes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_PIXELS = 400


def acquisition(table: pd.DataFrame, *, ax: Axes | None = None, **style: Any) -> Axes:
    """Draw the samples as bars along their events in order of time, with the disturbed stretches marked.

    table: the bins of one or many samples as ``cytometry.acquisition_table`` gives them. One row per sample, each as
    long as all its events; a bin is as dark as its rate is far from the usual rate of the sample (grey, up to four
    times), and bins with set-aside events are colored by the share of them. style: passed to ``Axes.imshow``.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"sample_id": ["a"] * 3, "bin": [0, 1, 2], "events": [50, 50, 50], "flagged": [0, 50, 0],
    ...                       "rate": [9.0, 90.0, 9.0], "why": ["", "CD3 lower", ""]})
    >>> acquisition(table).images[0].get_array()[0, [0, 200, 399], 3].round(2).tolist()
    [0.25, 1.0, 0.25]
    """
    missing = [name for name in ("sample_id", "bin", "events", "flagged", "rate") if name not in table]
    if missing:
        raise UsageError(f"the table has no column {', '.join(missing)}", fix="give the one of acquisition_table")
    names = list(dict.fromkeys(table["sample_id"].astype(str)))
    picture = np.ones((len(names), _PIXELS, 4))
    for row, name in enumerate(names):
        bins = table[table["sample_id"].astype(str) == name].sort_values("bin", kind="stable")
        ends = np.cumsum(bins["events"].to_numpy(float))
        here = np.searchsorted(ends / ends[-1], (np.arange(_PIXELS) + 0.5) / _PIXELS)
        flagged = (bins["flagged"] / bins["events"].clip(lower=1)).to_numpy(float)
        picture[row] = _colors(bins["rate"].to_numpy(float), flagged)[here]
    ax = new_axes(ax, size=(6.5, 0.9 + 0.3 * len(names)))
    look: dict[str, Any] = {"aspect": "auto", "interpolation": "nearest", "extent": (0, 1, len(names) - 0.5, -0.5)}
    ax.imshow(picture, **(look | style))
    ax.set_yticks(np.arange(len(names)), names)
    ax.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
    ax.grid(which="minor", axis="y", color="white", linewidth=3)
    ax.tick_params(which="minor", length=0)
    ax.set(xlabel="events in the order of time")
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["first", "25 %", "50 %", "75 %", "last"])
    ax.spines[:].set_visible(False)
    return ax


def _colors(rate: NDArray[np.float64], flagged: NDArray[np.float64]) -> NDArray[np.float64]:
    usual = np.nanmedian(rate) if np.isfinite(rate).any() else np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.nan_to_num(np.abs(np.log2(rate / usual)), nan=0.0, posinf=2.0)
    shade = 0.25 + 0.6 * np.clip(off, 0, 2) / 2
    colors = np.column_stack([np.tile(to_rgb(GREY), (len(rate), 1)), shade])
    bad = flagged > 0
    colors[bad, :3] = to_rgb(OKABE_ITO[3])
    colors[bad, 3] = 0.4 + 0.6 * flagged[bad]
    return colors

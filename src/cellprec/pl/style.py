"""The look shared by all plots: colours that a colour-blind reader can tell apart, and axes without global state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

OKABE_ITO: Final = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000")
GREY: Final = "#BBBBBB"
SEQUENTIAL: Final = "cividis"
DIVERGING: Final = "PuOr_r"


def palette(n: int) -> list[str]:
    """Return ``n`` different colours, the first eight those of Okabe and Ito.

    Beyond eight the same hues come back darker, then lighter, so that neighbours in a legend differ in hue.
    Source: Okabe and Ito 2008, "Color universal design".

    >>> palette(2)
    ['#0072B2', '#E69F00']
    >>> len(set(palette(100)))
    100
    """
    hues = OKABE_ITO[:7]
    colors = list(OKABE_ITO)
    rounds = max(0, -(-(n - len(colors)) // len(hues)))
    steps = -(-rounds // 2)
    for turn in range(rounds):
        target = "#000000" if turn % 2 == 0 else "#FFFFFF"
        share = 0.75 * (turn // 2 + 1) / (steps + 1)
        colors += [_mix(color, target, share) for color in hues]
    return colors[:n]


def _mix(color: str, target: str, share: float) -> str:
    pairs = zip(to_rgb(color), to_rgb(target), strict=True)
    return str(to_hex([a + (b - a) * share for a, b in pairs])).upper()


def color_map(
    categories: Sequence[str], *, names: Sequence[str] = (), grey: Sequence[str] = ("unassigned",)
) -> dict[str, str]:
    """Return a colour for each category, those that mean "we do not know" in grey.

    The colour goes by the name and its place in the sorted list of all ``names``, never by the order given: figures
    that know the same names give each of them the same colour. ``names`` are those of all figures of one page; the
    categories themselves belong to them anyway.

    >>> color_map(["T", "unassigned", "B"])
    {'T': '#E69F00', 'unassigned': '#BBBBBB', 'B': '#0072B2'}
    >>> color_map(["T"], names=["B", "NK", "T"])
    {'T': '#009E73'}
    """
    named = sorted({*names, *categories} - set(grey))
    colors = dict(zip(named, palette(len(named)), strict=True))
    return {category: colors.get(category, GREY) for category in categories}


def new_axes(ax: Axes | None = None, *, size: tuple[float, float] = (4, 3)) -> Axes:
    """Return the axes given, or new ones of ``size`` inches on a figure that pyplot does not know.

    >>> new_axes(size=(2, 1)).figure.get_size_inches().tolist()
    [2.0, 1.0]
    """
    if ax is None:
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        ax = figure.add_subplot()
        ax.spines[["top", "right"]].set_visible(False)
    return ax


def legend_outside(ax: Axes, *, title: str = "", max_rows: int = 20) -> None:
    """Put the legend of labelled artists to the right of the axes, in columns of at most ``max_rows``.

    >>> ax = new_axes()
    >>> lines = ax.plot([0, 1], label="a")
    >>> legend_outside(ax, title="clone")
    >>> ax.get_legend().get_title().get_text()
    'clone'
    """
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        ax.legend(
            handles,
            labels,
            title=title or None,
            loc="upper left",
            bbox_to_anchor=(1.02, 1.0),
            borderaxespad=0.0,
            frameon=False,
            fontsize="small",
            ncols=-(-len(handles) // max_rows),
        )

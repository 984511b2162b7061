"""How much of each population a sample holds, and which markers make a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from cellprec import keys
from cellprec.errors import UsageError
from cellprec.pl.style import SEQUENTIAL, color_map, legend_outside, new_axes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

_NOT_MARKERS: Final = ("cluster", "n", "population", "confidence")


def fractions(
    table: pd.DataFrame,
    *,
    names: Sequence[str] = (),
    label: str = "fraction of kept events",
    ax: Axes | None = None,
    **style: Any,
) -> Axes:
    """Draw one stacked bar per sample: which share of its kept events belongs to each population.

    table: columns ``sample_id``, ``population``, ``fraction``, as ``cytometry.annotate.population_table`` makes it.
    Populations are stacked in the order of their mean share, ``unassigned`` last and grey. A sample without
    events has no bar. names: all populations of the figures beside this one, so that a name has one colour in all of
    them. label: what the bars add up. style: passed to ``Axes.bar``.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"sample_id": ["a", "a"], "population": ["B", "T"], "fraction": [0.25, 0.75]})
    >>> [float(bar.get_height()) for bar in fractions(table).patches]
    [0.75, 0.25]
    """
    _need(table, columns=(keys.SAMPLE_ID, keys.POPULATION, "fraction"))
    wide = table.assign(**{keys.POPULATION: table[keys.POPULATION].astype(str)}).pivot_table(
        index=keys.SAMPLE_ID, columns=keys.POPULATION, values="fraction", aggfunc="sum", sort=False, observed=True
    )
    order = wide.mean().sort_values(ascending=False, kind="stable").index.tolist()
    order = [name for name in order if name != keys.UNASSIGNED] + [name for name in order if name == keys.UNASSIGNED]
    colors = color_map(order, names=names)
    ax = new_axes(ax, size=(max(4.0, 1.5 + 0.25 * len(wide)), 4))
    bottom = np.zeros(len(wide))
    style = {"width": 0.85} | style
    for name in order:
        height = wide[name].fillna(0).to_numpy()
        ax.bar(np.arange(len(wide)), height, bottom=bottom, color=colors[name], label=name, **style)
        bottom += height
    ax.set_xticks(np.arange(len(wide)), wide.index.astype(str), rotation=90 if len(wide) > 4 else 0)
    ax.set(ylabel=label, ylim=(0, 1))
    legend_outside(ax)
    return ax


def marker_heatmap(table: pd.DataFrame, *, ax: Axes | None = None, **style: Any) -> Axes:
    """Draw the median of each marker in each cluster, every marker from its lowest to its highest cluster.

    table: as ``cytometry.annotate.cluster_table`` makes it: ``cluster``, ``n``, ``population``, ``confidence``
    and one column per marker. Rows are sorted by population. A marker that is the same everywhere is drawn
    at 0. style: passed to ``Axes.imshow``.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"cluster": ["1", "2"], "n": [5, 5], "population": ["T", "B"], "CD3": [4.0, 0.0]})
    >>> ax = marker_heatmap(table)
    >>> [text.get_text() for text in ax.get_yticklabels()], ax.images[0].get_array().tolist()
    (['B (2)', 'T (1)'], [[0.0], [1.0]])
    """
    _need(table, columns=("cluster",))
    markers = [name for name in table.columns if name not in _NOT_MARKERS]
    if not markers:
        raise UsageError("the cluster table has no markers", fix="give the table that cluster_table makes")
    if keys.POPULATION in table:
        named = table[keys.POPULATION].astype(str)
        last = named.eq(keys.UNASSIGNED)
        rows = table.assign(_name=named, _last=last).sort_values(["_last", "_name"], kind="stable")
        labels = [f"{name} ({number})" for name, number in zip(rows["_name"], rows["cluster"], strict=True)]
    else:
        rows, labels = table, [str(number) for number in table["cluster"]]
    medians = rows[markers].astype(float)
    spread = (medians.max() - medians.min()).replace(0, 1)
    scaled = (medians - medians.min()) / spread
    ax = new_axes(ax, size=(2.5 + 0.28 * len(markers), 1.2 + 0.2 * len(rows)))
    look: dict[str, Any] = {"aspect": "auto", "cmap": SEQUENTIAL, "vmin": 0, "vmax": 1} | style
    image = ax.imshow(scaled.to_numpy(), **look)
    ax.set_xticks(np.arange(len(markers)), markers, rotation=90)
    ax.set_yticks(np.arange(len(rows)), labels)
    ax.spines[:].set_visible(False)
    ax.figure.colorbar(image, ax=ax, label="median, lowest to highest cluster", shrink=0.7)
    return ax


def _need(table: pd.DataFrame, *, columns: tuple[str, ...]) -> None:
    missing = [name for name in columns if name not in table]
    if missing:
        raise UsageError(f"the table has no column {', '.join(missing)}", fix=f"it has: {', '.join(table.columns)}")

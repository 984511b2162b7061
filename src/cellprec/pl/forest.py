"""Associations with an outcome as a forest of intervals, the strongest on top."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from cellprec.errors import UsageError
from cellprec.pl.style import GREY, OKABE_ITO, legend_outside, new_axes

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from matplotlib.axes import Axes

# verdict: colour, marker, filled; told apart by shape as well as by colour
_LOOK: Final = {
    "associated": (OKABE_ITO[0], "o", True),
    "confounded with batch": (OKABE_ITO[3], "D", False),
    "not significant": ("#777777", "o", False),
}


def forest(table: pd.DataFrame, *, top: int = 15, ax: Axes | None = None) -> Axes:
    """Draw how well each feature tells patients with and without the outcome apart, with 95 % intervals.

    ``table`` is what ``biomarkers.associate`` gives for one outcome: ``feature``, ``effect`` (AUC), ``low``,
    ``high``, ``verdict``. The first ``top`` rows are drawn in their order; associated and confounded features
    are never left out for ones that are not significant, and features that "cannot tell" are not drawn.

    Raises UsageError where the table holds several outcomes.

    >>> import pandas as pd
    >>> row = {"feature": "rna:fraction:B@d0", "effect": 0.8, "low": 0.6, "high": 0.9, "verdict": "associated"}
    >>> [tick.get_text() for tick in forest(pd.DataFrame([row])).get_yticklabels()]
    ['B @ d0 (rna fraction)']
    """
    if "outcome" in table and table["outcome"].nunique() > 1:
        raise UsageError("a forest shows one outcome", fix="select the rows of one outcome first")
    rows = _chosen(table, top=top)
    ax = new_axes(ax, size=(8, 1 + 0.28 * max(len(rows), 3)))
    ax.axvline(0.5, color=GREY, linewidth=1, zorder=0)
    ax.set_xlim(0, 1)
    ax.set_xlabel("AUC: lower with the outcome ← 0.5 → higher", fontsize="small")
    if rows.empty:
        ax.set_yticks([])
        ax.text(0.5, 0.5, "cannot tell: no feature could be tested", ha="center", transform=ax.transAxes)
        return ax
    heights = range(len(rows) - 1, -1, -1)
    drawn: set[str] = set()
    for height, (_, row) in zip(heights, rows.iterrows(), strict=True):
        verdict = str(row["verdict"])
        color, marker, filled = _LOOK.get(verdict, _LOOK["not significant"])
        ax.plot([row["low"], row["high"]], [height, height], color=color, linewidth=1.5)
        label = verdict if verdict not in drawn else "_nolegend_"
        fill = color if filled else "white"
        ax.plot(row["effect"], height, marker=marker, color=color, markerfacecolor=fill, linestyle="", label=label)
        drawn.add(verdict)
    names = readable_names(table["feature"].astype(str))
    ax.set_yticks(list(heights), [names[str(feature)] for feature in rows["feature"]], fontsize="small")
    ax.set_ylim(-0.7, len(rows) - 0.3)
    legend_outside(ax)
    return ax


def readable(feature: str) -> str:
    """Return the name of a feature as a person says it: what, when, and where it comes from.

    >>> readable("cytometry:fraction:CD8 memory@baseline")
    'CD8 memory @ baseline (cytometry fraction)'
    >>> readable("anything else")
    'anything else'
    """
    modality, _, rest = feature.partition(":")
    family, _, named = rest.partition(":")
    if not named:
        return feature
    what, at, when = named.rpartition("@")
    return f"{what} @ {when} ({modality} {family})" if at else f"{named} ({modality} {family})"


def readable_names(features: Iterable[str]) -> dict[str, str]:
    """Return each feature with its readable name; features that would read alike keep their own names.

    >>> readable_names(["rna:fraction:B@d0"])
    {'rna:fraction:B@d0': 'B @ d0 (rna fraction)'}
    >>> readable_names(["a b:c:x", "a:b c:x"])  # both would be x (a b c)
    {'a b:c:x': 'a b:c:x', 'a:b c:x': 'a:b c:x'}
    """
    names = {feature: readable(feature) for feature in dict.fromkeys(features)}
    times = Counter(names.values())
    return {feature: name if times[name] == 1 else feature for feature, name in names.items()}


def in_words(text: str, features: Iterable[str]) -> str:
    """Return a text with the internal names of features written readably.

    >>> in_words("rna:fraction:B@d0 goes along.", ["rna:fraction:B@d0", "rna:fraction:B"])
    'B @ d0 (rna fraction) goes along.'
    """
    names = readable_names(features)
    if not names:
        return text
    # longest first: the name of one feature may be the beginning of another's
    pattern = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.sub(pattern, lambda match: names[match.group()], text)


def _chosen(table: pd.DataFrame, *, top: int) -> pd.DataFrame:
    tested = table[table["effect"].notna()]
    # a stable sort: what has a verdict first, then the order of the table
    first = tested["verdict"].eq("not significant").sort_values(kind="stable").index[:top]
    return tested.loc[tested.index.isin(first)]

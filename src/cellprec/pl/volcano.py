"""Effect against evidence, one point per tested thing."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from cellprec.errors import UsageError
from cellprec.pl.style import GREY, new_axes, palette

_CEILING = 300.0


def volcano(
    table: pd.DataFrame,
    *,
    effect: str = "log2fc",
    p: str = "p",
    q: str = "q",
    label: str | None = None,
    call: str | None = "call",
    alpha: float = 0.05,
    n_labels: int = 10,
    ax: Axes | None = None,
) -> Axes:
    """Draw effect against -log10 p, coloured by call, with the names of the strongest.

    Parameters
    ----------
    table
        One row per test.
    effect, p, q
        Columns of effect size, p-value and corrected p-value.
    label
        Column with names; None takes the index.
    call
        Column that says what was concluded (anything but "none", "cannot tell" and empty is coloured); where it is
        None or absent, ``q`` at most ``alpha`` decides.
    alpha
        False discovery rate drawn as a labelled line at the Benjamini-Hochberg cut-off; no line where the q given do
        not part the tests there.
    n_labels
        How many names are written at most; one that would lie on a stronger one is left out.

    Raises
    ------
    UsageError
        If a column is not there.

    Examples
    --------
    >>> tested = pd.DataFrame({"log2fc": [3.0, 0.1], "p": [1e-6, 0.5], "q": [2e-6, 0.5]}, index=["x", "y"])
    >>> [text.get_text() for text in volcano(tested).texts]
    ['q = 0.05', 'x']
    """
    for column in (effect, p, *([label] if label else [])):
        if column not in table:
            raise UsageError(f"there is no column {column!r}", fix=f"Columns: {', '.join(map(str, table.columns))}.")
    ax = new_axes(ax, size=(4.5, 3.8))
    shown = table[table[p].notna() & table[effect].notna()]
    ax.set(xlabel=effect, ylabel="-log10 p")
    if shown.empty:
        ax.text(0.5, 0.5, "nothing could be tested", ha="center", va="center", transform=ax.transAxes)
        return ax
    x = shown[effect].to_numpy(np.float64)
    finite = np.abs(x[np.isfinite(x)])
    x = np.clip(x, -finite.max(initial=1), finite.max(initial=1))
    y = -np.log10(np.maximum(shown[p].to_numpy(np.float64), 10**-_CEILING))
    names = shown[label].astype(str).to_numpy() if label else shown.index.astype(str).to_numpy()
    found = _found(shown, call, q, p, alpha)
    ax.scatter(x[~found], y[~found], s=6, color=GREY, alpha=0.6, rasterized=len(shown) > 2000)
    blue, _, _, red = palette(4)
    for color, side, word in ((red, found & (x > 0), "up"), (blue, found & (x <= 0), "down")):
        if side.any():
            ax.scatter(x[side], y[side], s=12, color=color, label=f"{word}: {side.sum():,}")
    if found.any():
        ax.legend(frameon=False, fontsize="small")
    cut = _cut_off(shown, q, p, alpha)
    if cut is not None:
        ax.axhline(-np.log10(cut), color="black", linewidth=0.6, linestyle=":", label="_cut-off")
        place = (0.99, -np.log10(cut))
        ax.text(
            *place, f"q = {alpha:g}", transform=ax.get_yaxis_transform(), fontsize="x-small", ha="right", va="bottom"
        )
    ax.axvline(0, color="black", linewidth=0.6)
    _name(ax, x[found], y[found], names[found], n_labels)
    return ax


def _cut_off(table: pd.DataFrame, q: str, p: str, alpha: float) -> float | None:
    """Return the p-value up to which a test passes, ``alpha`` k / m for k of m passed; None if that parts no tests.

    Source: Benjamini and Hochberg 1995.
    """
    if q not in table:
        return None
    tested = table[table[q].notna()]
    passed = tested[q] <= alpha
    if passed.all() or not passed.any():
        return None
    inside, outside = float(tested.loc[passed, p].max()), float(tested.loc[~passed, p].min())
    cut = alpha * float(passed.sum()) / len(tested)
    return cut if inside <= cut < outside else None


def _found(table: pd.DataFrame, call: str | None, q: str, p: str, alpha: float) -> np.ndarray:
    if call is not None and call in table:
        return ~table[call].astype(str).isin(["none", "cannot tell", "", "nan"]).to_numpy()
    return (table[q if q in table else p] <= alpha).to_numpy()


def _name(ax: Axes, x: np.ndarray, y: np.ndarray, names: np.ndarray, n_labels: int) -> None:
    """Write the names of the strongest, left out where one already stands in the way."""
    height = max(float(np.ptp(ax.get_ylim())), 1e-9)
    written: list[tuple[bool, float]] = []
    for i in np.argsort(-y, kind="stable"):
        left = bool(x[i] > 0)
        if len(written) >= n_labels or any(same == left and abs(y[i] - at) < 0.04 * height for same, at in written):
            continue
        written.append((left, float(y[i])))
        offset, side = ((-4, 0), "right") if left else ((4, 0), "left")
        ax.annotate(
            names[i], (x[i], y[i]), offset, textcoords="offset points", fontsize="x-small", ha=side, va="center"
        )

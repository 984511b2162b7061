"""Clones at a glance: who takes over, how uneven a sample is, whether replicates agree, which clones rise where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes

from cellprec import keys
from cellprec.errors import UsageError
from cellprec.pl.style import DIVERGING, GREY, legend_outside, new_axes, palette

_NAME = 18
_MOST_LETTERS = 45  # beyond, names of groups side by side overlap


def trajectories(
    adata: AnnData,
    *,
    group: str = keys.TIMEPOINT,
    order: Sequence[str] = (),
    top: int = 12,
    clones: Sequence[str] = (),
    kind: Literal["area", "lines"] = "area",
    ax: Axes | None = None,
) -> Axes:
    """Draw the share of the largest clones over time (or over arms), all others in grey.

    Parameters
    ----------
    adata
        samples × clones of one patient or arm; rows of one ``group`` value are averaged (replicates).
    group
        Column of ``obs`` along the horizontal axis.
    order
        Its values in order; missing ones follow sorted.
    top
        How many clones get a colour: those with the largest share anywhere.
    clones
        Colour these instead.
    kind
        ``area`` stacks shares to one; ``lines`` draws each clone on a log axis, with up to 200 others in grey.

    Raises
    ------
    UsageError
        If ``obs`` has no column ``group``.

    Examples
    --------
    >>> obs = pd.DataFrame({"timepoint": ["d0", "d7"]}, index=["a", "b"])
    >>> ax = trajectories(AnnData(np.array([[1, 1, 8], [5, 1, 4]], dtype=np.float32), obs=obs), top=2)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['2', '0', '1 others']
    """
    if group not in adata.obs:
        raise UsageError(f"there is no column {group!r}", fix=f"Columns: {', '.join(adata.obs.columns)}.")
    shares = _shares(adata).groupby(adata.obs[group].astype(str)).mean()
    shares = shares.loc[[v for v in order if v in shares.index] + sorted(set(shares.index) - set(order))]
    largest = shares.max(axis=0).sort_values(ascending=False, kind="stable").index[:top]
    chosen = [clone for clone in (clones or largest) if clone in shares.columns]
    rest = shares.drop(columns=chosen)
    ax = new_axes(ax, size=(6, 3.5))
    x, colors = np.arange(len(shares)), palette(len(chosen))
    if kind == "area":
        bands = [*(shares[clone] for clone in chosen), rest.sum(axis=1)]
        labels = [*short_names(chosen).values(), f"{rest.shape[1]:,} others"]
        if len(x) == 1:
            x, bands = np.array([-0.4, 0.4]), [np.repeat(band, 2) for band in bands]
        ax.stackplot(x, np.vstack(bands), colors=[*colors, GREY], labels=labels, linewidth=0.3, edgecolor="white")
        ax.set_ylim(0, 1)
    else:
        floor = float(np.min(shares.to_numpy()[shares.to_numpy() > 0], initial=1.0)) / 2
        grey = rest[rest.max(axis=0).sort_values(ascending=False, kind="stable").index[:200]]
        ax.plot(x, np.maximum(grey, floor), color=GREY, linewidth=0.5, alpha=0.5, zorder=1)
        for (clone, name), color in zip(short_names(chosen).items(), colors, strict=True):
            ax.plot(x, np.maximum(shares[clone], floor), color=color, marker="o", markersize=3, label=name)
        ax.set_yscale("log")
        ax.annotate(
            "not seen: drawn at the bottom", (0, 0), (2, 3), "axes fraction", "offset points", fontsize="x-small"
        )
    turned = sum(map(len, shares.index)) > _MOST_LETTERS
    ax.set_xticks(np.arange(len(shares)), shares.index)
    if turned:
        ax.tick_params(axis="x", rotation=45)
        for label in ax.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    ax.set_xlabel(group)
    ax.set_ylabel(_share_of(adata))
    legend_outside(ax, title="clone")
    return ax


def rank_abundance(adata: AnnData, *, color: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw the share of each clone against its rank, one line per sample, coloured by a column of the sheet.

    >>> ax = rank_abundance(AnnData(np.array([[1, 1, 8], [5, 0, 4]], dtype=np.float32)))
    >>> [len(line.get_xdata()) for line in ax.lines]
    [3, 2]
    """
    ax = new_axes(ax, size=(4.5, 3.5))
    values = adata.obs[color].astype(str) if color else pd.Series("", index=adata.obs_names)
    names = sorted(set(values))
    colors = dict(zip(names, palette(len(names)), strict=True))
    drawn: set[str] = set()
    for share, value in zip(_shares(adata).to_numpy(), values, strict=True):
        seen = np.sort(share[share > 0])[::-1]
        label = value if color and value not in drawn else None
        ax.plot(np.arange(1, len(seen) + 1), seen, color=colors[value], linewidth=1, alpha=0.8, label=label)
        drawn.add(value)
    ax.set(xscale="log", yscale="log", xlabel="rank of clone", ylabel=_share_of(adata))
    legend_outside(ax, title=color or "")
    return ax


def replicate_overlap(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw how many of the largest clones two replicates share, with the control's own overlap as an open mark.

    ``table`` comes from ``clones.replicate_table``. A filled mark no higher than the open one is no sign of selection.

    >>> pairs = pd.DataFrame({"arm": ["A"], "timepoint": ["d7"], "top_overlap": [0.9], "control_overlap": [0.8]})
    >>> ax = replicate_overlap(pairs)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['A d7']
    """
    ax = new_axes(ax, size=(4.5, max(1.5, 0.3 * len(table) + 1)))
    columns = [c for c in (keys.PATIENT_ID, keys.ARM, keys.TIMEPOINT) if c in table]
    names = table[columns].astype(str).agg(" ".join, axis=1).str.strip() if len(table) else pd.Series(dtype=str)
    y = np.arange(len(table))[::-1]
    ax.hlines(y, table["control_overlap"], table["top_overlap"], color=GREY, zorder=1)
    blue, orange = palette(2)
    ax.scatter(table["control_overlap"], y, facecolors="none", edgecolors=orange, label="control replicates", zorder=2)
    ax.scatter(table["top_overlap"], y, color=blue, s=18, label="these replicates", zorder=3)
    ax.set_yticks(y, names)
    ax.set_xlim(-0.02, 1.02)
    ax.set_xlabel("share of the largest clones in common")
    legend_outside(ax)
    return ax


def enrichment_map(
    results: Mapping[str, pd.DataFrame], *, top: int = 40, limit: float = 6.0, ax: Axes | None = None
) -> Axes:
    """Draw the log2 fold of the called clones in every contrast; a dot marks where a clone was called.

    Parameters
    ----------
    results
        By contrast, a table of ``clones.dynamics`` (``clone``, ``log2fc``, ``call``).
    top
        Clones shown: those called most often, then those with the largest fold.
    limit
        Folds beyond this (log2) share one colour.

    Examples
    --------
    >>> one = pd.DataFrame({"clone": ["x", "y"], "log2fc": [3.0, 0.1], "call": ["enriched", "none"]})
    >>> [label.get_text() for label in enrichment_map({"A vs B": one}).get_yticklabels()]
    ['x']
    """
    fold = pd.DataFrame({name: table.set_index("clone")["log2fc"] for name, table in results.items()})
    calls = pd.DataFrame({name: table.set_index("clone")["call"] for name, table in results.items()})
    called = calls.isin(["enriched", "depleted"])
    ranked = pd.DataFrame({"times": called.sum(axis=1), "fold": fold.where(called).abs().max(axis=1)})
    ranked = ranked[ranked["times"] > 0].sort_values(["times", "fold"], ascending=False, kind="stable")
    shown = ranked.index[:top]
    ax = new_axes(ax, size=(1.5 + 0.5 * max(len(results), 2), 1.2 + 0.17 * max(len(shown), 3)))
    if not len(shown):
        ax.text(0.5, 0.5, "no clone was called", ha="center", va="center", transform=ax.transAxes)
        ax.set_axis_off()
        return ax
    values = fold.loc[shown].to_numpy(np.float64)
    drawn = np.ma.masked_invalid(np.clip(values, -limit, limit))
    image = ax.imshow(drawn, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    rows, columns = np.nonzero(called.loc[shown].to_numpy())
    ax.scatter(columns, rows, s=8, color="black", label="called")
    ax.set_xticks(np.arange(len(results)), list(results), rotation=45, ha="right")
    ax.set_yticks(np.arange(len(shown)), list(short_names(shown.tolist()).values()), fontsize="x-small")
    more = len(ranked) - len(shown)
    ax.set_title(f"{more:,} more called clones not shown" if more else "", fontsize="small")
    ax.figure.colorbar(image, ax=ax, label="log2 fold")
    return ax


def _shares(adata: AnnData) -> pd.DataFrame:
    counts = np.asarray(adata.X, dtype=np.float64)
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1e-300)
    return pd.DataFrame(counts / total, index=adata.obs_names, columns=adata.var_names.astype(str))


def _share_of(adata: AnnData) -> str:
    unit = str(adata.uns.get(keys.UNS, {}).get(keys.UNIT, ""))
    return "share of cells" if unit == "cells" else "share of library"


def short_names(clones: Sequence[str]) -> dict[str, str]:
    """Return each clone with a short name that no other of them has.

    A barcode keeps both its ends. A clonotype (``patient:TRA:…;TRB:…``) keeps its patient, the chain named last and the
    middle of that chain's CDR3: both ends of a CDR3 are given by its V and J segments. Names that would still be alike
    are numbered.

    >>> list(short_names(["ACGT", "P23:TRA:TGTGCCAATACC;TRB:TGTGCTTCTTCTCTGCGGGCCAATCAGCCTTTC"]).values())
    ['ACGT', 'P23 TRB TCTGCGGGCC']
    """
    made = {str(clone): _short(str(clone)) for clone in clones}
    held = Counter(made.values())
    place: Counter[str] = Counter()
    for clone, name in made.items():
        if held[name] > 1:
            place[name] += 1
            made[clone] = f"{name[: _NAME - 3]} {place[name]}"
    return made


def _short(name: str) -> str:
    if len(name) <= _NAME:
        return name
    *before, last = name.rsplit(";", maxsplit=1)[-1].split(":")
    chain = before[-1] if before else ""
    if ":" in name and chain:
        patient = name.split(":", maxsplit=1)[0]
        words = f"{patient[:6]} {chain[-4:]}" if patient != chain else chain[-4:]
        room = _NAME - len(words) - 1
        middle = max(0, (len(last) - room) // 2)
        return f"{words} {last[middle : middle + room]}"
    return f"{name[: _NAME // 2]}…{name[-_NAME // 2 + 1 :]}"

"""Events on two channels, as a cytometrist looks at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LogNorm

from cellprec import keys
from cellprec.errors import UsageError
from cellprec.pl.style import GREY, OKABE_ITO, SEQUENTIAL, new_axes

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes


def density(adata: AnnData, *, x: str, y: str, gate: str | None = None, ax: Axes | None = None, **style: Any) -> Axes:
    """Draw how densely events lie on two channels; with a gate, the events outside in grey and the share inside.

    x, y: rows of ``var``. gate: the name or path of a gate in ``uns["gates"]``. Reads ``X``. A line marks the
    threshold of a channel where ``var["threshold"]`` has one. The axes hold 99.8 % of the
    events: the rest sits on the rim.
    style: passed to ``Axes.hist2d``. Raises UsageError for an unknown channel or gate.

    >>> import anndata, numpy as np
    >>> adata = anndata.AnnData(np.random.default_rng(0).normal(size=(100, 2)).astype("float32"))
    >>> ax = density(adata, x="0", y="1")
    >>> ax.get_xlabel(), ax.get_title()
    ('0', '100 events')
    """
    for name in (x, y):
        if name not in adata.var_names:
            raise UsageError(f"there is no channel {name!r}", fix=f"one of: {', '.join(adata.var_names[:20])}")
    values = np.column_stack([np.asarray(adata.X)[:, adata.var_names.get_loc(name)] for name in (x, y)]).astype(float)
    inside = _inside(adata, gate=gate)
    finite = np.isfinite(values).all(axis=1)
    values, inside = values[finite], inside[finite]
    ax = new_axes(ax)
    ax.set(xlabel=x, ylabel=y)
    if not len(values):
        ax.set_title("no events")
        return ax
    low, high = np.quantile(values, [0.001, 0.999], axis=0)
    high = np.where(high > low, high, low + 1)
    values = np.clip(values, low, high)
    limits = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    look: dict[str, Any] = {
        "bins": 100,
        "range": limits,
        "cmap": SEQUENTIAL,
        "norm": LogNorm(),
        "rasterized": True,
    } | style
    if gate is not None:
        ax.scatter(values[~inside, 0], values[~inside, 1], s=1, color=GREY, linewidths=0, rasterized=True)
    if inside.any():
        ax.hist2d(values[inside, 0], values[inside, 1], **look)
    title = f"{len(values):,} events" if gate is None else f"{gate}: {inside.mean():.1%} of {len(values):,} events"
    ax.set_title(title, fontsize="medium")
    for name, draw in ((x, ax.axvline), (y, ax.axhline)):
        cut = adata.var["threshold"][name] if "threshold" in adata.var else np.nan
        if np.isfinite(cut):
            draw(cut, color=OKABE_ITO[3], linewidth=1, linestyle="--")
    return ax


def _inside(adata: AnnData, *, gate: str | None) -> np.ndarray:
    if gate is None:
        return np.ones(adata.n_obs, dtype=bool)
    table = adata.uns.get(keys.GATES, {})
    for names in (table.get("path", []), table.get("name", [])):
        places = [i for i, name in enumerate(names) if str(name) == gate]
        if len(places) == 1:
            return np.asarray(adata.obsm[keys.GATES])[:, places[0]].astype(bool)
    known = ", ".join(map(str, table.get("path", []))) or "no gates were read"
    raise UsageError(f"there is no single gate {gate!r}", fix=f"one of: {known}")

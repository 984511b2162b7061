"""Cells on a map, coloured by what they are or by what they carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from cellprec import keys
from cellprec.errors import UsageError
from cellprec.pl.style import GREY, SEQUENTIAL, color_map, legend_outside, new_axes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

_MISSING: Final = "missing"
_RASTER_DPI: Final = 200


def embedding(
    adata: AnnData,
    *,
    color: str,
    basis: str = keys.X_UMAP,
    names: Sequence[str] = (),
    ax: Axes | None = None,
    **style: Any,
) -> Axes:
    """Draw each cell at its place in an embedding, coloured by a column of ``obs`` or by a marker or gene.

    Categories get the colour-blind-safe palette and a legend outside, ``unassigned`` and missing values are grey and
    lie below; numbers get a colour bar that runs from the 1st to the 99th percentile, the highest on top.
    Reads the first two columns of ``obsm[basis]``; cells without a place (nan) are not drawn. The points are
    rasterized, so that an SVG stays small. names: all categories of the figures beside this one, so that a name has
    one colour in all of them. style: passed to ``Axes.scatter``. Raises UsageError for an unknown name.

    >>> import anndata, numpy as np, pandas as pd
    >>> obs = pd.DataFrame({"population": ["T", "B", "unassigned"]}, index=["0", "1", "2"])
    >>> adata = anndata.AnnData(obs=obs, obsm={"X_umap": np.eye(3)[:, :2]})
    >>> ax = embedding(adata, color="population")
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['B', 'T', 'unassigned']
    """
    places = _places(adata, basis=basis)
    values = _values(adata, color=color)
    if ax is None:
        ax = new_axes(size=(5, 4))
        ax.figure.set_dpi(_RASTER_DPI)
    drawn = np.isfinite(places).all(axis=1)
    style = {"s": _point_size(int(drawn.sum())), "linewidths": 0, "rasterized": True} | style
    if isinstance(values.dtype, pd.CategoricalDtype):
        _draw_categories(ax, places[drawn], values[drawn], title=color, names=names, style=style)
    else:
        _draw_numbers(ax, places[drawn], values[drawn].to_numpy(dtype=float), title=color, style=style)
    name = basis.removeprefix("X_").upper()
    ax.set(xlabel=f"{name} 1", ylabel=f"{name} 2", xticks=[], yticks=[])
    return ax


def _places(adata: AnnData, *, basis: str) -> np.ndarray:
    if basis not in adata.obsm:
        raise UsageError(f"there is no embedding {basis!r}", fix=f"one of: {', '.join(adata.obsm) or 'none made yet'}")
    return np.asarray(adata.obsm[basis], dtype=float)[:, :2]


def _values(adata: AnnData, *, color: str) -> pd.Series:
    if color in adata.obs:
        values: pd.Series = adata.obs[color]
        if isinstance(values.dtype, pd.CategoricalDtype):
            values = values.cat.remove_unused_categories()
        elif pd.api.types.is_bool_dtype(values) or not pd.api.types.is_numeric_dtype(values):
            values = values.astype(str).astype("category")
    elif color in adata.var_names:
        column = adata.X[:, adata.var_names.get_loc(color)]
        column = column.toarray() if hasattr(column, "toarray") else np.asarray(column)
        values = pd.Series(column.ravel(), index=adata.obs_names)
    else:
        raise UsageError(f"{color!r} is neither a column of obs nor a marker or gene", fix="check its spelling")
    if isinstance(values.dtype, pd.CategoricalDtype) and values.isna().any():
        values = values.cat.add_categories(_MISSING).fillna(_MISSING)
    return values


def _draw_categories(
    ax: Axes, places: np.ndarray, values: pd.Series, *, title: str, names: Sequence[str], style: dict[str, Any]
) -> None:
    grey = (keys.UNASSIGNED, _MISSING)
    categories = [str(name) for name in values.cat.categories]
    categories = [name for name in categories if name not in grey] + [name for name in categories if name in grey]
    colors = color_map(categories, names=names, grey=grey)
    codes = values.astype(str).to_numpy()
    for name in categories:
        here = codes == name
        order = 1 if name in grey else 2
        ax.scatter(places[here, 0], places[here, 1], color=colors[name], zorder=order, **style)
        ax.scatter([], [], color=colors[name], label=name, s=20)
    legend_outside(ax, title=title)


def _draw_numbers(ax: Axes, places: np.ndarray, values: np.ndarray, *, title: str, style: dict[str, Any]) -> None:
    known = np.isfinite(values)
    ax.scatter(places[~known, 0], places[~known, 1], color=GREY, **style)
    style = {"cmap": SEQUENTIAL} | style
    if known.any():
        low, high = np.quantile(values[known], [0.01, 0.99])
        style = {"vmin": low, "vmax": high if high > low else low + 1} | style
    order = np.flatnonzero(known)[np.argsort(values[known], kind="stable")]
    points = ax.scatter(places[order, 0], places[order, 1], c=values[order], **style)
    ax.figure.colorbar(points, ax=ax, label=title, shrink=0.7)


def _point_size(n: int) -> float:
    return float(np.clip(30_000 / max(n, 1), 0.5, 20))

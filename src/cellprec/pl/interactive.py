"""Plots to explore on a screen: an embedding whose cells can be asked, and clones followed through the arms."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cellprec import keys
from cellprec.errors import UsageError
from cellprec.pl.style import GREY, color_map, palette

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

MOST_POINTS: Final = 20_000
_FONT: Final = {"family": "system-ui, sans-serif", "size": 12}


def embedding(
    adata: AnnData,
    *,
    color: str = keys.POPULATION,
    basis: str = keys.X_UMAP,
    hover: Sequence[str] = (keys.SAMPLE_ID, keys.CLUSTER),
    max_points: int = 6_000,
    seed: int = 0,
) -> go.Figure:
    """Show cells in two dimensions, colored by a label; a point says where it comes from when pointed at.

    At most ``max_points`` cells are drawn, chosen at random by ``seed``, and the title says how many of how many.
    Points are vector shapes, not WebGL, so that the plot also works on machines without a graphics card.

    Parameters
    ----------
    adata
        Cells with ``obsm[basis]`` (cells × 2; NaN where a cell was not embedded) and ``obs[color]``.
    color
        The column of ``obs`` that gives the colors; categories.
    basis
        The slot of the coordinates.
    hover
        Columns of ``obs`` shown when a point is pointed at; those that are absent are left out.
    max_points
        The most points drawn, 20,000 at the very most.
    seed
        Which cells are chosen.

    Raises
    ------
    UsageError
        If there is no such embedding or column, or no cell was embedded.

    >>> import anndata
    >>> cells = anndata.AnnData(obs=pd.DataFrame({"population": ["B", "T", "T"]}, index=["a", "b", "c"]))
    >>> cells.obsm["X_umap"] = np.array([[0.0, 0.0], [1.0, 1.0], [np.nan, np.nan]])
    >>> [trace.name for trace in embedding(cells).data]
    ['B', 'T']
    """
    if basis not in adata.obsm or color not in adata.obs:
        missing = f"obsm[{basis!r}]" if basis not in adata.obsm else f"obs[{color!r}]"
        raise UsageError(f"the cells have no {missing}", fix="Compute it first, or name one that is there.")
    points = np.asarray(adata.obsm[basis], dtype=np.float32)[:, :2]
    there = np.flatnonzero(np.isfinite(points).all(axis=1))
    if not there.size:
        raise UsageError(f"no cell has coordinates in obsm[{basis!r}]", fix="Compute the embedding first.")
    limit = min(max_points, MOST_POINTS)
    chosen = there
    if there.size > limit:
        chosen = np.sort(np.random.default_rng(seed).choice(there, size=limit, replace=False))
    labels = adata.obs[color].astype(str).to_numpy()[chosen]
    texts = _hover_texts(adata.obs.iloc[chosen], columns=[color, *hover])
    figure = go.Figure()
    for name, shade in color_map(sorted(set(labels)), grey=(keys.UNASSIGNED,)).items():
        rows = chosen[labels == name]
        figure.add_trace(
            go.Scatter(
                x=points[rows, 0],
                y=points[rows, 1],
                mode="markers",
                name=_plain(name),
                text=texts[labels == name],
                hoverinfo="text",
                marker={"size": 4, "color": shade, "opacity": 0.8},
            )
        )
    axis = {"showgrid": False, "zeroline": False, "showticklabels": False}
    cut = ", chosen at random" if len(chosen) < len(there) else ""
    _lay_out(figure, title=f"{len(chosen):,} of {adata.n_obs:,} cells{cut}")
    stem = basis.removeprefix("X_")
    figure.update_xaxes(title=f"{stem} 1", **axis)
    figure.update_yaxes(title=f"{stem} 2", **axis)
    return figure


def clone_trajectories(
    adata: AnnData,
    *,
    by: Sequence[str] = (keys.ARM, keys.TIMEPOINT),
    clones: Sequence[str] = (),
    top: int = 30,
    order: Sequence[str] = (),
) -> go.Figure:
    """Follow single clones through arms and timepoints: mean frequency over replicates, on a log scale.

    Patients are never averaged: a clone is followed in the patient in whom it is largest.

    A clone not seen in any replicate of a group has no point there: not seen is not the same as gone.

    Parameters
    ----------
    adata
        Samples × clones with ``layers["frequency"]``, or counts in X from which it is taken.
    by
        The columns of ``obs`` that make the groups on the x axis; those that are absent are left out.
    clones
        The clones to follow; the ``top`` with the largest frequency in any group otherwise.
    top
        How many clones where none are named.
    order
        The order of the timepoints.

    Raises
    ------
    UsageError
        If a clone is named that is not there.

    >>> import anndata
    >>> obs = pd.DataFrame({"arm": ["vehicle", "drug"]}, index=["s1", "s2"])
    >>> adata = anndata.AnnData(np.array([[5.0, 5.0], [9.0, 1.0]]), obs=obs, var=pd.DataFrame(index=["c1", "c2"]))
    >>> figure = clone_trajectories(adata)
    >>> figure.data[0].name, figure.data[0].x, figure.data[0].y.round(2).tolist()
    ('c1', ('vehicle', 'drug'), [0.5, 0.9])
    """
    unknown = [clone for clone in clones if clone not in adata.var_names]
    if unknown:
        raise UsageError(f"no clone is called {unknown[0]!r}", fix="Name clones of var_names.")
    means = _clone_means(adata, by=[column for column in by if column in adata.obs], order=order)
    if clones:
        named = list(clones)
    else:
        named = means.max(axis=0).sort_values(ascending=False, kind="stable").head(top).index.tolist()
    figure = go.Figure()
    for name, shade in zip(named, palette(len(named)), strict=True):
        values = means[name].to_numpy(dtype=float)
        figure.add_trace(
            go.Scatter(
                x=tuple(_plain(group) for group in means.index),
                y=np.where(values > 0, values, np.nan),
                mode="lines+markers",
                name=_plain(str(name)),
                line={"color": shade, "width": 1.5},
                marker={"size": 6},
                hovertemplate="%{x}<br>%{y:.3%}<extra>" + _plain(str(name)).replace("%", "&#37;") + "</extra>",
            )
        )
    _lay_out(figure, title=f"{len(named)} of {adata.n_vars:,} clones")
    figure.update_yaxes(
        title="frequency (mean of replicates)", type="log", gridcolor="#EEEEEE", tickformat=".2~%", automargin=True
    )
    figure.update_xaxes(gridcolor="#EEEEEE", linecolor=GREY)
    return figure


def _clone_means(adata: AnnData, *, by: list[str], order: Sequence[str]) -> pd.DataFrame:
    """Mean frequency of each clone by group; a clone is followed in the patient in whom it is largest."""
    patients = adata.obs[keys.PATIENT_ID].astype(str) if keys.PATIENT_ID in adata.obs else None
    if patients is None or patients.nunique() < 2:
        return _group_means(adata, by=by, order=order)
    all_groups = _group_means(adata, by=by, order=order)
    parts = [_group_means(adata[(patients == who).to_numpy()], by=by, order=order) for who in sorted(set(patients))]
    largest = np.stack([part.max(axis=0).to_numpy() for part in parts]).argmax(axis=0)
    chosen = [part.loc[:, largest == place] for place, part in enumerate(parts)]
    joined: pd.DataFrame = pd.concat(chosen, axis=1)
    return joined.reindex(index=all_groups.index, columns=all_groups.columns)


def _group_means(adata: AnnData, *, by: list[str], order: Sequence[str]) -> pd.DataFrame:
    if keys.FREQUENCY in adata.layers:
        matrix = adata.layers[keys.FREQUENCY]
        values = np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=float)
    else:
        counts = np.asarray(adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X, dtype=float)
        values = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    frame = pd.DataFrame(values, index=adata.obs_names, columns=adata.var_names)
    columns = [adata.obs[column].astype(str).replace("nan", "") for column in by]
    groups = columns[0].str.cat(columns[1:], sep=" ") if columns else pd.Series(adata.obs_names, index=adata.obs_names)
    rank = {str(timepoint): place for place, timepoint in enumerate(order)}
    seen = pd.DataFrame({"group": groups.str.strip(), "place": range(adata.n_obs)}, index=adata.obs_names)
    if keys.TIMEPOINT in adata.obs:
        seen["place"] = adata.obs[keys.TIMEPOINT].astype(str).map(rank).fillna(len(rank)).to_numpy()
    names = seen.drop_duplicates("group").sort_values("place", kind="stable")["group"]
    return frame.groupby(seen["group"].to_numpy()).mean().loc[names.tolist()]


def _hover_texts(obs: pd.DataFrame, *, columns: Sequence[str]) -> np.ndarray[Any, Any]:
    shown = [column for column in dict.fromkeys(columns) if column in obs]
    rows = zip(*(obs[column].astype(str) for column in shown), strict=True)
    return np.array(
        ["<br>".join(f"{column}: {_plain(value)}" for column, value in zip(shown, row, strict=True)) for row in rows]
    )


def _plain(text: str) -> str:
    # plotly reads a small HTML in its labels; a name out of a file is never meant as HTML
    return html.escape(str(text), quote=False)


def _lay_out(figure: go.Figure, *, title: str) -> None:
    figure.update_layout(
        template="none",
        title={"text": title, "font": {"size": 13}, "x": 0},
        font=_FONT,
        height=460,
        margin={"l": 60, "r": 10, "t": 40, "b": 60},
        legend={"itemsizing": "constant", "font": {"size": 11}},
        paper_bgcolor="white",
        plot_bgcolor="white",
        hoverlabel={"namelength": -1},
    )

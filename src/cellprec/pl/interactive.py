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
_LABEL: Final = 24
_FONT: Final = {"family": "system-ui, sans-serif", "size": 12}


def embedding(
    adata: AnnData,
    *,
    color: str = keys.POPULATION,
    basis: str = keys.X_UMAP,
    hover: Sequence[str] = (keys.SAMPLE_ID, keys.CLUSTER),
    names: Sequence[str] = (),
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
    names
        All labels of the figures beside this one, so that a label has one color in all of them.
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
    for name, shade in color_map(sorted(set(labels)), names=names).items():
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
    adata: AnnData, *, clones: Sequence[str] = (), top: int = 20, order: Sequence[str] = ()
) -> go.Figure:
    """Follow single clones over time or through arms: mean frequency over replicates, on a log scale.

    One view per patient where there are patients, else one per arm that has several timepoints, chosen from a menu;
    else all arms side by side. Patients are never averaged. A clone not seen in any replicate of a group has no point
    there: not seen is not the same as gone.

    Parameters
    ----------
    adata
        Samples × clones with ``layers["frequency"]``, or counts in X from which it is taken.
    clones
        The clones to follow; in each view the ``top`` with the largest frequency otherwise.
    top
        How many clones per view where none are named.
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
    views = {}
    for view, rows, groups in _views(adata.obs):
        means = _group_means(adata[rows], groups=groups[rows], order=order)
        largest = means.max(axis=0).sort_values(ascending=False, kind="stable").head(top)
        views[view] = means[list(clones) or largest.index[largest > 0].tolist()]
    names = list(dict.fromkeys(name for means in views.values() for name in means.columns))
    shared = len(names) < sum(len(means.columns) for means in views.values())
    # a clone keeps its color from arm to arm; clones of different patients need not differ in color
    held = [names] if shared else [list(means.columns) for means in views.values()]
    shades = {name: shade for part in held for name, shade in zip(part, palette(len(part)), strict=True)}
    figure = go.Figure()
    for place, means in enumerate(views.values()):
        for name in means.columns:
            figure.add_trace(_line(means[name], shade=shades[name], visible=place == 0))
    _lay_out(figure, title=f"{len(names)} of {adata.n_vars:,} clones")
    if len(views) > 1:
        _add_menu(figure, {view: len(means.columns) for view, means in views.items()})
    figure.update_yaxes(
        title="frequency (mean of replicates)", type="log", gridcolor="#EEEEEE", tickformat=".2~p", automargin=True
    )
    figure.update_xaxes(gridcolor="#EEEEEE", linecolor=GREY, type="category", automargin=True)
    return figure


def _views(obs: pd.DataFrame) -> list[tuple[str, Any, pd.Series]]:
    words = pd.DataFrame({
        column: obs[column].astype(object).fillna("").astype(str) if column in obs else ""
        for column in (keys.PATIENT_ID, keys.ARM, keys.TIMEPOINT)
    }, index=obs.index)  # fmt: skip
    patient, arm, time = (words[column] for column in (keys.PATIENT_ID, keys.ARM, keys.TIMEPOINT))
    if (patient != "").any():
        groups = _joined(arm if arm.nunique() > 1 else None, time)
        return [(who, (patient == who).to_numpy(), groups) for who in sorted(set(patient) - {""})]
    several = time.groupby(arm.to_numpy()).nunique()
    followed = [name for name in several.index[several > 1] if name]
    if followed:
        return [(name, (arm == name).to_numpy(), time) for name in followed]
    return [("", np.ones(len(obs), dtype=bool), _joined(arm, time))]


def _joined(first: pd.Series | None, second: pd.Series) -> pd.Series:
    joined = second if first is None else (first + " " + second).str.strip()
    return joined.where(joined != "", second.index.astype(str))


def _group_means(adata: AnnData, *, groups: pd.Series, order: Sequence[str]) -> pd.DataFrame:
    if keys.FREQUENCY in adata.layers:
        matrix = adata.layers[keys.FREQUENCY]
        values = np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=float)
    else:
        counts = np.asarray(adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X, dtype=float)
        values = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    frame = pd.DataFrame(values, columns=adata.var_names)
    seen = pd.DataFrame({"group": groups.to_numpy(), "place": 0})
    if keys.TIMEPOINT in adata.obs:
        rank = {str(timepoint): place for place, timepoint in enumerate(order)}
        seen["place"] = adata.obs[keys.TIMEPOINT].astype(str).map(rank).astype(float).fillna(len(rank)).to_numpy()
    names = seen.drop_duplicates("group").sort_values("place", kind="stable")["group"]
    means: pd.DataFrame = frame.groupby(seen["group"].to_numpy()).mean()
    return means.loc[names.tolist()]


def _line(values: pd.Series, *, shade: str, visible: bool) -> go.Scatter:
    name = str(values.name)
    # receptor sequences are longer than a legend is wide; the whole name is in the hover text
    label = name if len(name) <= _LABEL else f"{name[: _LABEL // 2]}…{name[-_LABEL // 2 :]}"
    numbers = values.to_numpy(dtype=float)
    return go.Scatter(
        x=tuple(_plain(str(group)) for group in values.index),
        y=np.where(numbers > 0, numbers, np.nan),
        mode="lines+markers",
        name=_plain(label),
        visible=visible,
        line={"color": shade, "width": 1.5},
        marker={"size": 6},
        hovertemplate=_plain(name).replace("%", "&#37;") + "<br>%{x}: %{y:.3~p}<extra></extra>",
    )


def _add_menu(figure: go.Figure, lengths: dict[str, int]) -> None:
    buttons = []
    for view in lengths:
        shown = [view == other for other, length in lengths.items() for _ in range(length)]
        buttons.append({"label": _plain(view), "method": "restyle", "args": ["visible", shown]})
    menu = {"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "direction": "down"}
    figure.update_layout(updatemenus=[menu], margin={"t": 90}, title={"y": 0.97})


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

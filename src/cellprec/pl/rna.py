"""Plots of single-cell RNA: quality by sample, the CAR fraction, markers by population."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from cellprec import keys
from cellprec.errors import InputError, UsageError
from cellprec.pl.style import GREY, SEQUENTIAL, new_axes, palette

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

_LABELS = {
    "n_umis": "UMIs per cell",
    "n_genes": "genes per cell",
    "mito_fraction": "mitochondrial fraction",
    keys.DOUBLET_SCORE: "doublet score",
}
_LOGGED = ("n_umis", "n_genes")


def qc_violins(
    adata: AnnData, *, key: str = "n_genes", groupby: str = keys.SAMPLE_ID, ax: Axes | None = None, **style: Any
) -> Axes:
    """Draw how a measure of quality (``obs[key]``) spreads over the cells of each sample, with its median.

    Counts are drawn on a logarithmic axis. A sample with fewer than 3 measured cells is drawn as points. ``style``
    goes to ``Axes.violinplot``. Returns the axes. Raises InputError where a column is absent.

    >>> import anndata, numpy as np
    >>> adata = anndata.AnnData(np.ones((4, 1), dtype="float32"))
    >>> adata.obs["sample_id"], adata.obs["n_genes"] = ["a", "a", "a", "b"], [200, 300, 500, 400]
    >>> [label.get_text() for label in qc_violins(adata).get_xticklabels()]
    ['a', 'b']
    """
    values = _column(adata, name=key).to_numpy(dtype=float)
    group = _column(adata, name=groupby).astype(str).to_numpy()
    ax = new_axes(ax, size=(max(3.0, 0.45 * len(set(group)) + 1.5), 3))
    names = sorted(set(group))
    for place, name in enumerate(names):
        mine = values[(group == name) & np.isfinite(values)]
        drawn = np.log10(np.maximum(mine, 1)) if key in _LOGGED else mine
        if drawn.size >= 3 and np.ptp(drawn) > 0:
            parts = ax.violinplot(drawn, positions=[place], **{"widths": 0.8, "showextrema": False, **style})
            bodies: Any = parts["bodies"]
            for body in bodies:
                body.set(facecolor=palette(1)[0], alpha=0.6)
        else:
            ax.plot(np.full(drawn.size, place), drawn, ".", color=palette(1)[0])
        if drawn.size:
            ax.plot([place - 0.2, place + 0.2], [np.median(drawn)] * 2, color="black", linewidth=1.2)
    if key in _LOGGED:
        low, high = np.floor(ax.get_ylim()[0]), np.ceil(ax.get_ylim()[1])
        ticks = np.arange(max(low, 0), high + 1)
        ax.set_yticks(ticks, [f"{10**tick:,.0f}" for tick in ticks])
    ax.set_ylabel(_LABELS.get(key, key.replace("_", " ")))
    _name_samples(ax, names=names)
    return ax


def car_fraction(table: pd.DataFrame, *, ax: Axes | None = None, **style: Any) -> Axes:
    """Draw the share of cells in which the CAR was seen, sample by sample, with its 95 % interval.

    ``table`` is that of ``cellprec.rna.car_table`` (``sample_id``, ``n_cells``, ``fraction``, ``low``, ``high``). The
    label gives the number of cells; a sample without cells keeps its place and stays empty. ``style`` goes to
    ``Axes.errorbar``. Returns the axes. Raises InputError where a column is absent.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"sample_id": ["a"], "n_cells": [100], "fraction": [0.5], "low": [0.4], "high": [0.6]})
    >>> car_fraction(table).get_ylabel()
    'cells with ≥ 1 CAR UMI (%)'
    """
    missing = [name for name in (keys.SAMPLE_ID, "n_cells", "fraction", "low", "high") if name not in table]
    if missing:
        raise InputError(f"the table lacks {', '.join(missing)}", fix="give the table of cellprec.rna.car_table")
    ax = new_axes(ax, size=(max(3.0, 0.45 * len(table) + 1.5), 3))
    known = table["fraction"].notna().to_numpy()
    share = 100 * table.loc[known, ["fraction", "low", "high"]].to_numpy(dtype=float)
    ends = np.abs(share[:, [1, 2]] - share[:, [0]]).T
    ax.errorbar(
        np.flatnonzero(known),
        share[:, 0],
        yerr=ends,
        **{"fmt": "o", "color": palette(1)[0], "ecolor": "black", "elinewidth": 1, "capsize": 3, **style},
    )
    ax.set_ylim(0, min(105.0, 1.08 * max(share[:, 2].max(initial=0.0), 1.0)))
    ax.set_ylabel("cells with ≥ 1 CAR UMI (%)")
    names = [f"{row[keys.SAMPLE_ID]} ({row['n_cells']:,})" for _, row in table.iterrows()]
    _name_samples(ax, names=names)
    return ax


def dot_plot(
    adata: AnnData,
    *,
    markers: Mapping[str, Sequence[str]] | Sequence[str],
    groupby: str = keys.POPULATION,
    ax: Axes | None = None,
    **style: Any,
) -> Axes:
    """Draw which groups of cells show which genes: dot size is the share of cells, color the mean expression.

    ``markers`` are genes, or population → genes as for ``annotate`` (those that must be absent are left out). Genes
    that the panel lacks are left out and named below the plot. ``style`` goes to ``Axes.scatter``. Returns the axes.
    Raises InputError where the column is absent, UsageError where no gene is in the panel.

    >>> import anndata, numpy as np
    >>> adata = anndata.AnnData(np.array([[1.0, 0], [0, 2]], dtype="float32"))
    >>> adata.var_names = ["CD3D", "MS4A1"]
    >>> adata.obs["population"] = ["T", "B"]
    >>> [label.get_text() for label in dot_plot(adata, markers=["CD3D", "MS4A1"]).get_xticklabels()]
    ['CD3D', 'MS4A1']
    """
    group = _column(adata, name=groupby).astype(str)
    listed = [gene for genes in markers.values() for gene in genes] if hasattr(markers, "values") else list(markers)
    wanted = list(dict.fromkeys(gene for gene in listed if not gene.endswith("-")))
    genes = [gene for gene in wanted if gene in adata.var_names]
    if not genes:
        raise UsageError("none of the markers is among the genes", fix="check the spelling: CD3D, MS4A1, …")
    held = adata.X[:, adata.var_names.get_indexer(genes)]
    values = pd.DataFrame(held.toarray() if sparse.issparse(held) else np.asarray(held), columns=genes)
    mean = values.groupby(group.to_numpy()).mean()
    share = (values > 0).groupby(group.to_numpy()).mean()
    ax = new_axes(ax, size=(0.28 * len(genes) + 2.5, 0.3 * len(mean) + 1.5))
    across, down = np.meshgrid(np.arange(len(genes)), np.arange(len(mean)))
    dots = ax.scatter(
        across.ravel(),
        down.ravel(),
        s=120 * share.to_numpy().ravel(),
        c=mean.to_numpy().ravel(),
        **{"cmap": SEQUENTIAL, "edgecolors": GREY, "linewidths": 0.5, **style},
    )
    ax.figure.colorbar(dots, ax=ax, label="mean expression", shrink=0.8)
    ax.set_xticks(range(len(genes)), genes, rotation=90, fontsize="small")
    sizes = group.value_counts()
    ax.set_yticks(range(len(mean)), [f"{name} ({sizes[name]:,})" for name in mean.index], fontsize="small")
    ax.set(xlim=(-0.7, len(genes) - 0.3), ylim=(len(mean) - 0.3, -0.7))
    lacking = [gene for gene in wanted if gene not in genes]
    ax.set_xlabel("dot size: share of cells" + (f"; not in the panel: {', '.join(lacking)}" if lacking else ""))
    return ax


def _column(adata: AnnData, *, name: str) -> pd.Series:
    if name not in adata.obs:
        raise InputError(f"cells have no column {name!r}", where="obs", fix="run the step that makes it first")
    column: pd.Series = adata.obs[name]
    return column


def _name_samples(ax: Axes, *, names: list[str]) -> None:
    turned = max(map(len, names), default=0) > 4
    ax.set_xticks(
        range(len(names)), names, rotation=45 if turned else 0, ha="right" if turned else "center", fontsize="small"
    )
    ax.set_xlim(-0.6, len(names) - 0.4)

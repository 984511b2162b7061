"""Cells that resemble each other form clusters and a map."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scanpy as sc

from cellprec import keys
from cellprec.errors import InputError, UsageError
from cellprec.notes import add_note

if TYPE_CHECKING:
    from anndata import AnnData

_FEWEST_CELLS = 10
# below this exact neighbors cost little and do not depend on the number of cores
_EXACT_UP_TO = 50_000


def cluster(
    adata: AnnData, *, use_rep: str = "X_scVI", resolution: float = 1.0, n_neighbors: int = 15, seed: int = 0
) -> None:
    """Group the cells by resemblance, and lay them out on a map.

    A graph of each cell's ``n_neighbors`` nearest cells in ``obsm[use_rep]`` is cut into communities (Leiden, more of
    them the higher ``resolution``) and laid out by UMAP. Distances on the map are not distances between cells; use
    it to look, never to measure. With fewer than 3 × ``n_neighbors`` cells the number of neighbors is lowered; fewer
    than 10 cells form one cluster, laid out by the first two axes, and a note says so.

    Writes ``obs["cluster"]`` (categories "0", "1", …, the largest first), ``obsm["X_umap"]`` (cells × 2, float32),
    ``obsp["connectivities"]``, ``obsp["distances"]`` and ``uns["neighbors"]``. Raises InputError where ``use_rep`` is
    absent or has gaps, UsageError where a number is out of range.

    Source: Traag et al. 2019 (Sci Rep 9:5233); McInnes et al. 2018 (arXiv:1802.03426).

    >>> import anndata, numpy as np
    >>> adata = anndata.AnnData(np.ones((4, 2), dtype="float32"))
    >>> adata.obsm["X_pca"] = np.arange(8, dtype="float32").reshape(4, 2)
    >>> cluster(adata, use_rep="X_pca")
    >>> list(adata.obs["cluster"])
    ['0', '0', '0', '0']
    """
    if resolution <= 0 or n_neighbors < 2:
        raise UsageError(
            f"resolution={resolution}, n_neighbors={n_neighbors}",
            fix="resolution is above 0, n_neighbors is 2 or more",
        )
    layout = _layout(adata, use_rep=use_rep)
    if adata.n_obs < _FEWEST_CELLS:
        adata.obs[keys.CLUSTER] = pd.Categorical(["0"] * adata.n_obs)
        flat = np.zeros((adata.n_obs, 2), dtype=np.float32)
        flat[:, : min(2, layout.shape[1])] = layout[:, :2]
        adata.obsm[keys.X_UMAP] = flat
        add_note(
            adata,
            "rna.too_few_to_cluster",
            f"Clusters: cannot tell, {adata.n_obs} cells are fewer than {_FEWEST_CELLS}; all are one cluster.",
            count=adata.n_obs,
        )
        return
    neighbors = n_neighbors
    if adata.n_obs < 3 * n_neighbors:
        neighbors = max(2, adata.n_obs // 3)
        add_note(
            adata,
            "rna.few_neighbors",
            f"Only {adata.n_obs} cells: clusters rest on {neighbors} neighbors per cell instead of {n_neighbors}.",
            count=adata.n_obs,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exact = "sklearn" if adata.n_obs <= _EXACT_UP_TO else None
        sc.pp.neighbors(adata, use_rep=use_rep, n_neighbors=neighbors, random_state=seed, transformer=exact)
        sc.tl.leiden(
            adata,
            resolution=resolution,
            flavor="igraph",
            n_iterations=2,
            directed=False,
            random_state=seed,
            key_added=keys.CLUSTER,
        )
        sc.tl.umap(adata, random_state=seed)
    adata.obsm[keys.X_UMAP] = np.asarray(adata.obsm[keys.X_UMAP], dtype=np.float32)
    adata.obs[keys.CLUSTER] = _by_size(adata.obs[keys.CLUSTER])


def _layout(adata: AnnData, *, use_rep: str) -> np.ndarray:
    if use_rep not in adata.obsm:
        raise InputError(
            f"there is no {use_rep} to cluster on",
            where="obsm",
            fix=f"make it first, or name one of: {', '.join(adata.obsm) or 'none is there'}",
        )
    layout = np.asarray(adata.obsm[use_rep])
    gaps = ~np.isfinite(layout).all(axis=1)
    if gaps.any():
        raise InputError(
            f"{int(gaps.sum()):,} cells have gaps in {use_rep} (first: {adata.obs_names[np.flatnonzero(gaps)[0]]})",
            where=f"obsm[{use_rep!r}]",
            why="a cell without a place has no neighbors",
        )
    return layout


def _by_size(labels: pd.Series) -> Any:
    # ties by the old name, so that the order never depends on anything else
    size = labels.astype(str).value_counts()
    order = sorted(size.index, key=lambda name: (-size[name], int(name)))
    new = {old: str(rank) for rank, old in enumerate(order)}
    return pd.Categorical(labels.astype(str).map(new), categories=[str(rank) for rank in range(len(order))])

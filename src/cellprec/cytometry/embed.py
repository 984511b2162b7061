"""A map of the events."""

from __future__ import annotations

import numpy as np
from anndata import AnnData

from cellprec import keys
from cellprec.cytometry.panel import lineage_channels


def embed(adata: AnnData, *, max_events: int = 10_000, seed: int = 0) -> None:
    """Lay a subsample of the events out on a map where similar events lie together.

    Parameters
    ----------
    adata
        Events × channels, transformed; ``obs["sample_id"]`` so that every sample has an equal share of the map.
    max_events
        Events on the map.
    seed
        Seed of the subsample and of the map.

    Writes ``obsm["X_umap"]``: events × 2, NaN for events that are not on the map
    (all of them where there are fewer than four). Source: UMAP, McInnes et al. 2018.

    Examples
    --------
    >>> adata = AnnData(np.random.default_rng(0).normal(size=(60, 3)).astype("f4"))
    >>> adata.var["kind"], adata.obs["sample_id"] = "mass", "a"
    >>> embed(adata, max_events=40)
    >>> int(np.isfinite(adata.obsm["X_umap"]).all(axis=1).sum())
    40
    """
    import umap  # noqa: PLC0415 - it compiles at import: seconds that the other verbs of the room need not wait

    rng = np.random.default_rng(seed)
    where = adata.obs.groupby(keys.SAMPLE_ID, observed=True).indices
    share = max(max_events // max(len(where), 1), 1)
    chosen = np.sort(np.concatenate([rng.permutation(where[name])[:share] for name in sorted(where)]))
    channels = lineage_channels(adata)
    values = np.asarray(adata[chosen, channels].X, np.float32)
    spread = values.std(axis=0)
    values = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)
    place = np.full((adata.n_obs, 2), np.nan, np.float32)
    neighbors = min(15, len(chosen) - 1)
    # the start of the map takes three eigenvectors, which three events do not have
    if neighbors >= 3:
        place[chosen] = umap.UMAP(n_neighbors=neighbors, random_state=seed, n_jobs=1).fit_transform(values)
    adata.obsm[keys.X_UMAP] = place

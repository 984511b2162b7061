"""Group events that carry the same markers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits

from cellprec import keys
from cellprec.cytometry.panel import find_channels, lineage_channels, near_misses
from cellprec.errors import InputError, UsageError
from cellprec.notes import add_note

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

_FIT_EVENTS: Final = 200_000
_BATCH: Final = 4096


def cluster(
    adata: AnnData, *, n_clusters: int = 20, grid: int = 100, channels: list[str] | None = None, seed: int = 0
) -> None:
    """Group events into ``n_clusters`` clusters by their lineage markers, on two levels as FlowSOM does.

    ``grid`` prototypes are fitted by k-means to a subsample that takes equally many events from each sample, then
    joined by Ward's linkage, each prototype counting once whatever its size, so that a rare population far from the
    others stays apart. All events go to the cluster of their nearest prototype. Reads ``X`` (transformed; kept events
    for the fit), writes ``obs["cluster"]`` (categorical, "1" the largest).

    channels: names of markers or channels; by default stained fluorescence and mass channels without DNA, beads and
    viability. Raises InputError for unknown names and values that are not finite.
    Source of the two levels: Van Gassen et al. 2015, Cytometry A 87A:636.

    >>> import anndata, numpy as np, pandas as pd
    >>> var = pd.DataFrame({"kind": ["mass"] * 2}, index=["CD3", "CD19"])
    >>> adata = anndata.AnnData(np.repeat([[0, 5], [5, 0]], [30, 10], axis=0).astype("float32"), var=var)
    >>> cluster(adata, n_clusters=2)
    >>> adata.obs["cluster"].value_counts().to_dict()
    {'1': 30, '2': 10}
    """
    if n_clusters < 1 or grid < n_clusters:
        raise UsageError(f"{n_clusters} clusters cannot be made of {grid} prototypes", fix="let grid be the larger one")
    values = _values(adata, channels=channels)
    rng = np.random.default_rng(seed)
    fit = values[_balanced(adata, rng=rng)]
    distinct = len(np.unique(fit[: 50 * grid], axis=0))
    distinct = distinct if distinct >= grid else len(np.unique(fit, axis=0))
    wanted = min(n_clusters, distinct)
    if wanted < n_clusters:
        add_note(
            adata, "events.few_clusters", f"the events allow for {wanted} clusters, not {n_clusters}", count=wanted
        )
    # one thread, so that sums are taken in the same order on every machine
    with threadpool_limits(1):
        model = MiniBatchKMeans(
            min(grid, distinct), batch_size=_BATCH, n_init=3, random_state=int(rng.integers(2**31 - 1))
        )
        model.fit(fit)
        nearest = model.predict(values)
    labels = _join(model.cluster_centers_.astype(np.float64), n_clusters=wanted)[nearest]
    codes, counts = np.unique(labels, return_counts=True)
    order = codes[np.argsort(-counts, kind="stable")]
    names = {code: str(rank) for rank, code in enumerate(order, start=1)}
    adata.obs[keys.CLUSTER] = pd.Categorical([names[label] for label in labels], categories=list(names.values()))


def _values(adata: AnnData, *, channels: list[str] | None) -> NDArray[np.float32]:
    names = lineage_channels(adata) if channels is None else _named(adata, channels)
    if not names:
        raise InputError(
            "there is no marker to group the events by",
            fix="name the channels, or give the markers in $PnS of the FCS files",
        )
    values = np.ascontiguousarray(np.asarray(adata.X)[:, adata.var_names.get_indexer(names)], dtype=np.float32)
    if not len(values):
        raise InputError("there are no events to group", fix="look at what cleaning and gating left")
    bad = ~np.isfinite(values).all(axis=0)
    if bad.any():
        raise InputError(
            f"{', '.join(np.array(names)[bad][:5])} hold values that are missing or infinite",
            why="an event without a value has no place among the others",
            fix="leave the channel out, or the samples that were not stained for it",
        )
    return values


def _named(adata: AnnData, channels: list[str]) -> list[str]:
    found = find_channels(adata, names=channels)
    for name in channels:
        if name not in found:
            near = near_misses(adata, name=name)
            raise InputError(
                f"{name!r} is no single channel or marker",
                fix=f"did you mean {' or '.join(near)}?" if near else "use the names of $PnN or $PnS",
            )
    return list(dict.fromkeys(found[name] for name in channels))


def _balanced(adata: AnnData, *, rng: np.random.Generator) -> NDArray[np.intp]:
    """Rows for the fit: at most an equal share of each sample, so that a large sample does not decide alone."""
    kept = adata.obs[keys.KEEP].to_numpy(dtype=bool) if keys.KEEP in adata.obs else np.ones(adata.n_obs, dtype=bool)
    if not kept.any():
        kept = ~kept
    rows = np.flatnonzero(kept)
    samples = np.zeros(len(rows), dtype=str)
    if keys.SAMPLE_ID in adata.obs:
        samples = adata.obs[keys.SAMPLE_ID].astype(str).to_numpy()[rows]
    groups = [rows[samples == name] for name in np.unique(samples)]
    # small samples give all they have; what they leave is shared by the larger ones, up to twice the smallest share
    sizes = np.array([len(group) for group in groups])
    share = max(_FIT_EVENTS // len(groups), 1)
    share = int(min(share, max(2 * np.median(sizes), 1000)))
    chosen = [group if len(group) <= share else np.sort(rng.choice(group, share, replace=False)) for group in groups]
    return np.concatenate(chosen)


def _join(prototypes: NDArray[np.float64], *, n_clusters: int) -> NDArray[np.int32]:
    if len(prototypes) == 1:
        return np.ones(1, dtype=np.int32)
    return np.asarray(fcluster(linkage(pdist(prototypes), "ward"), n_clusters, criterion="maxclust"))

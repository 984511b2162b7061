"""What there is to tell of the cells, as tables: by sample, by population, by cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from cellprec import keys
from cellprec.errors import InputError
from cellprec.rna.panel import kept, samples_of
from cellprec.rna.qc import MITO_FRACTION, N_GENES, N_UMIS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData


def sample_table(adata: AnnData) -> pd.DataFrame:
    """Tell, sample by sample, how many cells came, how many stayed, why the others went, and how deep they are.

    Returns one row per sample: ``sample_id``, ``n_cells``, ``n_kept``, ``fraction_kept``, one column
    ``dropped_<reason>`` per reason met anywhere, and ``median_umis``, ``median_genes``, ``median_mito`` of the kept
    cells (missing where there are none). Only ``obs`` is read. Raises InputError before ``qc``.

    >>> import anndata, numpy as np
    >>> from cellprec.rna.qc import qc
    >>> adata = anndata.AnnData(np.ones((3, 300), dtype="float32"))
    >>> adata.obs["sample_id"] = "P01"
    >>> qc(adata)
    >>> sample_table(adata)[["sample_id", "n_cells", "n_kept", "median_genes"]].values.tolist()
    [['P01', 3, 3, 300.0]]
    """
    for column in (N_UMIS, keys.DROP_REASON):
        if column not in adata.obs:
            raise InputError(
                "the quality of the cells was not looked at", where=f"obs[{column!r}]", fix="call cellprec.rna.qc first"
            )
    sample = samples_of(adata).to_numpy()
    keep = kept(adata)
    reason = adata.obs[keys.DROP_REASON].astype(str).to_numpy()
    reasons = sorted(set(reason[~keep]) - {""})
    rows = []
    for name in sorted(set(sample)):
        here = sample == name
        row: dict[str, object] = {
            keys.SAMPLE_ID: name,
            "n_cells": int(here.sum()),
            "n_kept": int((here & keep).sum()),
            "fraction_kept": float(keep[here].mean()),
        }
        for why in reasons:
            row["dropped_" + why.replace(" ", "_")] = int((here & ~keep & (reason == why)).sum())
        for column, label in ((N_UMIS, "median_umis"), (N_GENES, "median_genes"), (MITO_FRACTION, "median_mito")):
            known = adata.obs.loc[here & keep, column].dropna()
            row[label] = float(known.median()) if len(known) else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def sample_tables(samples: Mapping[str, AnnData]) -> pd.DataFrame:
    """Put the :func:`sample_table` of many samples under one another; a reason a sample did not meet counts 0."""
    table = pd.concat([sample_table(adata) for adata in samples.values()], ignore_index=True)
    dropped = [str(column) for column in table if str(column).startswith("dropped_")]
    table[dropped] = table[dropped].fillna(0).astype(int)
    return table


def population_table(adata: AnnData) -> pd.DataFrame:
    """Tell what share of each sample's cells belongs to each population.

    Returns one row per sample and population, those not seen in a sample with ``n`` 0: ``sample_id``, ``population``,
    ``n`` (kept cells), ``fraction`` (of the sample's kept cells; missing where it has none). Raises InputError before
    ``annotate``.

    >>> import anndata, numpy as np
    >>> adata = anndata.AnnData(np.ones((3, 1), dtype="float32"))
    >>> adata.obs["sample_id"] = ["P01", "P01", "P02"]
    >>> adata.obs["population"] = ["B", "NK", "B"]
    >>> population_table(adata)["fraction"].tolist()
    [0.5, 0.5, 1.0, 0.0]
    """
    if keys.POPULATION not in adata.obs:
        raise InputError("the cells have no population", where="obs['population']", fix="call cellprec.rna.annotate")
    keep = kept(adata)
    sample = samples_of(adata)
    population = adata.obs[keys.POPULATION].astype(str)
    samples, populations = sorted(sample.unique()), sorted(population.unique())
    n = pd.crosstab(sample[keep], population[keep]).reindex(index=samples, columns=populations, fill_value=0)
    total = n.sum(axis=1)
    return pd.DataFrame(
        [
            {
                keys.SAMPLE_ID: name,
                keys.POPULATION: which,
                "n": int(n.loc[name, which]),
                "fraction": float(n.loc[name, which] / total[name]) if total[name] else np.nan,
            }
            for name in samples
            for which in populations
        ]
    )


def cluster_table(adata: AnnData, *, n_markers: int = 5) -> pd.DataFrame:
    """Tell how large each cluster is, what it was named, and which genes set it apart.

    Returns one row per cluster: ``cluster``, ``n``, ``population``, ``confidence``, ``top_markers``: the ``n_markers``
    genes whose mean log-normalized expression lies furthest above that of all other cells. They describe the cluster;
    no test stands behind them, as clusters were made from the same genes. Raises InputError before ``cluster``.

    >>> import anndata, numpy as np
    >>> adata = anndata.AnnData(np.array([[2.5, 0], [0, 1.5]], dtype="float32"))
    >>> adata.var_names = ["CD3D", "MS4A1"]
    >>> adata.obs["cluster"] = ["0", "1"]
    >>> cluster_table(adata, n_markers=1)["top_markers"].tolist()
    ['CD3D', 'MS4A1']
    """
    if keys.CLUSTER not in adata.obs:
        raise InputError("there are no clusters", where="obs['cluster']", fix="call cellprec.rna.cluster first")
    cluster = pd.Categorical(adata.obs[keys.CLUSTER])
    members = sparse.csr_matrix(
        (np.ones(adata.n_obs), (cluster.codes, np.arange(adata.n_obs))), shape=(len(cluster.categories), adata.n_obs)
    )
    held = members @ adata.X
    sums = held.toarray() if sparse.issparse(held) else np.asarray(held)
    size = np.asarray(members.sum(axis=1)).ravel()
    rows = []
    for code, name in enumerate(cluster.categories):
        mine = cluster.codes == code
        rest = (sums.sum(axis=0) - sums[code]) / max(adata.n_obs - size[code], 1)
        lead = sums[code] / max(size[code], 1) - rest
        top = [int(i) for i in np.argsort(-lead, kind="stable")[:n_markers] if lead[i] > 0]
        rows.append(
            {
                keys.CLUSTER: str(name),
                "n": int(size[code]),
                keys.POPULATION: _first(adata, column=keys.POPULATION, rows=mine, otherwise=keys.UNASSIGNED),
                "confidence": _first(adata, column=keys.POPULATION_CONFIDENCE, rows=mine, otherwise=np.nan),
                "top_markers": ", ".join(adata.var_names[top].astype(str)),
            }
        )
    return pd.DataFrame(rows)


def _first(adata: AnnData, *, column: str, rows: np.ndarray, otherwise: object) -> object:
    if column not in adata.obs or not rows.any():
        return otherwise
    return adata.obs[column].iloc[int(np.flatnonzero(rows)[0])]

"""Which droplets are cells worth keeping."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cellprec import keys
from cellprec.errors import UsageError
from cellprec.notes import add_note
from cellprec.rna.panel import MITOCHONDRIAL, count_matrix, samples_of

if TYPE_CHECKING:
    from anndata import AnnData

N_UMIS = "n_umis"
N_GENES = "n_genes"
MITO_FRACTION = "mito_fraction"

SMALL_SAMPLE = 50
# the fraction spreads to one side only, so fewer deviations than for depth (Heumos et al. 2023)
_MITO_MADS = 3.0
# no cell is dropped for less mitochondrial RNA than this, however tight the sample
_MITO_HARMLESS = 0.08
# the ceiling where a sample is too small to set its own
_MITO_CEILING = 0.20


def qc(adata: AnnData, *, min_genes: int = 200, max_mito: float | None = None, n_mads: float = 5.0) -> None:
    """Mark the cells that look empty, broken or dying, sample by sample.

    Every cell gets its molecules, its genes and its share of mitochondrial RNA. A cell is marked for dropping where
    it has fewer than ``min_genes`` genes; where log(1 + UMIs) or log(1 + genes) lies more than ``n_mads`` median
    absolute deviations (scaled by 1.4826) below the median of its sample; or where its mitochondrial fraction lies
    more than 3 deviations above the median, and above 8 %. ``max_mito`` is a ceiling that holds in every sample.
    Medians and deviations are those of the cells that pass ``min_genes``. Samples with fewer than 50 such cells are
    judged by the floors alone (``min_genes``, and ``max_mito`` or 20 %). No row is deleted.

    Writes ``obs["n_umis"]``, ``obs["n_genes"]``, ``obs["mito_fraction"]`` (0 to 1; missing where the panel has no
    mitochondrial gene), ``obs["keep"]``, ``obs["drop_reason"]`` ("" for cells that are kept), and one note per
    sample with the thresholds. Raises InputError where the values are not counts or cells have no sample, UsageError
    where a threshold makes no sense.

    Source: the adaptive thresholds are those of McCarthy et al. 2017 (Bioinformatics 33:1179, ``isOutlier``) with
    five and three deviations and the 8 % of Heumos et al. 2023 (Nat Rev Genet 24:550).

    >>> import anndata, numpy as np
    >>> counts = np.ones((3, 300), dtype="float32"); counts[2, 10:] = 0
    >>> adata = anndata.AnnData(counts)
    >>> adata.obs["sample_id"] = "P01"
    >>> qc(adata, min_genes=200)
    >>> list(adata.obs["drop_reason"])
    ['', '', 'low genes']
    """
    if min_genes < 0 or n_mads <= 0 or (max_mito is not None and not 0 < max_mito <= 1):
        raise UsageError(
            f"thresholds out of range: min_genes={min_genes}, max_mito={max_mito}, n_mads={n_mads}",
            fix="min_genes counts genes (0 or more), max_mito is a fraction above 0 up to 1, n_mads is above 0",
        )
    sample = samples_of(adata)
    _measure(adata)
    reason = np.full(adata.n_obs, "", dtype=object)
    for name in sorted(sample.unique()):
        rows = np.flatnonzero((sample == name).to_numpy())
        reason[rows] = _judge(adata, rows=rows, name=name, min_genes=min_genes, max_mito=max_mito, n_mads=n_mads)
        _warn(adata, name=name, reason=reason[rows], mito=adata.obs[MITO_FRACTION].to_numpy()[rows])
    adata.obs[keys.KEEP] = reason == ""
    adata.obs[keys.DROP_REASON] = pd.Categorical(reason)


def _measure(adata: AnnData) -> None:
    counts = count_matrix(adata)
    umis = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    adata.obs[N_UMIS] = umis.astype(np.int64)
    adata.obs[N_GENES] = np.asarray((counts > 0).sum(axis=1)).ravel().astype(np.int64)
    mito = adata.var_names.str.match(MITOCHONDRIAL)
    if not mito.any():
        adata.obs[MITO_FRACTION] = np.full(adata.n_obs, np.nan, dtype=np.float32)
        add_note(
            adata,
            "cells.no_mito_genes",
            "The gene panel has no mitochondrial gene (MT-…), so dying cells cannot be told by them: "
            "the mitochondrial fraction is left empty and not used.",
        )
        return
    held = np.asarray(counts[:, np.flatnonzero(mito)].sum(axis=1, dtype=np.float64)).ravel()
    # a cell without any molecule has no mitochondrial ones either
    adata.obs[MITO_FRACTION] = np.divide(held, umis, out=np.zeros_like(held), where=umis > 0).astype(np.float32)


def _judge(
    adata: AnnData, *, rows: np.ndarray, name: str, min_genes: int, max_mito: float | None, n_mads: float
) -> np.ndarray:
    umis = adata.obs[N_UMIS].to_numpy(dtype=float)[rows]
    genes = adata.obs[N_GENES].to_numpy(dtype=float)[rows]
    mito = adata.obs[MITO_FRACTION].to_numpy(dtype=float)[rows]
    full = (genes >= min_genes) & (umis > 0)
    low_genes, low_umis, high_mito = float(min_genes), 1.0, _MITO_CEILING if max_mito is None else max_mito
    if full.sum() < SMALL_SAMPLE:
        add_note(
            adata,
            "cells.small_sample",
            f"Sample {name} has {full.sum()} cells with at least {min_genes} genes, fewer than {SMALL_SAMPLE}: too few "
            f"to set thresholds of its own; only the floors were used (≤ {high_mito:.0%} mitochondrial).",
            count=int(full.sum()),
            sample=name,
        )
    else:
        low_genes = max(low_genes, _bound(genes[full], n_mads=n_mads))
        low_umis = max(low_umis, _bound(umis[full], n_mads=n_mads))
        if not np.isnan(mito).any():
            own = float(np.median(mito[full]) + _MITO_MADS * _mad(mito[full]))
            high_mito = min(max(own, _MITO_HARMLESS), 1.0 if max_mito is None else max_mito)
    reason = np.full(rows.size, "", dtype=object)
    # the first reason in the order genes, UMIs, mitochondria is the one that is told
    reason[mito > high_mito] = "high mito"
    reason[umis < low_umis] = "low UMIs"
    reason[genes < low_genes] = "low genes"
    judged = "" if np.isnan(mito).any() else f", at most {high_mito:.1%} mitochondrial RNA"
    add_note(
        adata,
        "cells.thresholds",
        f"Sample {name}: cells kept have at least {np.ceil(low_genes):,.0f} genes and {np.ceil(low_umis):,.0f} UMIs"
        f"{judged}.",
        count=int((reason == "").sum()),
        sample=name,
    )
    return reason


def _mad(values: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def _bound(values: np.ndarray, *, n_mads: float) -> float:
    logs = np.log1p(values)
    return float(np.expm1(np.median(logs) - n_mads * _mad(logs)))


def _warn(adata: AnnData, *, name: str, reason: np.ndarray, mito: np.ndarray) -> None:
    dropped = int((reason != "").sum())
    if dropped > reason.size / 2:
        main = pd.Series(reason[reason != ""]).value_counts()
        add_note(
            adata,
            "cells.heavy_loss",
            f"Quality control would drop {dropped:,} of {reason.size:,} cells of sample {name} "
            f"(mostly: {main.index[0]}). Look at the sample before you trust what is left, or lower min_genes.",
            count=dropped,
            sample=name,
        )
    passed = mito[(reason == "") & ~np.isnan(mito)]
    if passed.size and np.median(passed) > _MITO_CEILING:
        add_note(
            adata,
            "cells.stressed_sample",
            f"Half the kept cells of sample {name} have more than {np.median(passed):.0%} mitochondrial RNA: "
            "the sample as a whole looks stressed, and thresholds relative to itself cannot mend that.",
            sample=name,
        )

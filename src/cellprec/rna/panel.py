"""What an object of cells × genes holds: its counts, and which genes belong to which family."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from cellprec import keys
from cellprec.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from anndata import AnnData

# a genome name may stand before the gene in references of two species: GRCh38_MT-CO1
_PREFIX = r"^(?:GRCh\d+_+|hg\d+_+|mm\d+_+)?"
MITOCHONDRIAL = _PREFIX + r"(?:MT|mt|Mt)-"
RIBOSOMAL = _PREFIX + r"(?:RP[SL]\d+[A-Z]?\d*(?:[LXY]\d?)?|RPLP[012]|RPSA|Rp[sl]\d+[a-z]?\d*[lx]?|Rplp[012]|Rpsa)$"
# segments of the T- and B-cell receptor: they tell clones apart, not states (IMGT nomenclature)
RECEPTOR = _PREFIX + r"(?:TR[ABGD][VDJ]\d|TRD[VDJ]\d|IG[HKL][VDJ]\d|Tr[abgd][vdj]\d|Ig[hkl][vdj]\d)"


def count_matrix(adata: AnnData) -> sparse.csr_matrix:
    """Return the molecule counts of an object, cells × genes, after making sure that they are counts.

    They are read from ``layers["counts"]``, or from ``X`` where that layer is absent.

    Raises InputError where values are negative, not finite or not whole numbers, naming the samples.

    >>> import anndata, numpy as np
    >>> adata = anndata.AnnData(np.array([[0, 2], [1, 0]], dtype="float32"))
    >>> count_matrix(adata).toarray()
    array([[0., 2.],
           [1., 0.]], dtype=float32)
    """
    held = adata.layers.get(keys.COUNTS, adata.X)
    if held is None:
        raise InputError(
            "there are no counts", why="neither X nor layers['counts'] is there", fix="read the cells with read_rna"
        )
    counts = sparse.csr_matrix(held)
    values = counts.data
    bad = ~np.isfinite(values) | (values < 0) | (values != np.round(values))
    if bad.any():
        rows = np.unique(np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))[bad])
        raise InputError(
            f"{bad.sum():,} values are not counts (first: {values[bad][0]:g})",
            where=", ".join(f"sample {name}" for name in _samples(adata, rows=rows)),
            why="quality, normalization and scVI are defined on molecule counts: whole numbers, none below zero",
            fix="give the raw (not normalized, not corrected) matrix of these samples",
        )
    return counts


def _samples(adata: AnnData, *, rows: Any) -> list[str]:
    if keys.SAMPLE_ID not in adata.obs:
        return ["?"]
    return sorted({str(name) for name in adata.obs[keys.SAMPLE_ID].iloc[rows]})


def samples_of(adata: AnnData) -> pd.Series:
    """Return the sample of every cell, as text.

    Raises InputError where ``obs["sample_id"]`` is absent or has gaps.
    """
    if keys.SAMPLE_ID not in adata.obs:
        raise InputError(
            "the cells do not say which sample they come from",
            where="obs['sample_id']",
            why="thresholds and fractions are made sample by sample",
            fix="set adata.obs['sample_id'], or read the cells with read_rna",
        )
    column = adata.obs[keys.SAMPLE_ID]
    if column.isna().any():
        raise InputError(f"{int(column.isna().sum()):,} cells have no sample_id", where="obs['sample_id']")
    names: pd.Series = column.astype(str)
    return names


def kept(adata: AnnData) -> np.ndarray:
    """Return which cells are kept, as booleans: all of them where nothing was judged yet."""
    if keys.KEEP not in adata.obs:
        return np.ones(adata.n_obs, dtype=bool)
    keep: np.ndarray = adata.obs[keys.KEEP].to_numpy(dtype=bool)
    return keep


def near_misses(name: str, *, names: Iterable[str], n: int = 5) -> list[str]:
    """Return the names most like one that was not found, upper and lower case aside.

    >>> near_misses("cat-scfv", names=["CAT_scFv", "CD3D", "CAT"])
    ['CAT_scFv', 'CAT']
    """
    by_lower: dict[str, str] = {}
    for candidate in names:
        by_lower.setdefault(candidate.lower(), candidate)
    # a first cheap cut keeps this quick for 36,000 genes
    close = difflib.get_close_matches(name.lower(), by_lower, n=n, cutoff=0.5)
    return [by_lower[hit] for hit in close]


def require_normalized(adata: AnnData, *, verb: str) -> None:
    """Refuse an object whose X still holds counts.

    Raises InputError where every value of ``X`` is a whole number.
    """
    values = adata.X.data if sparse.issparse(adata.X) else np.asarray(adata.X).ravel()
    if values.size and bool(np.all(values == np.round(values))):
        raise InputError(
            f"X holds counts, and {verb} needs log-normalized expression",
            where="X",
            why="deep cells would score higher for their depth alone",
            fix="call cellprec.rna.normalize first",
        )

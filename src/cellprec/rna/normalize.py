"""Counts become comparable expression, and the genes that tell cells apart are picked."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData as _AnnData

from cellprec import keys
from cellprec.errors import InputError
from cellprec.notes import add_note
from cellprec.rna.car import TRANSGENE
from cellprec.rna.panel import MITOCHONDRIAL, RECEPTOR, RIBOSOMAL, count_matrix

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy import sparse

_SMALL_BATCH = 50
_FEWEST_CELLS_WITH_GENE = 3
_N_COMPS = 30


def normalize(
    adata: AnnData,
    *,
    target_sum: float = 1e4,
    n_top_genes: int = 2000,
    batch_key: str = "sample_id",
    seed: int = 0,
) -> None:
    """Make cells of different depth comparable, and pick the genes that tell them apart.

    Every cell's counts are divided by its total, multiplied by ``target_sum`` and taken to log(1 + x). The
    ``n_top_genes`` most variable genes are picked batch by batch (``obs[batch_key]``) and joined, so that no single
    batch decides; batches with fewer than 50 cells are taken together. Segments of the T- and B-cell receptor,
    mitochondrial and ribosomal genes, the CAR transgene, and genes seen in fewer than 3 cells are not picked: they
    tell clones, stress and construct apart rather than cell states. All rows take part, so drop cells beforehand.

    Writes ``X`` (csr, float32), ``layers["counts"]`` where it was absent, ``var["highly_variable"]``,
    ``obsm["X_pca"]`` (cells × up to 30) and ``varm["PCs"]``. The counts are never changed, and calling it twice gives
    the same. Raises InputError where the values are not counts, a batch is missing, or no gene varies.

    Source of the dispersion: Satija et al. 2015 (Nat Biotechnol 33:495), as scanpy's ``flavor="seurat"``.

    >>> import anndata, numpy as np
    >>> adata = anndata.AnnData(np.random.default_rng(0).poisson(1.0, (60, 40)).astype("float32"))
    >>> adata.obs["sample_id"] = "P01"
    >>> normalize(adata, n_top_genes=10)
    >>> int(adata.var["highly_variable"].sum()), adata.obsm["X_pca"].shape
    (10, (60, 9))
    """
    counts = count_matrix(adata)
    if keys.COUNTS not in adata.layers:
        adata.layers[keys.COUNTS] = counts.astype(np.float32)
    batch = _batches(adata, batch_key=batch_key)
    adata.X = _log_normalize(counts, target_sum=target_sum)
    adata.var[keys.HIGHLY_VARIABLE] = _pick(adata, counts=counts, batch=batch, n_top_genes=n_top_genes)
    _pca(adata, seed=seed)


def _log_normalize(counts: sparse.csr_matrix, *, target_sum: float) -> sparse.csr_matrix:
    # by hand rather than sc.pp.log1p, whose uns["log1p"] = {"base": None} does not survive every h5ad reader
    total = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    factor = np.divide(target_sum, total, out=np.zeros_like(total), where=total > 0)
    scaled = counts.astype(np.float64)
    scaled.data *= np.repeat(factor, np.diff(scaled.indptr))
    np.log1p(scaled.data, out=scaled.data)
    return scaled.astype(np.float32)


def _batches(adata: AnnData, *, batch_key: str) -> pd.Series:
    """Return the batch of every cell, small ones pooled."""
    if batch_key not in adata.obs:
        raise InputError(
            f"cells have no column {batch_key!r}",
            where="obs",
            why="variable genes are picked batch by batch",
            fix=f"name one of: {', '.join(map(str, adata.obs.columns)) or 'none is there'}",
        )
    column = adata.obs[batch_key]
    if column.isna().any():
        raise InputError(f"{int(column.isna().sum()):,} cells have no {batch_key}", where=f"obs[{batch_key!r}]")
    batch: pd.Series = column.astype(str)
    size = batch.value_counts()
    small = sorted(size.index[size < _SMALL_BATCH])
    if not small:
        return batch
    pooled = set(small)
    if size[small].sum() < _SMALL_BATCH and len(size) > len(small):
        # still too few together: they join the smallest of the others
        pooled.add(size[size >= _SMALL_BATCH].sort_index().idxmin())
    add_note(
        adata,
        "rna.small_batches",
        f"Variable genes: {len(small)} of {len(size)} batches have fewer than {_SMALL_BATCH} cells and were taken "
        f"together ({', '.join(small[:10])}{', …' if len(small) > 10 else ''}).",
        count=len(small),
    )
    merged: pd.Series = batch.where(~batch.isin(pooled), "pooled")
    return merged


def _pick(adata: AnnData, *, counts: sparse.csr_matrix, batch: pd.Series, n_top_genes: int) -> np.ndarray:
    names = adata.var_names.astype(str)
    families = {
        "T- and B-cell receptor segments": names.str.match(RECEPTOR),
        "mitochondrial": names.str.match(MITOCHONDRIAL),
        "ribosomal": names.str.match(RIBOSOMAL),
        "transgene": adata.var[TRANSGENE].to_numpy(dtype=bool)
        if TRANSGENE in adata.var
        else np.zeros(adata.n_vars, dtype=bool),
    }
    excluded = np.any(list(families.values()), axis=0)
    seen = np.asarray((counts > 0).sum(axis=0)).ravel()
    eligible = np.flatnonzero(~excluded & (seen >= min(_FEWEST_CELLS_WITH_GENE, adata.n_obs)))
    told = ", ".join(f"{int(mask.sum()):,} {name}" for name, mask in families.items() if mask.any())
    if told:
        add_note(adata, "rna.hvg_excluded", f"Not picked as variable genes: {told}.", count=int(excluded.sum()))
    cells = _AnnData(adata.X[:, eligible], obs=pd.DataFrame({"batch": pd.Categorical(batch)}, index=adata.obs_names))
    picked = np.zeros(adata.n_vars, dtype=bool)
    if eligible.size <= n_top_genes:
        picked[eligible] = _varies(cells.X)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            key = "batch" if batch.nunique() > 1 else None
            sc.pp.highly_variable_genes(cells, n_top_genes=n_top_genes, flavor="seurat", batch_key=key)
        picked[eligible] = cells.var["highly_variable"].to_numpy(dtype=bool)
    if not picked.any():
        raise InputError(
            "no gene varies between the cells",
            where="X",
            why="nothing tells the cells apart",
            fix="check that the right matrix was read: more than one cell, more than one gene with counts",
        )
    return picked


def _varies(X: sparse.csr_matrix) -> np.ndarray:
    mean = np.asarray(X.mean(axis=0)).ravel()
    varies: np.ndarray = np.asarray(X.multiply(X).mean(axis=0)).ravel() - mean**2 > 1e-12
    return varies


def _pca(adata: AnnData, *, seed: int) -> None:
    n_genes = int(adata.var[keys.HIGHLY_VARIABLE].sum())
    n_comps = min(_N_COMPS, n_genes - 1, adata.n_obs - 1)
    if n_comps < 1:
        raise InputError(
            f"{adata.n_obs} cells × {n_genes} variable genes cannot be laid out",
            where="X",
            fix="a sample needs at least two cells and two genes that vary",
        )
    # the full solver where the matrix is tiny: the iterative one needs fewer components than rows
    small = min(adata.n_obs, n_genes) < 2 * _N_COMPS
    held = _AnnData(adata.X[:, adata.var[keys.HIGHLY_VARIABLE].to_numpy()])
    if small:
        held.X = held.X.toarray()
    sc.pp.pca(held, n_comps=n_comps, random_state=seed, svd_solver="full" if small else "arpack")
    adata.obsm[keys.X_PCA] = np.asarray(held.obsm["X_pca"], dtype=np.float32)
    loadings = np.zeros((adata.n_vars, n_comps), dtype=np.float32)
    loadings[adata.var[keys.HIGHLY_VARIABLE].to_numpy()] = held.varm["PCs"]
    adata.varm["PCs"] = loadings
    adata.uns["pca"] = {
        "variance": np.asarray(held.uns["pca"]["variance"], dtype=float),
        "variance_ratio": np.asarray(held.uns["pca"]["variance_ratio"], dtype=float),
    }

"""Single-cell count matrices: Cell Ranger ``.h5``, matrix folders and ``.h5ad``."""

from __future__ import annotations

import re
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from cellprec import keys
from cellprec.errors import FileFormatError, InputError
from cellprec.io.rna_formats import GENE_EXPRESSION, Matrix, not_a_count, read_folder, read_hdf5
from cellprec.notes import add_note

FEATURE_NAMES = "feature_names"
"""``uns`` slot: the names of the columns of every other feature type's ``obsm``."""

# Above this many barcodes with this few counts each, a matrix can only be the one before cell calling.
_UNFILTERED_CELLS = 50_000
_UNFILTERED_MEDIAN = 20


def read_rna(path: str | Path, *, sample_id: str) -> AnnData:
    """Read the counts of one single-cell sample, whatever program wrote them.

    Parameters
    ----------
    path
        A Cell Ranger ``.h5`` (version 2 or 3 and later), a folder with ``matrix.mtx``, ``barcodes.tsv`` and
        ``features.tsv`` or ``genes.tsv`` (gzipped or not, with or without a prefix), or an ``.h5ad`` holding raw
        counts in ``layers["counts"]``, ``raw.X`` or ``X`` (looked for in this order).
    sample_id
        Name of the sample; cells are named ``sample_id:barcode``.

    Returns
    -------
    AnnData
        Cells × genes. ``X`` and ``layers["counts"]`` hold the counts (UMIs), CSR, float32, int32 indices.
        ``obs["sample_id"]``; ``var`` is indexed by gene symbol, made unique, with ``gene_id``. Antibody, CRISPR and
        other features are in ``obsm[<type>]``, their names in ``uns["feature_names"][<type>]``. Barcodes without any
        count are dropped.

    Raises
    ------
    FileFormatError
        The file is damaged or is none of these formats.
    InputError
        There are no raw counts in it, or no cell has any.

    Examples
    --------
    >>> import tempfile
    >>> raw = AnnData(np.array([[1, 0], [0, 0], [2, 3]]))
    >>> raw.obs_names, raw.var_names = ["AAAC-1", "AAAG-1", "AAAT-1"], ["CD3E", "CD19"]
    >>> path = Path(tempfile.mkdtemp()) / "cells.h5ad"
    >>> raw.write_h5ad(path)
    >>> cells = read_rna(path, sample_id="P01_d7")
    >>> cells.obs_names.tolist(), cells.to_df().sum().tolist()
    (['P01_d7:AAAC-1', 'P01_d7:AAAT-1'], [3.0, 3.0])
    """
    path = Path(path)
    if not path.exists():
        raise InputError("there is no such file or folder", where=path, fix="Check the path in the sheet.")
    if path.is_dir() or ".mtx" in path.suffixes:
        matrix = read_folder(path if path.is_dir() else path.parent)
    elif h5py.is_hdf5(path):
        matrix = read_hdf5(path)
    else:
        raise FileFormatError(
            "this is neither a Cell Ranger .h5, an .h5ad, nor a matrix folder",
            where=path,
            why="The file does not start as HDF5 does; it may have been cut short or be of another kind.",
            fix="Give filtered_feature_bc_matrix.h5, the folder with matrix.mtx.gz, or an .h5ad.",
        )
    _judge(matrix, path)
    return _build(matrix, path, sample_id)


def _judge(matrix: Matrix, path: Path) -> None:
    n_barcodes, n_features = matrix.counts.shape
    held = (len(matrix.barcodes), len(matrix.names), len(matrix.ids), len(matrix.types))
    if held != (n_barcodes, n_features, n_features, n_features):
        raise FileFormatError(
            f"the matrix is {n_barcodes} × {n_features}, but there are {held[0]} barcodes and {held[1]} features",
            where=path,
            why="Parts of the file are missing.",
            fix="Copy or download it again.",
        )
    twice = pd.Index(matrix.barcodes)[pd.Index(matrix.barcodes).duplicated()]
    if len(twice):
        raise InputError(
            f"{len(twice)} barcodes occur twice, such as {twice[0]}",
            where=path,
            why="Two cells of one name cannot be told apart; several samples may have been put into one file.",
            fix="Give one file per sample.",
        )
    example = not_a_count(matrix.counts.data)
    if example is not None:
        raise InputError(
            f"the matrix holds values that are no counts, such as {example:g}",
            where=path,
            why="Normalization, doublets and scVI need whole, non-negative UMI counts.",
            fix="Give the raw matrix, not a normalized or corrected one.",
        )
    if GENE_EXPRESSION not in matrix.types:
        raise InputError(
            f"there is no gene expression in the matrix, only {', '.join(sorted(set(matrix.types)))}",
            where=path,
            why="The rna modality needs genes.",
            fix="Give the matrix that holds 'Gene Expression' features.",
        )


def _build(matrix: Matrix, path: Path, sample_id: str) -> AnnData:
    types = np.array(matrix.types)
    genes = np.flatnonzero(types == GENE_EXPRESSION)
    counts = _tidy(matrix.counts)
    expression = counts if len(genes) == len(types) else _tidy(counts[:, genes])
    full = np.flatnonzero(np.asarray(expression.sum(axis=1)).ravel() > 0)
    n_empty = expression.shape[0] - len(full)
    if not len(full):
        raise InputError(
            "no cell has any count", where=path, why="There is nothing to analyze.", fix="Give the filtered matrix."
        )
    if n_empty:
        expression, counts = _tidy(expression[full]), counts[full]

    barcodes = [_bare(matrix.barcodes[row], sample_id) for row in full]
    obs = pd.DataFrame(index=pd.Index([keys.cell_name(sample_id, barcode) for barcode in barcodes], dtype=str))
    renamed = {}
    if matrix.obs is not None:
        renamed = _carry_obs(matrix.obs.iloc[full], obs)
    obs[keys.SAMPLE_ID] = pd.Categorical([sample_id] * len(obs))
    symbols = pd.Index([matrix.names[place] for place in genes], dtype=str)
    n_twice = int(symbols.duplicated().sum())
    var = pd.DataFrame(index=anndata.utils.make_index_unique(symbols))
    var[keys.GENE_ID] = pd.Categorical([matrix.ids[place] for place in genes])
    if len(set(matrix.genomes)) > 1:
        var["genome"] = pd.Categorical([matrix.genomes[place] for place in genes])
    adata = AnnData(X=expression, obs=obs, var=var, layers={keys.COUNTS: expression.copy()})
    _add_other_features(adata, counts, matrix, types)
    _add_notes(adata, sample_id, n_empty=n_empty, n_twice=n_twice, renamed=renamed, origin=matrix.origin)
    return adata


def _tidy(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return CSR, float32, sorted, without stored zeros, with 32-bit indices (scanpy's QC breaks on mixed widths)."""
    matrix = sparse.csr_matrix(matrix, dtype=np.float32)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    if matrix.nnz < np.iinfo(np.int32).max:
        matrix.indices = matrix.indices.astype(np.int32, copy=False)
        matrix.indptr = matrix.indptr.astype(np.int32, copy=False)
    return matrix


def _bare(barcode: str, sample_id: str) -> str:
    return barcode.removeprefix(f"{sample_id}:")


def _carry_obs(given: pd.DataFrame, obs: pd.DataFrame) -> dict[str, str]:
    """Copy what the file says about its cells, under names that no stage of ours writes to."""
    ours = {value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)}
    renamed = {}
    for name in given.columns:
        new = re.sub(r"[/\s]+", "_", str(name))
        if new in ours:
            new = f"file_{new}"
            renamed[str(name)] = new
        column = given[name]
        if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
            obs[new] = column.to_numpy()
        else:
            obs[new] = pd.Categorical(column.astype(object).where(column.notna(), "").astype(str))
    return renamed


def _add_other_features(adata: AnnData, counts: sparse.csr_matrix, matrix: Matrix, types: np.ndarray) -> None:
    named = {}
    for kind in sorted(set(matrix.types) - {GENE_EXPRESSION}):
        slot = re.sub(r"\W+", "_", kind.lower()).strip("_")
        places = np.flatnonzero(types == kind)
        adata.obsm[slot] = np.asarray(counts[:, places].toarray(), dtype=np.float32)
        named[slot] = np.array([matrix.names[place] for place in places], dtype=str)
    if named:
        adata.uns[FEATURE_NAMES] = named


def _add_notes(
    adata: AnnData, sample_id: str, *, n_empty: int, n_twice: int, renamed: dict[str, str], origin: str
) -> None:
    if n_empty:
        add_note(
            adata, "rna.empty_barcodes", "barcodes without any count were dropped", count=n_empty, sample=sample_id
        )
    if n_twice:
        text = "genes share their symbol with another; they carry a suffix such as -1"
        add_note(adata, "rna.duplicate_symbols", text, count=n_twice, sample=sample_id)
    if origin and not origin.startswith("layers"):
        add_note(adata, "rna.counts_from", f"raw counts were taken from {origin} of the h5ad", sample=sample_id)
    if renamed:
        pairs = ", ".join(f"{old} → {new}" for old, new in renamed.items())
        text = f"columns of the file were renamed, since cellprec writes columns of these names: {pairs}"
        add_note(adata, "rna.renamed_columns", text, count=len(renamed), sample=sample_id)
    depth = float(np.median(np.asarray(adata.X.sum(axis=1)).ravel()))
    if adata.n_obs > _UNFILTERED_CELLS and depth < _UNFILTERED_MEDIAN:
        text = f"looks like the matrix before cell calling: half of the barcodes have at most {depth:g} counts"
        add_note(adata, "rna.unfiltered", text, count=adata.n_obs, sample=sample_id)

"""The file formats of single-cell count matrices, each brought to one shape."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anndata
import h5py
import numpy as np
import scipy.io
from scipy import sparse

from cellprec import keys
from cellprec.errors import FileFormatError, InputError
from cellprec.io.delimited import read_bytes

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

GENE_EXPRESSION = "Gene Expression"

_LARGEST_EXACT = 2**24  # float32 holds every integer up to here
_ENSEMBL = re.compile(r"^ENS[A-Z]*G\d{6,}")


@dataclass
class Matrix:
    """Barcodes × features as a file holds them, with what it says about both."""

    counts: sparse.csr_matrix
    barcodes: list[str]
    names: list[str]
    ids: list[str]
    types: list[str]
    genomes: list[str] = field(default_factory=list)
    obs: pd.DataFrame | None = None
    origin: str = ""


def read_hdf5(path: Path) -> Matrix:
    """Read a Cell Ranger ``.h5`` (version 2, or 3 and later) or an ``.h5ad``; the content decides which."""
    try:
        with h5py.File(path) as file:
            if "matrix" in file:
                return _cell_ranger_3(file["matrix"])
            genomes = [name for name in file if isinstance(file[name], h5py.Group) and "gene_names" in file[name]]
            if genomes:
                return _cell_ranger_2(file, genomes, path)
            is_h5ad = "obs" in file and "var" in file
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise FileFormatError(
            f"the matrix cannot be read ({error})",
            where=path,
            why="The file was cut short or damaged, or some of its parts are missing.",
            fix="Copy or download the file again.",
        ) from error
    if not is_h5ad:
        raise FileFormatError(
            "this HDF5 file holds neither a Cell Ranger matrix nor an AnnData",
            where=path,
            fix="Give filtered_feature_bc_matrix.h5 (not molecule_info.h5), or an .h5ad.",
        )
    return _read_h5ad(path)


def _texts(data: h5py.Dataset) -> list[str]:
    return [item.decode() if isinstance(item, bytes) else str(item) for item in data[:]]


def _csr(group: h5py.Group) -> sparse.csr_matrix:
    # Cell Ranger stores features × barcodes by column, which is barcodes × features by row
    n_features, n_barcodes = (int(n) for n in group["shape"][:])
    parts = (group["data"][:], group["indices"][:], group["indptr"][:])
    return sparse.csr_matrix(parts, shape=(n_barcodes, n_features))


def _cell_ranger_3(group: h5py.Group) -> Matrix:
    features = group["features"]
    return Matrix(
        counts=_csr(group),
        barcodes=_texts(group["barcodes"]),
        names=_texts(features["name"]),
        ids=_texts(features["id"]),
        types=_texts(features["feature_type"]),
        genomes=_texts(features["genome"]) if "genome" in features else [],
    )


def _cell_ranger_2(file: h5py.File, genomes: list[str], path: Path) -> Matrix:
    if len(genomes) > 1:
        raise InputError(
            f"the matrix holds {len(genomes)} genomes: {', '.join(genomes)}",
            where=path,
            why="Cells of several species in one old-format file cannot be told apart safely.",
            fix="Export one genome per file, or run a newer Cell Ranger.",
        )
    group = file[genomes[0]]
    names = _texts(group["gene_names"])
    ids = _texts(group["genes"])
    return Matrix(_csr(group), _texts(group["barcodes"]), names, ids, [GENE_EXPRESSION] * len(names))


def read_folder(folder: Path) -> Matrix:
    """Read a folder with matrix, barcodes and features, as Cell Ranger, STARsolo and others write it."""
    matrix_file = _one_file(folder, "matrix.mtx")
    barcode_file = _one_file(folder, "barcodes.tsv")
    feature_file = _one_file(folder, "features.tsv", "genes.tsv")
    barcodes = [line.split("\t")[0].strip() for line in read_bytes(barcode_file).decode().splitlines() if line.strip()]
    rows = [line.split("\t") for line in read_bytes(feature_file).decode().splitlines() if line.strip()]
    stored = read_bytes(matrix_file)
    try:
        counts = sparse.csr_matrix(scipy.io.mmread(io.BytesIO(stored)))
    except (ValueError, OverflowError, OSError) as error:
        raise FileFormatError(
            f"the matrix cannot be read ({error})",
            where=matrix_file,
            why="It was cut short or damaged, or it is not in MatrixMarket format.",
            fix="Copy or download the folder again.",
        ) from error
    if counts.shape == (len(rows), len(barcodes)):
        counts = counts.T.tocsr()
    elif counts.shape != (len(barcodes), len(rows)):
        raise FileFormatError(
            f"the matrix is {counts.shape[0]} × {counts.shape[1]}, but there are {len(rows)} features and "
            f"{len(barcodes)} barcodes",
            where=folder,
            why="The three files do not belong together, or one is cut short.",
            fix="Copy matrix, features and barcodes again from one run.",
        )
    return Matrix(
        counts=counts,
        barcodes=barcodes,
        names=[(row[1] if len(row) > 1 else row[0]).strip() for row in rows],
        ids=[row[0].strip() for row in rows],
        types=[row[2].strip() if len(row) > 2 and row[2].strip() else GENE_EXPRESSION for row in rows],
    )


def _one_file(folder: Path, *names: str) -> Path:
    # the plain name first, then with the prefix of a repository: GSM123_matrix.mtx.gz
    for pattern in [f"{prefix}{name}{end}" for prefix in ("", "*") for name in names for end in (".gz", "")]:
        found = sorted(folder.glob(pattern))
        if len(found) > 1:
            raise InputError(
                f"the folder holds several {pattern.lstrip('*')} files: {', '.join(file.name for file in found[:3])}",
                where=folder,
                why="A sample is one folder with one matrix.",
                fix="Put each sample into a folder of its own.",
            )
        if found:
            return found[0]
    raise FileFormatError(
        f"the folder has no {names[0]}",
        where=folder,
        why="A matrix folder holds matrix.mtx, barcodes.tsv and features.tsv (or genes.tsv), gzipped or not.",
        fix="Give the folder filtered_feature_bc_matrix itself.",
    )


def _read_h5ad(path: Path) -> Matrix:
    try:
        stored = anndata.read_h5ad(path)
    except Exception as error:  # anndata raises whatever the damaged part raised
        raise FileFormatError(
            f"the AnnData cannot be read ({error})",
            where=path,
            why="The file was cut short or damaged, or a newer anndata wrote it.",
            fix="Copy or download the file again, or write it again with a current anndata.",
        ) from error
    candidates = {f"layers['{keys.COUNTS}']": (stored.layers.get(keys.COUNTS), stored.var)}
    candidates["raw.X"] = (None, stored.var) if stored.raw is None else (stored.raw.X, stored.raw.var)
    candidates["X"] = (stored.X, stored.var)
    refused = []
    for place, (values, var) in candidates.items():
        if values is None:
            refused.append(f"{place} is absent")
            continue
        counts = sparse.csr_matrix(values)
        example = not_a_count(counts.data)
        if example is None:
            names, ids = _gene_names(var)
            types = var["feature_types"].astype(str).tolist() if "feature_types" in var else []
            kinds = types or [GENE_EXPRESSION] * len(names)
            return Matrix(counts, stored.obs_names.tolist(), names, ids, kinds, obs=stored.obs, origin=place)
        refused.append(f"{place} holds values like {example:g}")
    raise InputError(
        f"there are no raw counts: {'; '.join(refused)}",
        where=path,
        why="Normalization, doublets and scVI need whole, non-negative UMI counts.",
        fix="Save the raw counts in layers['counts'] (or give the Cell Ranger output).",
    )


def _gene_names(var: pd.DataFrame) -> tuple[list[str], list[str]]:
    index = var.index.astype(str).tolist()
    columns = {str(name).lower(): name for name in var.columns}
    ids = next((columns[c] for c in ("gene_id", "gene_ids", "feature_id", "ensembl_id") if c in columns), None)
    names = next(
        (columns[c] for c in ("gene_symbol", "gene_symbols", "gene_name", "feature_name") if c in columns), None
    )
    looks_like_ids = sum(bool(_ENSEMBL.match(name)) for name in index[:200]) > len(index[:200]) / 2
    if looks_like_ids and names is not None:
        return var[names].astype(str).tolist(), index
    return index, index if ids is None else var[ids].astype(str).tolist()


def not_a_count(values: np.ndarray) -> float | None:
    """Return the first value that is no count, if there is one: negative, fractional, infinite or missing."""
    wrong = ~np.isfinite(values) | (values < 0) | (values != np.rint(values)) | (values > _LARGEST_EXACT)
    return float(values[int(np.argmax(wrong))]) if wrong.any() else None

"""Counts must come out as they were written, from every format, and nothing that is no count may pass for one."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.io
from scipy import sparse

from cellprec.errors import FileFormatError, InputError
from cellprec.io.rna import FEATURE_NAMES, read_rna
from cellprec.notes import get_notes

DATA = Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[3] / "shared" / "data"))

BARCODES = ["AAAC-1", "AAAG-1", "AAAT-1", "AACC-1"]
GENES = ["CD3E", "TBCE", "TBCE", "CAR"]
IDS = ["ENSG00000198851", "ENSG00000284770", "ENSG00000285053", "CAR"]
COUNTS = np.array([[1, 0, 2, 0], [0, 0, 0, 0], [5, 1, 0, 3], [0, 7, 0, 0]])
EXPECTED = COUNTS[[0, 2, 3]]
ANTIBODY = np.array([4, 9, 6, 2])
TYPES = ["Gene Expression"] * 4


def write_h5(path: Path, counts: np.ndarray, *, types: list[str], version: int = 3) -> Path:
    matrix = sparse.csr_matrix(counts)
    names = [*GENES, "CD19_TotalA"][: counts.shape[1]]
    ids = [*IDS, "CD19_TotalA"][: counts.shape[1]]
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix" if version == 3 else "GRCh38")
        group["barcodes"] = np.array(BARCODES, dtype="S")
        group["data"], group["shape"] = matrix.data.astype(np.int32), np.array(counts.T.shape, dtype=np.int32)
        group["indices"], group["indptr"] = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
        if version == 3:
            features = group.create_group("features")
            features["id"], features["name"] = np.array(ids, dtype="S"), np.array(names, dtype="S")
            features["feature_type"] = np.array(types, dtype="S")
            features["genome"] = np.array(["GRCh38"] * len(names), dtype="S")
        else:
            group["genes"], group["gene_names"] = np.array(ids, dtype="S"), np.array(names, dtype="S")
    return path


def write_folder(folder: Path, *, zipped: bool = True, old: bool = False, prefix: str = "") -> Path:
    folder.mkdir()
    end = ".gz" if zipped else ""
    features = [f"{i}\t{n}" if old else f"{i}\t{n}\tGene Expression" for i, n in zip(IDS, GENES, strict=True)]
    scipy.io.mmwrite(folder / "m.mtx", sparse.coo_matrix(COUNTS.T))
    texts = {
        "matrix.mtx": (folder / "m.mtx").read_bytes(),
        "barcodes.tsv": "\n".join(BARCODES).encode() + b"\n",
        "genes.tsv" if old else "features.tsv": "\n".join(features).encode() + b"\n",
    }
    (folder / "m.mtx").unlink()
    for name, content in texts.items():
        (folder / f"{prefix}{name}{end}").write_bytes(gzip.compress(content) if zipped else content)
    return folder


def judge(adata: anndata.AnnData) -> None:
    assert adata.obs_names.tolist() == ["P1:AAAC-1", "P1:AAAT-1", "P1:AACC-1"]
    assert adata.obs["sample_id"].cat.categories.tolist() == ["P1"]
    for matrix in (adata.X, adata.layers["counts"]):
        assert sparse.isspmatrix_csr(matrix)
        assert (matrix.dtype, matrix.indices.dtype, matrix.indptr.dtype) == (np.float32, np.int32, np.int32)
        np.testing.assert_array_equal(matrix.toarray(), EXPECTED)
    assert adata.var_names.tolist() == ["CD3E", "TBCE", "TBCE-1", "CAR"]
    assert adata.var["gene_id"].tolist() == IDS
    counts = {note.code: note.count for note in get_notes(adata)}
    assert counts["rna.empty_barcodes"] == 1
    assert counts["rna.duplicate_symbols"] == 1


@pytest.mark.parametrize("version", [2, 3])
def test_cell_ranger_h5(tmp_path: Path, version: int) -> None:
    adata = read_rna(write_h5(tmp_path / "m.h5", COUNTS, types=TYPES, version=version), sample_id="P1")
    judge(adata)
    adata.write_h5ad(tmp_path / "again.h5ad")
    sc.pp.calculate_qc_metrics(adata, inplace=True, percent_top=None)


@pytest.mark.parametrize("layout", [{}, {"zipped": False}, {"old": True}, {"prefix": "GSM1_"}])
def test_matrix_folder(tmp_path: Path, layout: dict[str, object]) -> None:
    judge(read_rna(write_folder(tmp_path / "matrix", **layout), sample_id="P1"))


def test_counts_do_not_share_memory_with_x(tmp_path: Path) -> None:
    adata = read_rna(write_h5(tmp_path / "m.h5", COUNTS, types=TYPES), sample_id="P1")
    sc.pp.normalize_total(adata)
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), EXPECTED)


def test_other_feature_types_stand_apart(tmp_path: Path) -> None:
    both = np.column_stack([COUNTS, ANTIBODY])
    adata = read_rna(write_h5(tmp_path / "m.h5", both, types=[*TYPES, "Antibody Capture"]), sample_id="P1")
    judge(adata)
    np.testing.assert_array_equal(adata.obsm["antibody_capture"], ANTIBODY[[0, 2, 3]][:, None])
    assert adata.uns[FEATURE_NAMES]["antibody_capture"].tolist() == ["CD19_TotalA"]
    adata.write_h5ad(tmp_path / "again.h5ad")


@pytest.mark.parametrize("place", ["layers", "raw", "X"])
def test_h5ad_wherever_the_counts_are(tmp_path: Path, place: str) -> None:
    var = pd.DataFrame({"gene_ids": IDS}, index=anndata.utils.make_index_unique(pd.Index(GENES)))
    obs = pd.DataFrame({"batch": ["a", "a", "b", "b"], "cell/type": ["T", None, "B", "T"]}, index=BARCODES)
    logged = np.log1p(COUNTS).astype(np.float32)
    stored = anndata.AnnData(COUNTS.astype(float) if place != "layers" else logged, obs=obs, var=var)
    if place == "raw":
        stored.raw = stored.copy()
        stored.X = logged
    if place == "layers":
        stored.layers["counts"] = sparse.csc_matrix(COUNTS)
    stored.write_h5ad(tmp_path / "s.h5ad")
    adata = read_rna(tmp_path / "s.h5ad", sample_id="P1")
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), EXPECTED)
    np.testing.assert_array_equal(adata.X.toarray(), EXPECTED)
    assert adata.var["gene_id"].tolist() == IDS
    assert adata.obs["cell_type"].tolist() == ["T", "B", "T"]
    assert adata.obs["file_batch"].tolist() == ["a", "b", "b"]
    assert ("rna.counts_from" in {note.code for note in get_notes(adata)}) == (place != "layers")
    adata.write_h5ad(tmp_path / "again.h5ad")


def test_ensembl_index_gives_way_to_symbols(tmp_path: Path) -> None:
    ids = [f"ENSG0000000000{n}" for n in range(4)]
    var = pd.DataFrame({"feature_name": ["A", "B", "C", "D"]}, index=ids)
    anndata.AnnData(COUNTS.astype(float), var=var).write_h5ad(tmp_path / "s.h5ad")
    adata = read_rna(tmp_path / "s.h5ad", sample_id="P1")
    assert adata.var_names.tolist() == ["A", "B", "C", "D"]
    assert adata.var["gene_id"].tolist() == ids


@pytest.mark.parametrize("wrong", [-1.0, 0.5, np.nan, np.inf])
def test_what_is_no_count_is_refused(tmp_path: Path, wrong: float) -> None:
    values = COUNTS.astype(float)
    values[2, 0] = wrong
    anndata.AnnData(values).write_h5ad(tmp_path / "s.h5ad")
    with pytest.raises(InputError, match="no raw counts"):
        read_rna(tmp_path / "s.h5ad", sample_id="P1")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "m.h5", COUNTS, types=TYPES)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no matrix", whole[:100]):
        path.write_bytes(content)
        with pytest.raises(FileFormatError):
            read_rna(path, sample_id="P1")
    folder = write_folder(tmp_path / "cut")
    matrix = folder / "matrix.mtx.gz"
    matrix.write_bytes(matrix.read_bytes()[:-15])
    with pytest.raises(FileFormatError, match="to its end"):
        read_rna(folder, sample_id="P1")
    other = write_folder(tmp_path / "other")
    (other / "barcodes.tsv.gz").write_bytes(gzip.compress(b"AAAC-1\nAAAG-1\n"))
    with pytest.raises(FileFormatError, match="2 barcodes"):
        read_rna(other, sample_id="P1")
    (other / "features.tsv.gz").unlink()
    with pytest.raises(FileFormatError, match=r"no features\.tsv"):
        read_rna(other, sample_id="P1")


def test_other_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_rna(tmp_path / "absent.h5", sample_id="P1")
    with pytest.raises(InputError, match="no cell has any count"):
        read_rna(write_h5(tmp_path / "zero.h5", COUNTS * 0, types=TYPES), sample_id="P1")
    with pytest.raises(InputError, match="no gene expression"):
        read_rna(write_h5(tmp_path / "adt.h5", COUNTS, types=["Antibody Capture"] * 4), sample_id="P1")
    with h5py.File(tmp_path / "molecules.h5", "w") as file:
        file["umi"] = [1, 2]
    with pytest.raises(FileFormatError, match="neither a Cell Ranger matrix"):
        read_rna(tmp_path / "molecules.h5", sample_id="P1")


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason="real data sets are absent")
def test_agrees_with_scanpy_on_real_matrices() -> None:
    files = sorted((DATA / "rna" / "carpall_2023" / "GEX").glob("*.h5"))
    total = 0
    for path in files:
        adata = read_rna(path, sample_id=path.stem)
        total += adata.n_obs
    assert (len(files), total) == (14, 11_728)
    oracle = sc.read_10x_h5(files[-1])
    assert (adata.layers["counts"] != oracle.X).nnz == 0
    assert int((adata[:, "CAT_scFv"].X > 0).sum()) == int((oracle[:, "CAT_scFv"].X > 0).sum())

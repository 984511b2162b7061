from __future__ import annotations

import anndata
import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import silhouette_score

from cellprec.errors import InputError
from cellprec.notes import get_notes
from cellprec.rna.car import car
from cellprec.rna.normalize import normalize


def test_every_cell_sums_to_the_target(cells):
    before = cells.layers["counts"].copy()
    normalize(cells, n_top_genes=100)
    np.testing.assert_allclose(np.expm1(cells.X.toarray()).sum(axis=1), 1e4, rtol=1e-4)
    assert sparse.issparse(cells.X)
    assert cells.X.format == "csr"
    assert cells.X.dtype == np.float32
    assert (cells.layers["counts"] != before).nnz == 0


def test_hand_made_value():
    adata = anndata.AnnData(np.array([[3, 1, 0], [1, 1, 1], [5, 1, 2], [2, 0, 2]], dtype="float32"))
    adata.obs["sample_id"] = "P01"
    normalize(adata, target_sum=4)
    assert adata.X[0, 0] == pytest.approx(np.log(4))
    assert adata.layers["counts"].toarray()[0].tolist() == [3, 1, 0]


def test_twice_gives_the_same(cells):
    normalize(cells, n_top_genes=100)
    once = cells.copy()
    normalize(cells, n_top_genes=100)
    assert (cells.X != once.X).nnz == 0
    np.testing.assert_array_equal(cells.obsm["X_pca"], once.obsm["X_pca"])


def test_type_markers_are_picked_and_nuisance_is_not(cells):
    car(cells, transgenes=["CAT_scFv"])
    normalize(cells, n_top_genes=100)
    picked = set(cells.var_names[cells.var["highly_variable"]])
    assert len(picked) == 100
    assert {"MS4A1", "LYZ", "NKG7", "CD8A"} <= picked
    assert not picked & {"MT-CO1", "MT-ND1", "RPL3", "RPS6", "TRAV1-2", "TRBV20-1", "IGHV3-23", "CAT_scFv"}
    note = next(note for note in get_notes(cells) if note.code == "rna.hvg_excluded")
    assert note.count == 8


def test_constant_receptor_chains_and_lookalikes_stay_eligible(cells):
    names = cells.var_names.to_list()
    names[-6:] = ["TRAC", "IGHM", "TRAF1", "RPS6KA1", "MTOR", "TRBC1"]
    cells.var_names = names
    cells.var_names_make_unique()
    normalize(cells, n_top_genes=10_000)
    assert cells.var["highly_variable"][["IGHM", "TRAF1", "RPS6KA1", "MTOR", "TRBC1"]].all()


@pytest.mark.parametrize("sizes", [(300, 3), (300, 20, 1), (10, 10, 10), (120, 60, 40, 30), (1, 1, 1)])
def test_small_batches_never_crash(simulate, sizes):
    adata = simulate(n=sum(sizes))
    adata.obs["sample_id"] = np.repeat([f"P{i}" for i in range(len(sizes))], sizes)
    normalize(adata, n_top_genes=100)
    assert adata.var["highly_variable"].any()
    assert np.isfinite(adata.obsm["X_pca"]).all()
    assert any(note.code == "rna.small_batches" for note in get_notes(adata)) == (min(sizes) < 50)


def test_pca_parts_types(cells):
    normalize(cells, n_top_genes=100)
    assert silhouette_score(cells.obsm["X_pca"][:, :5], cells.obs["type"].astype(str)) > 0.3


def test_empty_cells_stay_zero(cells):
    counts = cells.layers["counts"].toarray()
    counts[3] = 0
    cells.layers["counts"] = sparse.csr_matrix(counts)
    normalize(cells, n_top_genes=100)
    assert cells.X[3].nnz == 0
    assert np.isfinite(cells.obsm["X_pca"]).all()


def test_refuses_normalized_counts(cells):
    cells.layers["counts"] = cells.layers["counts"] * 0.3
    with pytest.raises(InputError, match="not counts"):
        normalize(cells)


def test_refuses_an_unknown_batch(cells):
    with pytest.raises(InputError, match="'lane'"):
        normalize(cells, batch_key="lane")


def test_refuses_what_does_not_vary():
    adata = anndata.AnnData(np.ones((60, 5), dtype="float32"))
    adata.obs["sample_id"] = "P01"
    with pytest.raises(InputError, match="no gene varies"):
        normalize(adata)


def test_survives_h5ad(cells, tmp_path):
    normalize(cells, n_top_genes=100)
    cells.write_h5ad(tmp_path / "rna.h5ad")
    back = anndata.read_h5ad(tmp_path / "rna.h5ad")
    np.testing.assert_array_equal(back.obsm["X_pca"], cells.obsm["X_pca"])

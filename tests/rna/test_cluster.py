from __future__ import annotations

import anndata
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from cellprec.errors import InputError, UsageError
from cellprec.notes import get_notes
from cellprec.rna.cluster import cluster


def blobs(sizes, *, seed=0):
    rng = np.random.default_rng(seed)
    kind = np.repeat(np.arange(len(sizes)), sizes)
    place = rng.normal(0, 0.5, (kind.size, 5))
    place[:, : len(sizes)] += 8 * np.eye(len(sizes))[kind]
    adata = anndata.AnnData(np.zeros((kind.size, 1), dtype="float32"))
    adata.obs["kind"] = kind
    adata.obsm["X_pca"] = place.astype("float32")
    return adata


def test_planted_groups_are_found_largest_first():
    adata = blobs((60, 150, 90))
    cluster(adata, use_rep="X_pca", resolution=0.3)
    assert adjusted_rand_score(adata.obs["kind"], adata.obs["cluster"]) == 1
    assert adata.obs["cluster"].value_counts().loc[["0", "1", "2"]].tolist() == [150, 90, 60]
    assert list(adata.obs["cluster"].cat.categories) == ["0", "1", "2"]
    assert adata.obsm["X_umap"].shape == (300, 2)


def test_the_same_seed_gives_the_same():
    one, two = blobs((60, 50)), blobs((60, 50))
    cluster(one, use_rep="X_pca", seed=4)
    cluster(two, use_rep="X_pca", seed=4)
    assert one.obs["cluster"].tolist() == two.obs["cluster"].tolist()
    np.testing.assert_array_equal(one.obsm["X_umap"], two.obsm["X_umap"])


@pytest.mark.parametrize("n", [1, 2, 9, 10, 11, 30, 44])
def test_tiny_studies(n):
    adata = blobs((n,))
    cluster(adata, use_rep="X_pca")
    assert adata.obs["cluster"].notna().all()
    assert np.isfinite(adata.obsm["X_umap"]).all()
    codes = {note.code for note in get_notes(adata)}
    assert codes == ({"rna.too_few_to_cluster"} if n < 10 else {"rna.few_neighbors"})


def test_refuses_a_missing_space():
    with pytest.raises(InputError, match="X_scVI") as error:
        cluster(blobs((20,)))
    assert "X_pca" in error.value.fix


def test_refuses_gaps():
    adata = blobs((20,))
    adata.obsm["X_pca"][3, 0] = np.nan
    with pytest.raises(InputError, match="1 cells have gaps"):
        cluster(adata, use_rep="X_pca")


def test_refuses_no_resolution():
    with pytest.raises(UsageError):
        cluster(blobs((20,)), use_rep="X_pca", resolution=0)


def test_survives_h5ad(tmp_path):
    adata = blobs((30, 30))
    cluster(adata, use_rep="X_pca")
    adata.write_h5ad(tmp_path / "rna.h5ad")
    assert anndata.read_h5ad(tmp_path / "rna.h5ad").obs["cluster"].tolist() == adata.obs["cluster"].tolist()

from __future__ import annotations

import logging
import os
import subprocess
import sys

import anndata
import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from cellprec import keys
from cellprec.errors import InputError, ResourceError, UsageError
from cellprec.integrate.scvi import _batch_size, _default_epochs, scvi
from cellprec.notes import get_notes
from cellprec.settings import settings


def two_batches(*, n: int = 400, n_genes: int = 120, shift: float = 0.5, seed: int = 0) -> anndata.AnnData:
    """Three types in two batches; each batch scales every gene by a factor of its own."""
    rng = np.random.default_rng(seed)
    kind, batch = rng.integers(0, 3, n), rng.integers(0, 2, n)
    profile = rng.gamma(1.0, 2.0, (3, n_genes))
    effect = np.exp(rng.normal(0, shift, (2, n_genes)))
    counts = sparse.csr_matrix(rng.poisson(profile[kind] * effect[batch]).astype(np.float32))
    adata = anndata.AnnData(counts)
    adata.obs["sample_id"] = np.array(["P01", "P02"])[batch]
    adata.obs["kind"] = kind
    adata.layers["counts"] = counts.copy()
    return adata


def neighbor_share(place, labels, *, k=15):
    """Mean share of a cell's neighbors that bear its label."""
    near = NearestNeighbors(n_neighbors=k + 1).fit(place).kneighbors(return_distance=False)[:, 1:]
    return float((np.asarray(labels)[near] == np.asarray(labels)[:, None]).mean())


def pca(adata):
    scaled = adata.layers["counts"].toarray()
    scaled = np.log1p(1e4 * scaled / scaled.sum(axis=1, keepdims=True))
    left, values, _ = np.linalg.svd(scaled - scaled.mean(axis=0), full_matrices=False)
    return left[:, :10] * values[:10]


def test_batches_mix_and_types_stay_apart():
    adata = two_batches()
    model = scvi(adata, max_epochs=100)
    before, after = pca(adata), adata.obsm["X_scVI"]
    assert neighbor_share(before, adata.obs["sample_id"]) > 0.9
    assert neighbor_share(after, adata.obs["sample_id"]) < 0.65
    assert neighbor_share(after, adata.obs["kind"]) > 0.9
    assert after.shape == (400, 10)
    assert after.dtype == np.float32
    assert type(model).__name__ == "SCVI"
    said = adata.uns["scvi"]
    assert (said["engine"], said["n_latent"], said["n_batches"], said["n_genes"]) == ("scvi-tools", 10, 2, 120)
    assert said["epochs"] <= 100


def test_the_same_seed_gives_the_same_whatever_was_drawn_before():
    one, two, other = two_batches(n=120), two_batches(n=120), two_batches(n=120)
    scvi(one, max_epochs=3, seed=7)
    torch.rand(5)
    scvi(two, max_epochs=3, seed=7)
    scvi(other, max_epochs=3, seed=8)
    np.testing.assert_array_equal(one.obsm["X_scVI"], two.obsm["X_scVI"])
    assert not np.array_equal(one.obsm["X_scVI"], other.obsm["X_scVI"])


def test_leaves_the_caller_as_it_was(tmp_path, monkeypatch, capfd):
    import scvi as _library  # noqa: F401, PLC0415 - its first import sets its own logger, whoever imports it

    monkeypatch.chdir(tmp_path)
    adata = two_batches(n=100)
    before = adata.layers["counts"].copy()
    threads, level = torch.get_num_threads(), logging.getLogger("scvi").level
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    scvi(adata, max_epochs=2)
    assert torch.equal(torch.rand(1), expected)
    assert (torch.get_num_threads(), logging.getLogger("scvi").level) == (threads, level)
    assert (adata.layers["counts"] != before).nnz == 0
    assert set(adata.obs) == {"sample_id", "kind"}
    assert os.listdir(tmp_path) == []  # noqa: PTH208
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_one_batch_and_the_genes_that_vary():
    adata = two_batches(n=100)
    adata.obs["sample_id"] = "P01"
    adata.var[keys.HIGHLY_VARIABLE] = np.arange(120) < 50
    scvi(adata, max_epochs=2, n_latent=4)
    assert adata.obsm["X_scVI"].shape == (100, 4)
    assert adata.uns["scvi"]["n_genes"] == 50


def test_empty_cells_are_placed_and_told():
    adata = two_batches(n=100)
    counts = adata.layers["counts"].toarray()
    counts[:3] = 0
    adata.layers["counts"] = sparse.csr_matrix(counts)
    adata.obs["sample_id"] = np.where(np.arange(100) < 3, "empty", "P01")
    scvi(adata, max_epochs=2)
    assert np.isfinite(adata.obsm["X_scVI"]).all()
    note = next(note for note in get_notes(adata) if note.code == "scvi.empty_cells")
    assert note.count == 3


@pytest.mark.parametrize("value", [0.5, -1.0, np.nan])
def test_refuses_what_is_not_counts_and_names_the_sample(value):
    adata = two_batches(n=60)
    counts = adata.layers["counts"].toarray()
    row = int(np.flatnonzero(adata.obs["sample_id"] == "P02")[0])
    counts[row, 0] = value
    adata.layers["counts"] = sparse.csr_matrix(counts)
    with pytest.raises(InputError, match="1 values are not counts") as error:
        scvi(adata)
    assert error.value.where == "sample P02"
    assert "X_scVI" not in adata.obsm


def test_refuses_a_handful_of_cells():
    with pytest.raises(InputError, match="X_pca"):
        scvi(two_batches(n=20))


def test_refuses_an_unknown_batch():
    with pytest.raises(InputError, match="'lane'"):
        scvi(two_batches(n=60), batch_key="lane")


def test_refuses_an_unknown_engine():
    with pytest.raises(UsageError, match="fast"):
        scvi(two_batches(n=60), engine="fast")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(settings, "device", "cuda")
    with pytest.raises(ResourceError, match="GPU"):
        scvi(two_batches(n=60))
    monkeypatch.setattr(settings, "device", "auto")
    adata = two_batches(n=60)
    scvi(adata, max_epochs=1)
    assert adata.uns["scvi"]["device"] == "cpu"
    assert "scvi.cpu" in [note.code for note in get_notes(adata)]


def test_no_partial_batch_of_one_cell():
    for n_train in range(45, 3000):
        assert n_train % _batch_size(n_train) not in (1, 2)


def test_epochs_fall_with_cells():
    epochs = [_default_epochs(n, device="cpu") for n in (50, 500, 5_000, 50_000, 5_000_000)]
    assert epochs == sorted(epochs, reverse=True)
    assert (epochs[0], epochs[-1]) == (400, 20)


def test_importing_the_room_loads_neither_torch_nor_scvi():
    code = "import sys, cellprec.integrate.scvi; print([m for m in ('torch', 'scvi', 'lightning') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_survives_h5ad(tmp_path):
    adata = two_batches(n=60)
    scvi(adata, max_epochs=1)
    adata.write_h5ad(tmp_path / "rna.h5ad")
    back = anndata.read_h5ad(tmp_path / "rna.h5ad")
    np.testing.assert_array_equal(back.obsm["X_scVI"], adata.obsm["X_scVI"])
    assert back.uns["scvi"]["engine"] == "scvi-tools"

from __future__ import annotations

import anndata
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from cellprec.errors import InputError, UsageError
from cellprec.notes import get_notes
from cellprec.rna.qc import qc


def codes(adata):
    return [note.code for note in get_notes(adata)]


def test_counts_of_a_hand_made_cell():
    adata = anndata.AnnData(sparse.csr_matrix(np.array([[3, 0, 1], [0, 0, 0]], dtype="float32")))
    adata.var_names = ["CD3D", "MS4A1", "MT-CO1"]
    adata.obs["sample_id"] = "P01"
    qc(adata, min_genes=1)
    assert adata.obs["n_umis"].tolist() == [4, 0]
    assert adata.obs["n_genes"].tolist() == [2, 0]
    assert adata.obs["mito_fraction"].tolist() == [0.25, 0.0]
    assert adata.obs["drop_reason"].tolist() == ["high mito", "low genes"]


def test_planted_bad_cells_are_marked_with_their_reason(simulate):
    adata = simulate(n=300, samples=("P01",))
    counts = adata.layers["counts"].toarray()
    mito = adata.var_names.str.startswith("MT-")
    counts[:5] = 0
    counts[:5, 100:120] = 1  # 20 genes
    rows = np.arange(5, 10)  # two parts of three are mitochondrial
    counts[np.ix_(rows, np.flatnonzero(mito))] = counts[rows][:, ~mito].sum(axis=1, keepdims=True)
    adata.layers["counts"] = sparse.csr_matrix(counts)
    qc(adata, min_genes=50)
    reason = adata.obs["drop_reason"].astype(str)
    assert (reason[:5] == "low genes").all()
    assert (reason[5:10] == "high mito").all()
    assert adata.obs["keep"][10:].mean() > 0.97
    assert adata.n_obs == 300


def test_thresholds_are_those_of_the_sample(simulate):
    deep, shallow = simulate(n=200, samples=("deep",)), simulate(n=200, samples=("shallow",), seed=1)
    deep.layers["counts"] = deep.layers["counts"] * 20
    both = anndata.concat([deep, shallow])
    qc(both, min_genes=50)
    assert both.obs["keep"].groupby(both.obs["sample_id"].astype(str)).mean().min() > 0.95


def test_the_answer_for_a_sample_does_not_depend_on_the_others(simulate):
    one, two = simulate(n=150, samples=("P01",)), simulate(n=150, samples=("P02",), seed=5)
    both = anndata.concat([one, two])
    qc(both, min_genes=50)
    qc(one, min_genes=50)
    assert both.obs["drop_reason"].astype(str)[:150].tolist() == one.obs["drop_reason"].astype(str).tolist()


def test_a_panel_without_mitochondria_is_said_not_counted_as_zero(simulate):
    adata = simulate(n=100)
    adata = adata[:, ~adata.var_names.str.startswith("MT-")].copy()
    qc(adata, min_genes=50)
    assert adata.obs["mito_fraction"].isna().all()
    assert "cells.no_mito_genes" in codes(adata)
    assert adata.obs["keep"].mean() > 0.95


@pytest.mark.parametrize("name", ["mt-Co1", "GRCh38_MT-CO1"])
def test_mouse_and_prefixed_mitochondria_count(name):
    adata = anndata.AnnData(np.array([[1, 1]], dtype="float32"))
    adata.var_names = ["CD3D", name]
    adata.obs["sample_id"] = "P01"
    qc(adata, min_genes=1)
    assert adata.obs["mito_fraction"].tolist() == [0.5]


def test_a_small_sample_is_judged_by_floors_alone(simulate):
    adata = simulate(n=40, samples=("P01",))
    counts = adata.layers["counts"].toarray()
    counts[0, 10:] = np.minimum(counts[0, 10:], 1)  # shallow, yet above the floor
    adata.layers["counts"] = sparse.csr_matrix(counts)
    qc(adata, min_genes=50, max_mito=0.9)
    assert adata.obs["keep"].all()
    assert "cells.small_sample" in codes(adata)


def test_heavy_loss_is_said(simulate):
    adata = simulate(n=100, samples=("P01",))
    qc(adata, min_genes=10_000)
    note = next(note for note in get_notes(adata) if note.code == "cells.heavy_loss")
    assert (note.count, note.sample) == (100, "P01")
    assert not adata.obs["keep"].any()


def test_max_mito_is_a_ceiling(simulate):
    adata = simulate(n=100)
    qc(adata, min_genes=50, max_mito=0.001)
    assert set(adata.obs["drop_reason"].astype(str)) == {"high mito"}


def test_refuses_what_is_not_counts_and_names_the_sample(simulate):
    adata = simulate(n=10)
    counts = adata.layers["counts"].toarray()
    counts[1, 0] = 0.5
    adata.layers["counts"] = sparse.csr_matrix(counts)
    with pytest.raises(InputError) as error:
        qc(adata)
    assert error.value.where == "sample P02"


def test_refuses_cells_without_sample(cells):
    del cells.obs["sample_id"]
    with pytest.raises(InputError, match="which sample"):
        qc(cells)


def test_refuses_a_percentage(cells):
    with pytest.raises(UsageError, match="max_mito"):
        qc(cells, max_mito=20)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 8))
def test_every_row_stays_and_reason_agrees_with_keep(seed, min_genes):
    rng = np.random.default_rng(seed)
    adata = anndata.AnnData(rng.poisson(0.5, (rng.integers(1, 80), 8)).astype("float32"))
    adata.var_names = ["MT-CO1", *(f"G{i}" for i in range(7))]
    adata.obs["sample_id"] = rng.choice(["a", "b"], adata.n_obs)
    before = adata.X.copy()
    qc(adata, min_genes=min_genes)
    assert (adata.obs["keep"] == (adata.obs["drop_reason"].astype(str) == "")).all()
    assert (adata.obs["n_umis"] == before.sum(axis=1)).all()
    assert (before == adata.X).all()


def test_survives_h5ad(cells, tmp_path):
    qc(cells, min_genes=50)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    back = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert back.obs["drop_reason"].astype(str).tolist() == cells.obs["drop_reason"].astype(str).tolist()


@pytest.mark.real
def test_true_car_t_cells_are_kept(carpall):
    adata = carpall.copy()
    qc(adata)
    assert adata.obs["keep"][adata.obs["car_t"].to_numpy()].mean() > 0.93

from __future__ import annotations

import sys

import anndata
import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import roc_auc_score

from cellprec.errors import UsageError
from cellprec.notes import get_notes
from cellprec.rna.doublets import doublets


def codes(adata):
    return [note.code for note in get_notes(adata)]


@pytest.fixture
def planted(simulate):
    """300 cells, of which the last 24 hold a second cell of another type."""
    adata = simulate(n=300, samples=("P01",), types=("CD4 T", "B", "classical mono"))
    counts = adata.layers["counts"].toarray()
    kind = adata.obs["type"].astype(str).to_numpy()
    rng = np.random.default_rng(1)
    for row in range(276, 300):
        counts[row] += counts[rng.choice(np.flatnonzero(kind[:276] != kind[row]))]
    adata.layers["counts"] = adata.X = sparse.csr_matrix(counts)
    adata.obs["planted"] = np.arange(300) >= 276
    return adata


def test_planted_doublets_are_found(planted):
    doublets(planted, expected_rate=0.08)
    assert roc_auc_score(planted.obs["planted"], planted.obs["doublet_score"]) > 0.95
    called = planted.obs["drop_reason"].astype(str) == "doublet"
    assert called[planted.obs["planted"]].mean() > 0.5
    assert called[~planted.obs["planted"]].mean() < 0.03
    assert (planted.obs["keep"] == ~called).all()


def test_the_same_seed_gives_the_same(planted):
    again = planted.copy()
    doublets(planted, expected_rate=0.08, seed=3)
    doublets(again, expected_rate=0.08, seed=3)
    np.testing.assert_array_equal(planted.obs["doublet_score"], again.obs["doublet_score"])


def test_dropped_cells_stay_dropped_and_are_not_scored(planted):
    planted.obs["keep"] = np.arange(300) >= 10
    planted.obs["drop_reason"] = np.where(planted.obs["keep"], "", "low genes")
    doublets(planted, expected_rate=0.08)
    assert planted.obs["doublet_score"][:10].isna().all()
    assert (planted.obs["drop_reason"].astype(str)[:10] == "low genes").all()
    assert not planted.obs["keep"][:10].any()


def test_few_cells_cannot_tell(simulate):
    adata = simulate(n=160, samples=("P01", "P02"))
    doublets(adata)
    assert adata.obs["doublet_score"].isna().all()
    assert adata.obs["keep"].all()
    assert codes(adata) == ["cells.doublets_cannot_tell"] * 2


def test_cells_without_any_difference_cannot_tell():
    adata = anndata.AnnData(np.ones((150, 40), dtype="float32"))
    adata.obs["sample_id"] = "P01"
    doublets(adata)
    assert adata.obs["keep"].all()
    assert codes(adata) == ["cells.doublets_cannot_tell"]


def test_an_absurd_rate_is_not_applied(planted, monkeypatch):
    fake = (np.linspace(0, 1, 300, dtype=np.float32), np.arange(300) < 100)
    monkeypatch.setattr(sys.modules[doublets.__module__], "_scrublet", lambda *_, **__: fake)
    doublets(planted)
    assert planted.obs["keep"].all()
    assert planted.obs["doublet_score"].notna().all()
    assert codes(planted) == ["cells.doublets_not_applied"]


def test_refuses_a_percentage(planted):
    with pytest.raises(UsageError, match="expected_rate"):
        doublets(planted, expected_rate=8)

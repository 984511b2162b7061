from __future__ import annotations

import anndata
import numpy as np
import pytest

from cellprec.errors import InputError, UsageError
from cellprec.notes import get_notes
from cellprec.rna.normalize import normalize
from cellprec.rna.signatures import SIGNATURES, score_signatures


@pytest.fixture
def ready(cells):
    normalize(cells, n_top_genes=100)
    return cells


def test_killers_score_as_killers(ready):
    score_signatures(ready)
    score = ready.obs["signature_cytotoxic"]
    nk = (ready.obs["type"] == "NK").to_numpy()
    assert score[nk].min() > score[~nk].max()
    assert score.dtype == np.float32


def test_a_random_set_scores_about_zero_everywhere(ready):
    genes = [f"GENE{i}" for i in range(100, 140)]
    score_signatures(ready, signatures={"noise": genes})
    by_type = ready.obs.groupby("type", observed=True)["signature_noise"].mean()
    assert by_type.max() - by_type.min() < 0.1


def test_missing_genes_are_named_and_few_cannot_tell(ready):
    score_signatures(ready, signatures={"some": ["NKG7", "GNLY", "PRF1", "GZMK"], "few": ["NKG7", "X1", "X2", "X3"]})
    texts = {note.code: note.text for note in get_notes(ready) if "signature" in note.code}
    assert "GZMK" in texts["rna.signature_genes_missing"]
    assert "few: cannot tell" in texts["rna.signature_cannot_tell"]
    assert "signature_few" not in ready.obs
    assert "signature_some" in ready.obs


def test_a_panel_that_is_all_signature_cannot_tell(ready):
    genes = ["NKG7", "GNLY", "KLRD1", "KLRF1"]
    tiny = ready[:, genes].copy()
    score_signatures(tiny, signatures={"all": genes})
    assert "signature_all" not in tiny.obs or np.isfinite(tiny.obs["signature_all"]).all()


def test_score_does_not_touch_the_global_random_state(ready):
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    score_signatures(ready)
    assert np.random.random() == expected  # noqa: NPY002


def test_refuses_counts(cells):
    with pytest.raises(InputError, match="holds counts"):
        score_signatures(cells)


def test_refuses_a_slash(ready):
    with pytest.raises(UsageError, match="naive/memory"):
        score_signatures(ready, signatures={"naive/memory": ["CCR7", "SELL", "TCF7"]})


def test_built_in_sets_are_clean():
    for genes in SIGNATURES.values():
        assert len(set(genes)) == len(genes) >= 8


def test_survives_h5ad(ready, tmp_path):
    score_signatures(ready)
    ready.write_h5ad(tmp_path / "rna.h5ad")
    assert "signature_cytotoxic" in anndata.read_h5ad(tmp_path / "rna.h5ad").obs

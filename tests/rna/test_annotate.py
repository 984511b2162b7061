from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

from cellprec.errors import InputError, UsageError
from cellprec.notes import get_notes
from cellprec.rna.annotate import FAMILIES, KIN, MARKERS, annotate
from cellprec.rna.cluster import cluster
from cellprec.rna.normalize import normalize


@pytest.fixture
def ready(cells):
    normalize(cells, n_top_genes=100)
    cells.obs["cluster"] = pd.Categorical(cells.obs["type"].cat.codes.astype(str))
    return cells


def test_planted_types_get_their_names(ready):
    annotate(ready)
    assert (ready.obs["population"].astype(str) == ready.obs["type"].astype(str)).all()
    assert (ready.obs["population_confidence"] > 0.8).all()


def test_from_counts_to_names(cells):
    normalize(cells, n_top_genes=100)
    cluster(cells, use_rep="X_pca")
    annotate(cells)
    assert (cells.obs["population"].astype(str) == cells.obs["type"].astype(str)).mean() > 0.95


def test_a_mixture_of_kin_gets_the_family(ready):
    t_cell = ready.obs["type"].isin(["CD4 T", "CD8 T"])
    ready.obs["cluster"] = np.where(t_cell, "T", ready.obs["type"].astype(str))
    annotate(ready)
    assert set(ready.obs["population"][t_cell]) == {"T cell"}
    assert ready.obs["population_confidence"][t_cell].min() > 0.8


def test_a_mixture_of_strangers_is_unassigned(ready):
    ready.obs["cluster"] = "0"
    annotate(ready)
    assert set(ready.obs["population"]) == {"unassigned"}
    assert (ready.obs["population_confidence"] == 0).all()
    assert any(note.code == "rna.unassigned" and note.count == ready.n_obs for note in get_notes(ready))


def test_cells_without_any_marker_are_unassigned(ready):
    rng = np.random.default_rng(0)
    markers = {gene for genes in MARKERS.values() for gene in genes}
    blank = ready[:, ~ready.var_names.isin(markers)].copy()
    blank.obs["cluster"] = rng.choice(["0", "1"], blank.n_obs)
    annotate(blank)
    assert set(blank.obs["population"]) == {"unassigned"}
    assert sum(note.code == "rna.population_markers_missing" for note in get_notes(blank)) == len(MARKERS) + len(
        FAMILIES
    )


def test_without_cd8_in_the_panel_neither_cd4_nor_cd8_is_called(ready):
    panel = ready[:, ~ready.var_names.isin(["CD8A", "CD8B"])].copy()
    annotate(panel)
    called = panel.obs["population"].astype(str)
    assert set(called[panel.obs["type"].isin(["CD4 T", "CD8 T"])]) == {"T cell"}
    assert (called[panel.obs["type"] == "B"] == "B").all()
    assert any("CD8 T: cannot tell" in note.text for note in get_notes(panel))


def test_own_markers_and_absent_ones(ready):
    annotate(ready, markers={"lymphoma": ["MS4A1", "CD79A", "CD3D-"], "rest": ["NOT_A_GENE", "NOR_THIS"]})
    called = ready.obs["population"].astype(str)
    assert (called[ready.obs["type"] == "B"] == "lymphoma").all()
    assert (called[ready.obs["type"] != "B"] == "unassigned").all()


def test_refuses_a_population_of_absent_markers_only(ready):
    with pytest.raises(UsageError, match="'null'"):
        annotate(ready, markers={"null": ["CD3D-"]})


def test_refuses_counts(cells):
    cells.obs["cluster"] = "0"
    with pytest.raises(InputError, match="holds counts"):
        annotate(cells)


def test_refuses_without_clusters(ready):
    del ready.obs["cluster"]
    with pytest.raises(InputError, match="no clusters"):
        annotate(ready)


def test_families_are_of_built_in_populations():
    assert set(KIN) <= set(MARKERS)
    assert set(KIN.values()) == set(FAMILIES)
    assert "proliferating" not in MARKERS


def test_survives_h5ad(ready, tmp_path):
    annotate(ready)
    ready.write_h5ad(tmp_path / "rna.h5ad")
    back = anndata.read_h5ad(tmp_path / "rna.h5ad")
    assert back.obs["population"].astype(str).tolist() == ready.obs["population"].astype(str).tolist()


@pytest.mark.real
def test_true_car_t_cells_are_called_t(carpall):
    """The samples sorted for CD3 and the CAR; the authors' CAR-T cells are T cells all."""
    keep = carpall.obs.groupby("sample_id", observed=True)["car_t"].transform("mean").to_numpy() > 0.2
    adata = carpall[keep].copy()
    normalize(adata)
    cluster(adata, use_rep="X_pca")
    annotate(adata)
    truth = adata.obs[adata.obs["car_t"]]
    assert truth["population"].isin(["CD4 T", "CD8 T", "gd T", "T cell"]).mean() > 0.9
    cd8 = truth[truth["type"].isin(["CD8 TEM", "CD8 CTL"])]
    assert (cd8["population"] == "CD8 T").mean() > 0.7

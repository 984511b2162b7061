from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cellprec.errors import InputError
from cellprec.rna.normalize import normalize
from cellprec.rna.qc import qc
from cellprec.rna.tables import cluster_table, population_table, sample_table


def test_samples_against_pandas(cells):
    qc(cells, min_genes=50)
    reason = np.where(np.arange(cells.n_obs) < 10, "low genes", "")
    reason[10:13] = "doublet"
    cells.obs["drop_reason"], cells.obs["keep"] = pd.Categorical(reason), reason == ""
    table = sample_table(cells).set_index("sample_id")
    assert table["n_cells"].tolist() == [200, 200]
    assert table["n_kept"].sum() == 387
    assert table[["dropped_low_genes", "dropped_doublet"]].sum().tolist() == [10, 3]
    mine = cells.obs[cells.obs["keep"] & (cells.obs["sample_id"] == "P01")]
    assert table.loc["P01", "median_umis"] == mine["n_umis"].median()
    assert table.loc["P01", "median_mito"] == pytest.approx(mine["mito_fraction"].median())


def test_sample_table_before_qc(cells):
    with pytest.raises(InputError):
        sample_table(cells)


def test_fractions_of_a_sample_sum_to_one_and_zeros_are_told(cells):
    cells.obs["population"] = cells.obs["type"].astype(str)
    cells.obs.loc[cells.obs["sample_id"] == "P02", "population"] = "B"
    table = population_table(cells)
    assert len(table) == 2 * cells.obs["population"].nunique()
    np.testing.assert_allclose(table.groupby("sample_id")["fraction"].sum(), 1)
    absent = table[(table["sample_id"] == "P02") & (table["population"] != "B")]
    assert (absent["n"] == 0).all()


def test_a_sample_without_kept_cells_has_no_fractions(cells):
    cells.obs["population"] = cells.obs["type"]
    cells.obs["keep"] = cells.obs["sample_id"] == "P01"
    table = population_table(cells)
    assert table.loc[table["sample_id"] == "P02", "fraction"].isna().all()


def test_top_markers_are_the_planted_ones(cells):
    normalize(cells, n_top_genes=100)
    cells.obs["cluster"] = cells.obs["type"]
    table = cluster_table(cells).set_index("cluster")
    assert table["n"].sum() == cells.n_obs
    assert set(table.loc["B", "top_markers"].split(", ")) <= {"MS4A1", "CD79A", "CD79B", "CD19", "BANK1", "CD37"}
    assert table.loc["B", "population"] == "unassigned"
    assert np.isnan(table.loc["B", "confidence"])

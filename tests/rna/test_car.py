from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from cellprec.errors import InputError, UsageError
from cellprec.notes import get_notes
from cellprec.rna.car import car, car_table


def test_umis_are_summed_over_transgenes(cells):
    car(cells, transgenes=["CAT_scFv", "MKI67"])
    truth = cells[:, ["CAT_scFv", "MKI67"]].layers["counts"].toarray().sum(axis=1)
    assert cells.obs["car_umis"].tolist() == truth.tolist()
    assert cells.obs["car_detected"].tolist() == (truth > 0).tolist()
    assert set(cells.var_names[cells.var["transgene"]]) == {"CAT_scFv", "MKI67"}


def test_the_lower_bound_is_said(cells):
    car(cells, transgenes=["CAT_scFv"])
    assert "lower bound" in get_notes(cells)[0].text


def test_a_misspelt_transgene_gets_near_misses(cells):
    with pytest.raises(InputError, match="CAT_scFv") as error:
        car(cells, transgenes=["CAT-SCFV"])
    assert "car_umis" not in cells.obs
    assert "reference" in error.value.fix


@pytest.mark.parametrize("transgenes", [[], "CAT_scFv"])
def test_refuses_no_list(cells, transgenes):
    with pytest.raises(UsageError):
        car(cells, transgenes=transgenes)


def test_table_against_scipy(cells):
    car(cells, transgenes=["CAT_scFv"])
    cells.obs["keep"] = np.arange(cells.n_obs) % 5 > 0
    table = car_table(cells).set_index("sample_id")
    for name, row in table.iterrows():
        mine = cells.obs[(cells.obs["sample_id"] == name) & cells.obs["keep"]]
        oracle = stats.binomtest(int(mine["car_detected"].sum()), len(mine)).proportion_ci(method="wilson")
        assert row["n_cells"] == len(mine)
        assert row["fraction"] == pytest.approx(mine["car_detected"].mean())
        assert (row["low"], row["high"]) == pytest.approx((oracle.low, oracle.high))
        assert row["median_umis"] == mine["car_umis"][mine["car_detected"]].median()


def test_a_sample_without_kept_cells_has_no_fraction(cells):
    car(cells, transgenes=["CAT_scFv"])
    cells.obs["keep"] = cells.obs["sample_id"] == "P01"
    row = car_table(cells).set_index("sample_id").loc["P02"]
    assert row["n_cells"] == 0
    assert row[["fraction", "low", "high", "median_umis"]].isna().all()
    assert row["reason"] == "cannot tell: no cell was kept"


def test_without_a_transgene_there_is_nothing_to_tell(cells):
    table = car_table(cells)
    assert len(table) == 0
    assert {"sample_id", "n_cells", "n_detected", "fraction", "low", "high", "reason"} <= set(table)


@pytest.mark.real
def test_published_sensitivity_and_background(carpall):
    adata = carpall.copy()
    car(adata, transgenes=["CAT_scFv"])
    seen = adata.obs["car_detected"].to_numpy()
    assert seen[adata.obs["car_t"]].mean() == pytest.approx(0.707, abs=0.0005)
    background = (adata.obs["unsorted"] & ~adata.obs["product"]).to_numpy()
    assert (seen[background].sum(), background.sum()) == (2, 6251)

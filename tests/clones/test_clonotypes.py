"""Clonotypes as clones, and expansion between two draws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats

from cellprec.clones.clonotypes import cell_clones, clonotypes, expansion
from cellprec.errors import InputError
from cellprec.notes import get_notes

SHEET = pd.DataFrame({"sample_id": ["a", "b"], "patient_id": ["P1", "P2"], "timepoint": ["d0", "d0"]})


def cells(sample: str, names: list[str]) -> AnnData:
    obs = pd.DataFrame({"clonotype": pd.Categorical(names)}, index=[f"{sample}:{i}" for i in range(len(names))])
    return AnnData(obs=obs)


def test_one_receptor_in_two_patients_is_two_clones():
    found = clonotypes({"a": cells("a", ["X", "X", "Y", ""]), "b": cells("b", ["X", ""])}, sheet=SHEET)
    assert found.to_df().to_dict("index") == {
        "a": {"P1:X": 2, "P1:Y": 1, "P2:X": 0},
        "b": {"P1:X": 0, "P1:Y": 0, "P2:X": 1},
    }
    assert found.uns["cellprec"]["unit"] == "cells"
    assert set(found.var["source"]) == {"TCR"}
    noted = [(note.sample, note.count) for note in get_notes(found) if note.code == "clones.no_clonotype"]
    assert noted == [("a", 1), ("b", 1)]


def test_cells_and_counts_use_the_same_names():
    given = {"a": cells("a", ["X", "Y", ""]), "b": cells("b", ["X"])}
    named = cell_clones(given, sheet=SHEET)
    assert named["clone_id"].to_dict() == {"a:0": "P1:X", "a:1": "P1:Y", "b:0": "P2:X"}
    assert set(named["clone_id"]) == set(clonotypes(given, sheet=SHEET).var_names)


@pytest.mark.parametrize(
    "given", [{"a": AnnData(obs=pd.DataFrame(index=["a:0"]))}, {"a": cells("a", ["", ""])}, {"c": cells("c", ["X"])}]
)
def test_what_holds_no_clonotypes_is_refused(given):
    with pytest.raises(InputError):
        clonotypes(given, sheet=SHEET)


def draws(counts: np.ndarray) -> AnnData:
    obs = pd.DataFrame({"patient_id": "P", "timepoint": ["d0", "d9"]}, index=["a", "b"])
    var = pd.DataFrame(index=[f"c{i}" for i in range(counts.shape[1])])
    return AnnData(counts.astype(np.float32), obs=obs, var=var)


def test_p_is_that_of_fisher_and_the_unit_is_stated():
    found = expansion(draws(np.array([[5, 95], [60, 40]]))).set_index("clone")
    assert found.loc["c0", "p"] == pytest.approx(stats.fisher_exact([[60, 40], [5, 95]])[1])
    assert found.loc["c0", "low"] < np.log2(12) < found.loc["c0", "high"]
    assert (found["n_treated"] == 1).all()
    assert "sampling of cells only" in found.loc["c0", "reason"]


def test_two_draws_of_one_population_call_nothing():
    rng = np.random.default_rng(0)
    called = 0
    for _ in range(20):
        share = rng.dirichlet(np.full(200, 0.3))
        found = expansion(draws(np.array([rng.multinomial(1500, share), rng.multinomial(4000, share)])))
        called += found["call"].isin(["enriched", "depleted"]).any()
    assert called <= 2


def test_an_expanded_clonotype_is_found_and_a_rare_one_is_not_judged():
    rng = np.random.default_rng(1)
    share = np.full(300, 1 / 300)
    later = share * np.r_[20, np.ones(299)]
    counts = np.array([rng.multinomial(2000, share), rng.multinomial(2000, later / later.sum())])
    found = expansion(draws(counts)).set_index("clone")
    assert found.index[found["call"] == "enriched"].tolist() == ["c0"]
    few = expansion(draws(np.array([[1, 500], [3, 500]]))).set_index("clone")
    assert few.loc["c0", "call"] == "cannot tell"


def test_an_interval_excludes_trivial_change():
    # twenty thousand cells prove a rise of a fifth; it is real, and too small to be called
    found = expansion(draws(np.array([[10_000, 10_000], [12_000, 8_000]]))).set_index("clone")
    assert found.loc["c0", "q"] < 1e-6
    assert found.loc["c0", "call"] == "none"

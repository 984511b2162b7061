from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from cellprec.biomarkers.confounding import confounding, exact_p
from cellprec.errors import JoinError

PATIENTS = [f"P{i:02d}" for i in range(24)]
OUTCOME = pd.Series([True] * 12 + [False] * 12, index=PATIENTS, name="response")


def one(levels: list, outcome: pd.Series = OUTCOME) -> pd.Series:
    return confounding(outcome, pd.DataFrame({"batch": levels}, index=outcome.index)).iloc[0]


@given(st.lists(st.integers(0, 9), min_size=4, max_size=4))
def test_two_by_two_is_fishers_test(cells):
    table = np.array(cells).reshape(2, 2)
    assume((table.sum(axis=0) > 0).all() and (table.sum(axis=1) > 0).all())
    assert exact_p(table) == pytest.approx(stats.fisher_exact(table).pvalue)


def test_more_levels_agree_with_shuffling():
    table = np.array([[5, 1], [2, 4], [3, 3], [0, 4]])
    rng = np.random.default_rng(0)
    levels = np.repeat(np.arange(4), table.sum(axis=1))
    outcome = np.concatenate([[False] * a + [True] * b for a, b in table])

    def log_chance(labels: np.ndarray) -> float:
        counts = np.bincount(levels[labels], minlength=4)
        return float(stats.multivariate_hypergeom.logpmf(counts, table.sum(axis=1), int(outcome.sum())))

    observed = log_chance(outcome)
    drawn = [log_chance(rng.permutation(outcome)) <= observed + 1e-9 for _ in range(3000)]
    assert exact_p(table) == pytest.approx(np.mean(drawn), abs=0.03)


def test_exact_p_values_of_independent_designs_are_valid():
    rng = np.random.default_rng(1)
    yes, no = rng.integers(0, 3, size=(300, 12)), rng.integers(0, 3, size=(300, 12))
    tables = [np.stack([np.bincount(side, minlength=3) for side in pair], axis=1) for pair in zip(no, yes, strict=True)]
    p = np.array([exact_p(table) for table in tables])
    for alpha in (0.05, 0.2, 0.5):
        assert (p <= alpha).mean() <= alpha + 0.06


def test_many_levels_are_drawn_not_listed():
    table = np.array([[3, 2]] * 10)
    assert exact_p(table) == pytest.approx(1.0)


def test_v_is_cramers_and_its_interval_holds_it():
    levels = ["b"] * 10 + ["a"] * 2 + ["b"] * 3 + ["a"] * 9
    row = one(levels)
    counts = pd.crosstab(pd.Series(levels, index=PATIENTS), OUTCOME).to_numpy()
    assert row["v"] == pytest.approx(stats.contingency.association(counts, method="cramer"))
    assert 0 < row["low"] < row["v"] < row["high"] <= 1
    assert row["within"] == pytest.approx((10 * 3 + 2 * 9) / 144)
    assert "10 of 13 in b" in row["sentence"]


def test_the_inseparable_is_said_to_be_so():
    row = one(["b"] * 12 + ["a"] * 12)
    assert row["sentence"] == (
        "No batch holds patients both with and without response: response and batch cannot be told apart."
    )
    assert row["v"] == pytest.approx(1)
    assert row["within"] == 0


def test_all_responders_in_one_batch_is_said_with_what_is_left():
    sentence = one(["b"] * 15 + ["a"] * 9)["sentence"]
    assert sentence.startswith("All 12 patients with response are in batch b, beside 3 of the others")


def test_a_balanced_design_is_not_accused_and_not_acquitted():
    row = one(["a", "b"] * 12)
    assert row["p"] == pytest.approx(1)
    assert "cannot be excluded" in row["sentence"]


@pytest.mark.parametrize(
    ("levels", "why"),
    [(["a"] * 24, "all 24 patients share one batch"), (list(PATIENTS), "every patient has a batch of its own")],
)
def test_a_design_without_contrast_cannot_tell(levels, why):
    row = one(levels)
    assert row["sentence"] == f"Cannot tell: {why}."
    assert np.isnan(row["p"])


def test_missing_is_a_level_because_it_may_tell():
    row = one([None] * 12 + ["a"] * 12)
    assert row["n_levels"] == 2
    assert row["within"] == 0


def test_numbers_are_cut_into_thirds():
    row = confounding(OUTCOME, pd.DataFrame({"depth": np.arange(24.0)[::-1]}, index=PATIENTS)).iloc[0]
    assert row["n_levels"] == 3
    assert row["p"] < 0.001


def test_the_most_worrying_column_comes_first():
    design = pd.DataFrame({"site": ["x", "y"] * 12, "batch": ["b"] * 12 + ["a"] * 12}, index=PATIENTS)
    assert confounding(OUTCOME, design)["column"].tolist() == ["batch", "site"]


def test_columns_that_divide_the_patients_alike_are_asked_once():
    design = pd.DataFrame({"batch": ["b"] * 15 + ["a"] * 9}, index=PATIENTS)
    design["rna@d0"] = design["batch"].map({"a": "2024", "b": "2025"})
    design["site"] = ["x", "y"] * 12
    table = confounding(OUTCOME, design)
    assert table["column"].tolist() == ["batch", "site"]
    assert table["sentence"][0].endswith("The same holds for rna@d0.")


def test_strangers_are_refused():
    with pytest.raises(JoinError):
        confounding(OUTCOME, pd.DataFrame({"batch": ["a"]}, index=["other"]))

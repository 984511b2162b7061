"""Diversity against brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st

from cellprec.clones.diversity import diversity


def measure(*rows: list[int], **columns: list) -> pd.DataFrame:
    obs = pd.DataFrame(columns, index=[f"s{i}" for i in range(len(rows))])
    return diversity(AnnData(np.array(rows, dtype=np.float32), obs=obs), n_boot=100)


def test_hill_numbers_and_evenness_of_a_sample_worked_by_hand():
    row = measure([6, 3, 1, 0]).iloc[0]
    p = np.array([0.6, 0.3, 0.1])
    assert row["hill_0"] == 3
    assert row["hill_1"] == pytest.approx(np.prod(p**-p))
    assert row["hill_2"] == pytest.approx(1 / 0.46)
    assert row["clonality"] == pytest.approx(1 + np.sum(p * np.log(p)) / np.log(3))
    pairs = [abs(a - b) for a in (6, 3, 1) for b in (6, 3, 1)]
    assert row["gini"] == pytest.approx(np.mean(pairs) / (2 * 10 / 3))
    # one clone seen once, none twice: f1 (f1 - 1) = 0, nothing is estimated to be missing
    assert row["coverage"] == 1


def test_coverage_of_chao_and_jost_by_hand():
    row = measure([5, 2, 2, 1, 1, 1]).iloc[0]
    n, f1, f2 = 12, 3, 2
    assert row["coverage"] == pytest.approx(1 - f1 / n * ((n - 1) * f1 / ((n - 1) * f1 + 2 * f2)))


def test_equal_depth_against_every_possible_subsample():
    counts = [4, 2, 1]
    row = measure(counts, [2, 1, 1]).iloc[0]
    reads = np.repeat(np.arange(3), counts)
    draws = [np.bincount([reads[i] for i in draw], minlength=3) for draw in combinations(range(7), 4)]
    assert row["equal_depth"] == 4
    assert row["hill_0_equal"] == pytest.approx(np.mean([(d > 0).sum() for d in draws]))
    assert row["hill_2_equal"] == pytest.approx(1 / np.mean([np.sum((d / 4) ** 2) for d in draws]))
    entropy = [np.exp(-sum(x / 4 * np.log(x / 4) for x in d if x)) for d in draws]
    assert row["hill_1_equal"] == pytest.approx(np.mean(entropy), rel=0.15)


def test_two_depths_of_one_population_agree_at_equal_depth_only():
    rng = np.random.default_rng(1)
    share = rng.dirichlet(np.full(500, 0.3))
    deep, shallow = rng.multinomial(50_000, share), rng.multinomial(2_000, share)
    found = measure(deep, shallow)
    assert found["hill_0"].iloc[0] > 1.3 * found["hill_0"].iloc[1]
    assert found["hill_0_equal"].iloc[0] == pytest.approx(found["hill_0_equal"].iloc[1], rel=0.07)
    assert found["hill_1_equal"].iloc[0] == pytest.approx(found["hill_1_equal"].iloc[1], rel=0.07)


def test_intervals_of_the_dominant_clones_hold_the_truth():
    rng = np.random.default_rng(2)
    share = rng.dirichlet(np.full(50, 1.0))
    truth = 1 / np.sum(share**2)
    found = measure(*rng.multinomial(2000, share, size=60))
    inside = (found["hill_2_low"] <= truth) & (truth <= found["hill_2_high"])
    assert inside.mean() > 0.85


def test_a_low_depth_library_does_not_pull_the_others_down():
    found = measure([50, 50], [500, 500], [1, 1], low_depth=[False, False, True])
    assert found["equal_depth"].tolist() == [100, 100, 100]
    assert np.isnan(found["hill_0_equal"].iloc[2])


def test_numbers_of_a_sample_do_not_depend_on_its_neighbours():
    adata = AnnData(np.array([[9, 4, 1], [8, 1, 5]], dtype=np.float32), obs=pd.DataFrame(index=["a", "b"]))
    pd.testing.assert_series_equal(diversity(adata).loc["b"], diversity(adata[["b"]].copy()).loc["b"])


def test_an_empty_library_cannot_be_measured():
    assert measure([0, 0], [1, 3]).iloc[0][["hill_1", "gini", "coverage"]].isna().all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=2, max_size=12).filter(lambda x: sum(x) > 1), st.randoms())
def test_order_of_clones_and_of_hill_numbers(counts, random):
    row = measure(counts).iloc[0]
    assert row["hill_0"] + 1e-9 >= row["hill_1"] >= row["hill_2"] - 1e-9
    assert 0 <= row["coverage"] <= 1
    shuffled = list(counts)
    random.shuffle(shuffled)
    assert measure(shuffled).iloc[0][["hill_1", "hill_2", "gini"]].to_list() == pytest.approx(
        row[["hill_1", "hill_2", "gini"]].to_list()
    )

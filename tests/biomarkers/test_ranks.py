from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cellprec.biomarkers import ranks


def brute_force(values: np.ndarray, positive: np.ndarray, strata: np.ndarray) -> float:
    """Van Elteren's test by listing every labelling of every stratum."""
    informative = [s for s in np.unique(strata) if 0 < positive[strata == s].sum() < (strata == s).sum()]

    def statistic(values: np.ndarray, labels: np.ndarray) -> float:
        scores = stats.rankdata(values)
        return float((scores[labels].sum() - labels.sum() * scores.mean()) / (values.size + 1))

    per_stratum = []
    observed = 0.0
    for s in informative:
        v, m = values[strata == s], int(positive[strata == s].sum())
        observed += statistic(v, positive[strata == s])
        per_stratum.append([statistic(v, np.isin(np.arange(v.size), c)) for c in combinations(range(v.size), m)])
    sums = np.array([sum(parts) for parts in product(*per_stratum)])
    return float((np.abs(sums) >= abs(observed) - 1e-9).mean())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 1)), min_size=4, max_size=10))
def test_exact_test_equals_the_list_of_all_labellings_with_ties_and_strata(rows):
    values, positive, strata = (np.array(c) for c in zip(*rows, strict=True))
    p = ranks.rank_test(values.astype(float), positive=positive.astype(bool), strata=strata)
    informative = [
        s
        for s in np.unique(strata)
        if 0 < positive[strata == s].sum() < (strata == s).sum() and np.ptp(values[strata == s]) > 0
    ]
    if not informative:
        assert np.isnan(p)
    else:
        assert p == pytest.approx(brute_force(values.astype(float), positive.astype(bool), strata))


@pytest.mark.parametrize(("m", "n"), [(4, 4), (9, 15), (12, 12), (20, 25)])
def test_without_strata_it_is_mann_whitney(m, n):
    values = np.random.default_rng(m).normal(size=m + n)
    positive = np.arange(m + n) < m
    exact = stats.mannwhitneyu(values[positive], values[~positive], method="exact").pvalue
    assert ranks.rank_test(values, positive=positive) == pytest.approx(exact)


def test_large_groups_use_the_normal_distribution():
    values = np.random.default_rng(0).integers(0, 30, size=200).astype(float)
    positive = np.arange(200) < 80
    normal = stats.mannwhitneyu(values[positive], values[~positive], method="asymptotic", use_continuity=False).pvalue
    assert ranks.rank_test(values, positive=positive) == pytest.approx(normal)


def test_cached_and_fresh_p_values_agree():
    rng = np.random.default_rng(1)
    positive, strata, cache = rng.random(20) < 0.5, rng.integers(0, 2, 20), {}
    for _ in range(5):
        values = np.round(rng.normal(size=20), 1)
        fresh = ranks.rank_test(values, positive=positive, strata=strata)
        assert ranks.rank_test(values, positive=positive, strata=strata, cache=cache) == fresh


def test_test_within_strata_is_valid_where_stratum_and_label_go_together():
    rng = np.random.default_rng(2)
    positive = np.array([True] * 12 + [False] * 12)
    strata = np.array([1] * 10 + [0] * 2 + [1] * 3 + [0] * 9)
    cache: dict = {}
    within, overall = [], []
    for _ in range(400):
        values = rng.normal(size=24) + 2.0 * strata
        within.append(ranks.rank_test(values, positive=positive, strata=strata, cache=cache))
        overall.append(ranks.rank_test(values, positive=positive, cache=cache))
    assert (np.array(within) <= 0.05).mean() <= 0.07
    assert (np.array(overall) <= 0.05).mean() > 0.5  # the test that must not be believed alone


def test_group_test_without_strata_is_kruskal():
    rng = np.random.default_rng(3)
    values, groups = np.round(rng.normal(size=30), 1), rng.integers(0, 3, 30)
    expected = stats.kruskal(*(values[groups == g] for g in range(3))).pvalue
    assert ranks.group_test(values, groups=groups, strata=np.zeros(30)) == pytest.approx(expected)


def test_group_test_does_not_take_the_outcome_for_a_batch_shift():
    rng = np.random.default_rng(4)
    outcome = np.array([True] * 12 + [False] * 12)
    batch = np.array([1] * 10 + [0] * 2 + [1] * 3 + [0] * 9)
    p = [ranks.group_test(rng.normal(size=24) + 2 * outcome, groups=batch, strata=outcome) for _ in range(300)]
    assert (np.array(p) <= 0.05).mean() <= 0.08


def test_group_test_of_inseparable_groups_is_nan():
    batch = np.repeat([0, 1], 6)
    assert np.isnan(ranks.group_test(np.arange(12.0), groups=batch, strata=batch))


@pytest.mark.parametrize("true", [0.5, 0.7, 0.85, 0.95])
@pytest.mark.parametrize(("m", "n", "spread"), [(10, 10, 1.0), (6, 14, 1.0), (8, 12, 2.0)])
def test_interval_covers_the_truth_at_twenty_patients(true, m, n, spread):
    rng = np.random.default_rng(5)
    shift = stats.norm.ppf(true) * np.sqrt(1 + spread**2)
    positive = np.arange(m + n) < m
    held = 0
    for _ in range(400):
        values = np.concatenate([rng.normal(shift, spread, m), rng.normal(0, 1, n)])
        low, high = ranks.auc_interval(ranks.auc(values, positive=positive), n_positive=m, n_negative=n)
        held += low <= true <= high
    assert held / 400 >= (0.92 if spread == 1 else 0.89)


@pytest.mark.parametrize("estimate", [0.0, 0.3, 0.5, 0.8, 1.0])
def test_interval_holds_the_estimate_and_mirrors(estimate):
    low, high = ranks.auc_interval(estimate, n_positive=7, n_negative=11)
    assert 0 <= low <= estimate <= high <= 1
    assert high - low > 0.1
    mirrored = ranks.auc_interval(1 - estimate, n_positive=7, n_negative=11)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-6)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=12), st.integers(1, 11))
def test_auc_and_shift_are_those_of_all_pairs(values, cut):
    cut = min(cut, len(values) - 1)
    v, positive = np.array(values, dtype=float), np.arange(len(values)) < cut
    pairs = v[positive][:, None] - v[~positive][None, :]
    assert ranks.auc(v, positive=positive) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    assert ranks.hodges_lehmann(v, positive=positive) == np.median(pairs)

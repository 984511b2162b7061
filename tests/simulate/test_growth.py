from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellprec.errors import UsageError
from cellprec.simulate.growth import advantage, expand, sample


def test_growth_is_a_yule_process() -> None:
    """From k cells grown f-fold: mean k f, variance k f (f - 1) (Yule 1925)."""
    cells = np.full(40_000, 5)
    grown = expand(cells, rate=np.ones(40_000), target=8 * cells.sum(), rng=np.random.default_rng(0))
    assert grown.mean() == pytest.approx(5 * 8, rel=0.01)
    assert grown.var() == pytest.approx(5 * 8 * 7, rel=0.05)
    assert grown.min() >= 5


def test_a_faster_clone_grows_by_its_rate_and_a_dead_one_stays_dead() -> None:
    cells = np.array([100_000, 100_000, 0])
    grown = expand(cells, rate=np.array([1.0, 1.5, 9.0]), target=1e6, rng=np.random.default_rng(0))
    assert grown[1] / grown[0] == pytest.approx(1.5, rel=0.02)
    assert grown[2] == 0
    assert grown.sum() == pytest.approx(1e6, rel=0.02)


def test_a_bottleneck_is_binomial() -> None:
    cells = np.full(20_000, 100)
    carried = sample(cells, n=0.1 * cells.sum(), rng=np.random.default_rng(0))
    assert carried.mean() == pytest.approx(10, rel=0.02)
    assert carried.var() == pytest.approx(100 * 0.1 * 0.9, rel=0.05)
    assert np.array_equal(sample(cells, n=1e9, rng=np.random.default_rng(0)), cells)


@given(seed=st.integers(0, 10_000), n_resistant=st.integers(0, 15))
@settings(max_examples=50, deadline=None)
def test_the_advantage_gives_the_fold_that_was_asked_for(seed: int, n_resistant: int) -> None:
    rng = np.random.default_rng(seed)
    frequency = rng.dirichlet(np.full(400, 5.0))
    fold = np.ones(400)
    fold[:n_resistant] = rng.uniform(3, 10, n_resistant)
    survivors = frequency * advantage(frequency, fold)
    reached = survivors / survivors.sum() / frequency
    assert np.allclose(reached[:n_resistant], fold[:n_resistant])
    assert np.ptp(reached[n_resistant:]) < 1e-9  # sensitive clones keep their proportions


def test_folds_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="nine tenths"):
        advantage(np.array([0.5, 0.5]), np.array([1.0, 2.0]))

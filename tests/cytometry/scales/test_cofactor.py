from __future__ import annotations

import numpy as np
import pytest

from cellprec.cytometry.scales.cofactor import estimate_cofactor

TOP = 262144.0


def study(*, noise: float, spread: float, seed: int, n: int = 6000, samples: int = 4) -> list[np.ndarray]:
    """Two populations per sample: additive noise everywhere, bright cells with a constant relative spread."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(samples):
        dim = int(n * rng.uniform(0.2, 0.8))
        bright = rng.choice([8e3, 3e4]) * np.exp(rng.normal(0, spread, n - dim))
        found.append(np.r_[np.zeros(dim), bright] + rng.normal(0, noise, n))
    return found


@pytest.mark.parametrize("noise", [30.0, 100.0, 300.0])
@pytest.mark.parametrize("spread", [0.15, 0.3, 0.5])
@pytest.mark.parametrize("start", [20.0, 150.0, 2000.0])
def test_noise_over_relative_spread_is_found(noise: float, spread: float, start: float) -> None:
    # additive noise s and relative spread v: the variance is stable on arcsinh(x v / s)
    samples = study(noise=noise, spread=spread, seed=1)
    assert estimate_cofactor(samples, t=TOP, start=start) == pytest.approx(noise / spread, rel=0.15)


def test_both_populations_spread_alike_afterwards() -> None:
    samples = study(noise=200, spread=0.3, seed=2)
    cofactor = estimate_cofactor(samples, t=TOP)
    ratios = []
    for x in samples:
        z = np.arcsinh(x / cofactor)
        bright = x > 3000
        ratios.append(np.ptp(np.quantile(z[bright], [0.25, 0.75])) / np.ptp(np.quantile(z[~bright], [0.25, 0.75])))
    np.testing.assert_allclose(ratios, 1, atol=0.2)


def test_units_do_not_matter() -> None:
    samples = study(noise=100, spread=0.3, seed=3)
    one = estimate_cofactor(samples, t=TOP)
    other = estimate_cofactor([x * 1000 for x in samples], t=TOP * 1000)
    assert other == pytest.approx(one * 1000, rel=0.05)


def test_what_cannot_be_told_is_not_told() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.normal(0, 100, 5000) for _ in range(3)]
    assert np.isnan(estimate_cofactor(noise, t=TOP))
    assert np.isnan(estimate_cofactor([], t=TOP))
    assert np.isnan(estimate_cofactor([np.r_[noise[0][:60], 5e4 + noise[0][:60]]], t=TOP))
    assert np.isnan(estimate_cofactor([np.zeros(5000)], t=TOP))
    assert np.isnan(estimate_cofactor([np.full(5000, np.nan)], t=TOP))


def test_values_that_are_no_numbers_change_nothing() -> None:
    samples = study(noise=100, spread=0.3, seed=4)
    holed = [np.r_[x, np.full(50, np.nan), np.inf] for x in samples]
    assert estimate_cofactor(holed, t=TOP) == estimate_cofactor(samples, t=TOP)


def test_of_cofactors_that_do_equally_well_the_largest_is_taken() -> None:
    rng = np.random.default_rng(0)
    hills = np.r_[rng.lognormal(np.log(2_000), 0.2, 4000), rng.lognormal(np.log(60_000), 0.2, 4000)]
    # below both hills arcsinh is a logarithm whatever the cofactor, and both spread alike
    assert 200 < estimate_cofactor([hills], t=262_144) < 2_000

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from cellprec.cytometry.compensation.nnls import nonnegative_least_squares


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(0, 8), st.integers(0, 10_000))
def test_it_is_what_scipy_finds(n_dyes, more, seed):
    rng = np.random.default_rng(seed)
    spectra = rng.gamma(0.5, 1, (n_dyes, n_dyes + more)) + 0.5 * np.eye(n_dyes, n_dyes + more)
    values = rng.normal(0, 1000, (30, n_dyes + more))
    found = nonnegative_least_squares(values, spectra=spectra)
    expected = np.array([nnls(spectra.T, row)[0] for row in values])
    assert (found >= 0).all()
    if np.linalg.cond(spectra) < 1e4:
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * max(1, expected.max()))
    lost, least = (np.linalg.norm(values - amounts @ spectra, axis=1) for amounts in (found, expected))
    np.testing.assert_allclose(lost, least, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("width", [1.5, 3.0, 6.0])
def test_overlapping_spectra_give_the_same_minimum(width):
    rng = np.random.default_rng(1)
    spectra = np.exp(-0.5 * ((np.arange(64) - np.linspace(0, 63, 30)[:, None]) / width) ** 2)
    values = (rng.gamma(0.3, 1000, (300, 30)) * (rng.random((300, 30)) < 0.3)) @ spectra + rng.normal(0, 20, (300, 64))
    found = nonnegative_least_squares(values, spectra=spectra)
    expected = np.array([nnls(spectra.T, row)[0] for row in values])
    lost, least = (np.linalg.norm(values - amounts @ spectra, axis=1) for amounts in (found, expected))
    np.testing.assert_allclose(lost, least, rtol=1e-8, atol=1e-8)


def test_an_event_does_not_depend_on_the_others():
    rng = np.random.default_rng(2)
    spectra, values = rng.random((5, 9)), rng.normal(0, 1, (40, 9))
    together = nonnegative_least_squares(values, spectra=spectra)
    alone = np.vstack([nonnegative_least_squares(row[None], spectra=spectra) for row in values])
    np.testing.assert_allclose(together, alone, atol=1e-12)


def test_what_is_not_finite_stays_unknown_and_zero_stays_zero():
    found = nonnegative_least_squares(np.array([[np.nan, 1.0], [0.0, 0.0], [-1.0, -2.0]]), spectra=np.eye(2))
    assert np.isnan(found[0]).all()
    assert (found[1:] == 0).all()
    assert nonnegative_least_squares(np.empty((0, 2)), spectra=np.eye(2)).shape == (0, 2)

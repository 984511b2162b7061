"""How much clones vary between replicates without any selection: drift, bottlenecks, jackpots, PCR, sequencing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Floats = NDArray[np.float64]

_MIN_CLONES = 30
_BIN = 25
_MIN_READS = 5.0
_TREND_BIN = 60


@dataclass(frozen=True)
class Drift:
    """Squared coefficient of variation of a clone's frequency between replicates, as a function of its frequency.

    ``cv2(f) = phi + c / sqrt(f) + b / f``. ``phi``: what hits every clone alike (unequal growth of whole lineages).
    ``b``: sampling, so that ``1 / b`` is the number of independent cells a culture was founded from, bottlenecks,
    PCR and reads taken together. ``c``: the slower fall that a chain of passages with growth between them leaves.

    >>> Drift(phi=0.01, c=0.0, b=1e-4, n_clones=500).cv2(np.array([1e-2]))
    array([0.02])
    """

    phi: float
    c: float
    b: float
    n_clones: int

    def cv2(self, frequency: Floats) -> Floats:
        """Return the squared coefficient of variation at a frequency."""
        f = np.maximum(frequency, 1e-300)
        return np.asarray(self.phi + self.c / np.sqrt(f) + self.b / f)

    def mean_with(self, other: Drift) -> Drift:
        """Return the average of two variance functions."""
        n = min(self.n_clones, other.n_clones)
        return Drift((self.phi + other.phi) / 2, (self.c + other.c) / 2, (self.b + other.b) / 2, n)


def fit_drift(groups: Sequence[Floats], *, depths: Sequence[Floats]) -> Drift | None:
    """Fit the variance between replicates as a function of frequency, over groups of replicates.

    Parameters
    ----------
    groups
        Frequencies, replicates × clones, one array per group (arm at a timepoint). Groups of one row say nothing.
    depths
        Counts per library, same order. The fitted variance is never less than that of the counting itself.

    Returns
    -------
    Drift or None
        None where fewer than 30 clones were seen in replicates.

    Notes
    -----
    Clones are binned by mean frequency; the mean squared coefficient of variation of a bin takes single outlying
    clones in, but no more than their share. A clone that resists differs between arms, not between the replicates of
    an arm, and so does not inflate the fit. The three terms, none negative, are fitted by robust least squares on the
    relative error, for what gamma noise would show around a mean of the same replicates.
    """
    frequency, cv2, weight, replicates = [], [], [], []
    n_clones = 0
    for freq, depth in zip(groups, depths, strict=True):
        if len(freq) < 2:
            continue
        mean, variance = freq.mean(axis=0), freq.var(axis=0, ddof=1)
        seen = np.flatnonzero(mean * depth.sum() >= _MIN_READS)
        n_clones += len(seen)
        for part in _bins(seen[np.argsort(-mean[seen], kind="stable")]):
            frequency.append(np.exp(np.log(mean[part]).mean()))
            cv2.append(np.mean(variance[part] / mean[part] ** 2))
            weight.append(len(part) * (len(freq) - 1))
            replicates.append(len(freq))
    if n_clones < _MIN_CLONES:
        return None
    phi, c, b = _fit_terms(*(np.array(column, dtype=np.float64) for column in (frequency, cv2, weight, replicates)))
    counting = float(np.mean([np.mean(1 / np.maximum(depth, 1)) for depth in depths]))
    return Drift(max(phi, 1e-6), c, max(b, counting), n_clones)


def _bins(ordered: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Cut clones, most abundant first, into bins: small where clones are few and far apart, larger in the crowd."""
    small, crowd = ordered[: 4 * _BIN], ordered[4 * _BIN :]
    parts = [*np.array_split(small, max(1, len(small) // 10)), *np.array_split(crowd, max(1, len(crowd) // _BIN))]
    return [part for part in parts if len(part)]


def _fit_terms(frequency: Floats, cv2: Floats, weight: Floats, replicates: Floats) -> tuple[float, float, float]:
    basis = np.column_stack([np.ones_like(frequency), frequency**-0.5, 1 / frequency])
    norm = basis.max(axis=0)
    # the logarithm of a mean of n chi-squares lies 1 / n below that of its expectation
    observed = np.log(np.maximum(cv2, 1e-9)) + 1 / weight

    def residual(terms: Floats) -> Floats:
        expected = basis / norm @ terms**2 + 1e-9
        # against the mean of the same replicates, the squared CV of gamma noise cannot pass their number
        expected = expected / (1 + expected / replicates)
        return np.asarray(np.sqrt(weight) * (np.log(expected) - observed))

    start = np.sqrt(np.maximum(np.min(cv2), 1e-4)) * np.ones(3)
    terms = optimize.least_squares(residual, start, loss="soft_l1", f_scale=5.0).x
    phi, c, b = terms**2 / norm
    return float(phi), float(c), float(b)


@dataclass(frozen=True)
class Scale:
    """A scale on which every clone varies alike between replicates: one unit is one standard deviation.

    ``h(f)`` is the integral of ``df / sd(f)``; with reads alone it is ``2 sqrt(reads)``, with drift it bends into a
    logarithm (Anscombe 1948; for ``c = 0`` the usual inverse hyperbolic sine). A clone that was not seen lies at 0,
    not at minus infinity.
    """

    drift: Drift

    def forward(self, frequency: Floats) -> Floats:
        """Return frequencies on the scale."""
        d = self.drift
        u = np.sqrt(np.maximum(frequency, 0))
        root = np.sqrt(d.phi)
        inner = 2 * root * np.sqrt(d.phi * u**2 + d.c * u + d.b) + 2 * d.phi * u + d.c
        start = 2 * root * np.sqrt(d.b) + d.c
        return np.asarray(2 / root * np.log(inner / start))

    def backward(self, value: Floats) -> Floats:
        """Return frequencies from the scale; what lies below 0 is 0."""
        grid = np.concatenate([[0.0], np.geomspace(1e-12, 4.0, 4000)])
        return np.asarray(np.interp(value, self.forward(grid), grid))

    def variance(self, frequency: Floats, *, drift: Drift) -> Floats:
        """Return the variance of one replicate on the scale, for an arm with its own drift (delta method)."""
        return drift.cv2(frequency) / self.drift.cv2(frequency)


def moderate(ratio: Floats, *, df: Floats) -> tuple[float, float]:
    """Return prior variance and prior degrees of freedom of observed variance ratios (Smyth 2004, section 6.2).

    ``ratio`` holds observed over expected variances and ``df`` their degrees of freedom. Many prior degrees of freedom
    mean that the clones differ in variance no more than chance has it.

    >>> rng = np.random.default_rng(0)
    >>> prior, df0 = moderate(rng.chisquare(4, 4000) / 4, df=np.full(4000, 4.0))
    >>> bool(abs(prior - 1) < 0.05 and df0 > 50)
    True
    """
    keep = df > 0
    ratio, df = ratio[keep], df[keep]
    if len(ratio) < _MIN_CLONES:
        return 1.0, 0.0
    ratio = np.maximum(ratio, 1e-5 * np.median(ratio[ratio > 0]) if (ratio > 0).any() else 1e-5)
    e = np.log(ratio) - special.digamma(df / 2) + np.log(df / 2)
    excess = e.var(ddof=1) - special.polygamma(1, df / 2).mean()
    # less than the standard error of a variance cannot be told from none: few clones vouch for few degrees of freedom
    excess = max(excess, e.var(ddof=1) * np.sqrt(3 / len(e)))
    df0 = 2 * _inverse_trigamma(float(excess))
    return float(np.exp(e.mean() + special.digamma(df0 / 2) - np.log(df0 / 2))), min(df0, float(df.sum()))


def trend(ratio: Floats, *, df: Floats, along: Floats) -> Callable[[Floats], Floats]:
    """Return the mean of variance ratios as a function of abundance: what the fitted drift misses.

    Means of bins of at least 60 clones, joined by lines, within a factor of three; one where clones are too few.
    """
    keep = np.flatnonzero(df > 0)
    n_bins = min(len(keep) // _TREND_BIN, 12)
    if n_bins < 2:
        return np.ones_like
    parts = np.array_split(keep[np.argsort(along[keep], kind="stable")], n_bins)
    x = np.array([np.log(along[part]).mean() for part in parts])
    y = np.clip([np.average(ratio[part], weights=df[part]) for part in parts], 1 / 3, 3)
    return lambda at: np.asarray(np.interp(np.log(np.maximum(at, 1e-300)), x, y))


def _inverse_trigamma(value: float) -> float:
    y = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(special.polygamma(1, y))
        step = trigamma * (1 - trigamma / value) / float(special.polygamma(2, y))
        y += step
        if -step / y < 1e-8:
            break
    return y

"""Rank statistics of two groups: how often one lies above the other, how surely, and inside strata."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Distribution = tuple[Floats, Floats]
Cache = MutableMapping[Any, Distribution]

# above these sizes the exact distribution costs more than the normal one errs
_EXACT_STRATUM = 50
_EXACT_SUPPORT = 400_000


def auc(values: Floats, *, positive: Bools) -> float:
    """Return the probability that a positive lies above a negative, ties counted half.

    Values without NaN. This is the Mann–Whitney statistic divided by the number of pairs (Hanley & McNeil 1982).

    >>> auc(np.array([1.0, 2.0, 3.0, 4.0]), positive=np.array([False, False, True, True]))
    1.0
    """
    n_positive = int(positive.sum())
    n_negative = positive.size - n_positive
    ranks = stats.rankdata(values)
    above = ranks[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(above / (n_positive * n_negative))


def auc_interval(estimate: float, *, n_positive: int, n_negative: int, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of an AUC that holds for the dozens of patients a study has, and at 0 and 1.

    Method 5 of Newcombe (2006, Statistics in Medicine 25:559): the Hanley–McNeil variance, taken at the
    limit and not at the estimate, with both group sizes replaced by their mean. At 20 patients it covers the
    truth in 92 to 97 % of simulated studies, in 90 % where one group is twice as spread out as the other.

    >>> low, high = auc_interval(1.0, n_positive=8, n_negative=12)
    >>> round(low, 2), high
    (0.79, 1.0)
    """
    z = stats.norm.ppf(0.5 + level / 2)
    half = (n_positive + n_negative) / 2 - 1

    def beyond(theta: float) -> float:
        spread = 1 + half * (1 - theta) / (2 - theta) + half * theta / (1 + theta)
        variance = theta * (1 - theta) * spread / (n_positive * n_negative)
        return float((estimate - theta) ** 2 - z**2 * variance)

    # at 0 and 1 the estimate itself is a root, and not the one that bounds the interval
    low = 0.0 if estimate <= 0 else optimize.brentq(beyond, 0.0, min(estimate, 1 - 1e-9))
    high = 1.0 if estimate >= 1 else optimize.brentq(beyond, max(estimate, 1e-9), 1.0)
    return float(low), float(high)


def hodges_lehmann(values: Floats, *, positive: Bools) -> float:
    """Return the shift between two groups: the median of all differences positive minus negative.

    >>> hodges_lehmann(np.array([1.0, 2.0, 5.0, 6.0]), positive=np.array([False, False, True, True]))
    4.0
    """
    return float(np.median(values[positive][:, None] - values[~positive][None, :]))


def rank_test(
    values: Floats, *, positive: Bools, strata: NDArray[Any] | None = None, cache: Cache | None = None
) -> float:
    """Return the two-sided p-value that positives lie higher or lower than negatives, inside strata where given.

    Without strata this is the Wilcoxon–Mann–Whitney test; with strata it is van Elteren's (1960), each
    stratum weighted by 1 / (size + 1). The distribution given the ties is exact (shift algorithm of
    Streitberg & Röhmel 1986) where it is affordable, normal beyond. NaN where no stratum holds both groups.
    ``cache`` keeps distributions between calls on features of the same design.

    >>> rank_test(np.array([1.0, 2.0, 3.0, 4.0]), positive=np.array([False, False, True, True]))
    0.333...
    """
    labels = np.zeros(values.size, dtype=int) if strata is None else np.unique(strata, return_inverse=True)[1]
    parts: list[tuple[NDArray[np.int64], int]] = []
    observed = 0.0
    for label in np.unique(labels):
        inside = labels == label
        n_positive, size = int(positive[inside].sum()), int(inside.sum())
        if n_positive in (0, size):
            continue
        scores = np.rint(2 * stats.rankdata(values[inside])).astype(np.int64)
        observed += (scores[positive[inside]].sum() - n_positive * scores.mean()) / (size + 1)
        parts.append((np.sort(scores), n_positive))
    if not parts or all(scores[0] == scores[-1] for scores, _ in parts):
        return float("nan")
    return _two_sided(observed, parts, cache={} if cache is None else cache)


def _two_sided(observed: float, parts: list[tuple[NDArray[np.int64], int]], *, cache: Cache) -> float:
    ranges = [2 * m * (scores.size - m) + 1 for scores, m in parts]
    if max(scores.size for scores, _ in parts) > _EXACT_STRATUM or np.prod(ranges, dtype=float) > _EXACT_SUPPORT:
        variance = sum(
            m * (scores.size - m) / scores.size * scores.var(ddof=1) / (scores.size + 1) ** 2 for scores, m in parts
        )
        return float(2 * stats.norm.sf(abs(observed) / np.sqrt(variance)))
    key = tuple((scores.tobytes(), m) for scores, m in parts)
    if key not in cache:
        support: Floats = np.zeros(1)
        chances: Floats = np.ones(1)
        for scores, m in parts:
            sums, weights = _rank_sums(scores, m)
            centred = (sums - m * scores.mean()) / (scores.size + 1)
            grid = np.round(np.add.outer(support, centred).ravel(), 9)
            both = np.multiply.outer(chances, weights).ravel()
            support, place = np.unique(grid, return_inverse=True)
            chances = np.bincount(place, weights=both).astype(float)
        cache[key] = (support, chances)
    sums, weights = cache[key]
    return float(min(1.0, weights[np.abs(sums) >= abs(observed) - 1e-7].sum()))


def _rank_sums(scores: NDArray[np.int64], m: int) -> Distribution:
    """Return the possible sums of m of the scores, and the chance of each under random labels."""
    counts = np.zeros((m + 1, int(np.sort(scores)[-m:].sum()) + 1))
    counts[0, 0] = 1
    for score in scores:
        shifted = counts[:-1, : counts.shape[1] - score].copy()
        counts[1:, score:] += shifted
    ways = counts[m]
    sums = np.flatnonzero(ways)
    return sums.astype(float), ways[sums] / ways[sums].sum()


def group_test(values: Floats, *, groups: NDArray[Any], strata: NDArray[Any]) -> float:
    """Return the p-value that the values differ between groups once the strata are allowed for.

    The stratified Kruskal–Wallis test (row mean scores of the generalized Cochran–Mantel–Haenszel family,
    Landis, Heyman & Koch 1978), chi-squared. NaN where no stratum holds two groups.

    >>> values = np.arange(12.0)
    >>> group_test(values, groups=values >= 6, strata=np.zeros(12)) < 0.01
    True
    """
    labels, member = np.unique(groups, return_inverse=True)
    shift = np.zeros(labels.size)
    covariance = np.zeros((labels.size, labels.size))
    for stratum in np.unique(strata):
        inside = strata == stratum
        size = int(inside.sum())
        if size < 2:
            continue
        ranks = stats.rankdata(values[inside])
        held = np.bincount(member[inside], minlength=labels.size)
        sums = np.bincount(member[inside], weights=ranks, minlength=labels.size)
        shift += (sums - held * ranks.mean()) / (size + 1)
        covariance += ranks.var(ddof=1) / (size + 1) ** 2 * (np.diag(held) - np.outer(held, held) / size)
    freedom = int(np.linalg.matrix_rank(covariance, tol=1e-9))
    if freedom == 0:
        return float("nan")
    return float(stats.chi2.sf(shift @ np.linalg.pinv(covariance, rcond=1e-9) @ shift, freedom))

"""The cofactor of arcsinh at which dim and bright populations spread alike."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_EVENTS_MIN: Final = 200
_EVENTS_TAKEN: Final = 10_000
_CORE_MIN: Final = 50
_BINS: Final = 256
# a population is a hill that rises out of its valleys by this share of the highest one
_PROMINENCE: Final = 0.05
# the dimmest and the brightest population must lie this many spreads of the dimmest apart, or any cofactor fits
_APART: Final = 10.0
# variances that differ by less than this in Bartlett's sense are alike: standard deviations within about 10 %
_ALIKE: Final = 0.005
_GRID: Final = 121
_ROUNDS: Final = 8
_SETTLED: Final = 0.1


class _Population(NamedTuple):
    low: float
    middle: float
    high: float


def estimate_cofactor(samples: Iterable[NDArray[np.floating]], *, t: float, start: float = 150.0) -> float:
    """Find the cofactor c for which the populations of one channel have the same variance on arcsinh(x / c).

    samples: linear values of the channel, one array per sample. t: the top of its scale. start: a first guess.
    Returns nan where it cannot be told: fewer than two populations, all of one brightness, or no minimum between
    1/10,000 and 1/10 of t.

    The hills of the density are the populations; each is taken between its half heights, with its quartiles there as
    the spread. c minimizes Bartlett's statistic, the log of the mean variance less the mean of the log variances,
    every population of every sample counting once; of cofactors that do equally well the largest is taken, which
    spreads the noise round zero least. The hills are then looked for again on the new scale, until c stays.
    Source: flowVS, Azad, Rajwa and Pothen 2016, BMC Bioinformatics 17:291; Bartlett 1937, Proc R Soc A 160:268.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> dim, bright = rng.normal(0, 100, 5000), 20000 * np.exp(rng.normal(0, 0.25, 5000))
    >>> bool(300 < estimate_cofactor([np.r_[dim, bright]], t=262144) < 500)
    True
    """
    parts = [taken for values in samples if len(taken := _taken(values)) >= _EVENTS_MIN]
    cofactors = np.geomspace(t * 1e-4, t * 1e-1, _GRID)
    found = float(np.clip(start, cofactors[0], cofactors[-1]))
    for _ in range(_ROUNDS):
        before, found = found, _most_alike([p for x in parts for p in _populations(x, cofactor=found)], among=cofactors)
        if np.isnan(found) or abs(np.log(found / before)) < _SETTLED:
            break
    return found


def _most_alike(populations: list[_Population], *, among: NDArray[np.float64]) -> float:
    if len(populations) < 2:
        return float("nan")
    low, middle, high = np.array(populations).T
    dimmest = np.argmin(np.abs(middle))
    if np.ptp(middle) < _APART * (high - low)[dimmest]:
        return float("nan")
    variances = (np.arcsinh(high / among[:, None]) - np.arcsinh(low / among[:, None])) ** 2
    unlike = np.log(variances.mean(axis=1)) - np.log(variances).mean(axis=1)
    good = np.flatnonzero(unlike <= unlike.min() + _ALIKE)
    best = int(np.argmin(unlike))
    if good[-1] == 0 or best == len(among) - 1:
        return float("nan")
    # the lowest point of a valley, the upper end of a plain
    return float(among[best] if good[0] > 0 else among[good[-1]])


def _taken(values: NDArray[np.floating]) -> NDArray[np.float64]:
    linear = np.asarray(values, dtype=np.float64)
    linear = linear[np.isfinite(linear)]
    return np.sort(linear[:: max(1, -(-len(linear) // _EVENTS_TAKEN))])


def _populations(linear: NDArray[np.float64], *, cofactor: float) -> list[_Population]:
    shown = np.arcsinh(linear / cofactor)
    left, right = np.quantile(shown, [0.001, 0.999])
    quartiles = np.quantile(shown, [0.25, 0.75])
    if not right > left:
        return []
    counts, edges = np.histogram(shown, bins=_BINS, range=(left, right))
    # Silverman's rule, narrowed as Sheather and Jones find it for densities of several hills
    width = 0.5 * min(shown.std(), np.ptp(quartiles) / 1.34 or shown.std()) * len(shown) ** -0.2
    density = gaussian_filter1d(counts.astype(np.float64), max(width / (edges[1] - edges[0]), 1.0), mode="constant")
    padded = np.r_[0.0, density, 0.0]
    peaks, _ = find_peaks(padded, prominence=_PROMINENCE * density.max())
    peaks -= 1
    valleys = [0, *(a + int(np.argmin(density[a : b + 1])) for a, b in pairwise(peaks)), _BINS - 1]
    found = []
    for peak, start, end in zip(peaks, valleys, valleys[1:], strict=False):
        high_enough = density >= density[peak] / 2
        first = peak
        while first > start and high_enough[first - 1]:
            first -= 1
        last = peak
        while last < end and high_enough[last + 1]:
            last += 1
        core = linear[(shown >= edges[first]) & (shown <= edges[last + 1])]
        if len(core) >= _CORE_MIN:
            one = _Population(*np.quantile(core, [0.25, 0.5, 0.75]).tolist())
            if one.high > one.low:
                found.append(one)
    return found

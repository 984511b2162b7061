"""The valley between two hills of a distribution, where it is deep enough to be believed."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BINS: Final = 256
_SMOOTH: Final = 5.0
# standard deviations of counting noise by which the lower hill must rise above the valley
_SURE: Final = 4.0
_FEW: Final = 30
_SHARE: Final = 0.003


def find_valley(values: NDArray[np.floating], *, depth: float = 0.5, apart: float = 0.0) -> float:
    """Find the value that parts two hills of a distribution; nan where there is no deep valley.

    depth: how high the valley may be, as a share of the lower hill. apart: how far the medians of both sides must
    lie from each other. Of several valleys the one between the highest hills. Both sides hold at least 0.3 % of the
    values and 30 of them.

    >>> rng = np.random.default_rng(0)
    >>> hills = np.r_[rng.normal(0, 1, 900), rng.normal(8, 1, 100)]
    >>> 2.5 < find_valley(hills) < 6, find_valley(rng.normal(0, 1, 1000))
    (True, nan)
    """
    values = values[np.isfinite(values)]
    if len(values) < 2 * _FEW:
        return float("nan")
    low, high = np.quantile(values, [0.0005, 0.9995])
    if high <= low:
        return float("nan")
    counts, edges = np.histogram(np.clip(values, low, high), bins=_BINS, range=(float(low), float(high)))
    smooth = gaussian_filter1d(counts.astype(np.float64), _SMOOTH, mode="constant")
    middle = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    few = max(_FEW, _SHARE * len(values))
    best = (0.0, float("nan"))
    hills = find_peaks(np.r_[0, smooth, 0])[0] - 1
    for left, right in itertools.pairwise(hills):
        k = int(left + np.argmin(smooth[left : right + 1]))
        hill = float(min(smooth[: k + 1].max(), smooth[k:].max()))
        # the variance of a smoothed count is the count over 2·√π·σ
        noise = np.sqrt((hill + smooth[k]) / (2 * np.sqrt(np.pi) * _SMOOTH))
        both = min(below[k], len(values) - below[k]) >= few
        if both and smooth[k] <= depth * hill and hill - smooth[k] >= _SURE * noise:
            sides = values > middle[k]
            if np.median(values[sides]) - np.median(values[~sides]) >= apart:
                best = max(best, (hill, float(middle[k])))
    return best[1]

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
# widths of the smoothing, in bins: hills of few events show at a wide one only
_SMOOTH: Final = (5.0, 10.0)
# standard deviations of counting noise by which the lower hill must rise above the valley
_SURE: Final = 3.0
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
    middle = (edges[:-1] + edges[1:]) / 2
    for width in _SMOOTH:
        for k in _valleys(counts, width=width, depth=depth):
            above = values > middle[k]
            if min(above.sum(), (~above).sum()) < max(_FEW, _SHARE * len(values)):
                continue
            if np.median(values[above]) - np.median(values[~above]) >= apart:
                return float(middle[k])
    return float("nan")


def _valleys(counts: NDArray[np.intp], *, width: float, depth: float) -> list[int]:
    """Bins of the valleys that are deep and sure, those between the highest hills first, then the deepest."""
    smooth = gaussian_filter1d(counts.astype(np.float64), width, mode="constant")
    found = []
    hills = find_peaks(np.r_[0, smooth, 0])[0] - 1
    for left, right in itertools.pairwise(hills):
        k = int(left + np.argmin(smooth[left : right + 1]))
        hill = float(min(smooth[: k + 1].max(), smooth[k:].max()))
        # the variance of a smoothed count is the count over 2·√π·width
        noise = np.sqrt((hill + smooth[k]) / (2 * np.sqrt(np.pi) * width))
        if smooth[k] <= depth * hill and hill - smooth[k] >= _SURE * noise:
            found.append((hill, -float(smooth[k]), k))
    return [k for _, _, k in sorted(found, reverse=True)]

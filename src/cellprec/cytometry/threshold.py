"""From which value on a marker counts as positive."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from cellprec import keys

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

_BINS: Final = 128
_SMOOTH: Final = 3.0
# what a valley must be: this much lower than both hills, this sure against counting noise, this much of the variance
_DEPTH: Final = 1.1
_DEVIATIONS: Final = 2.5
_VALLEY_SHARE: Final = 0.3
# Otsu's cut explains 64 % of the variance of one normal distribution, whatever it means
_OTSU_SHARE: Final = 0.70
# arcsinh(x / 5): six counts, below which a mass channel holds background only
_MASS_FLOOR: Final = 1.0
_ONE_SIDED: Final = 0.9


class Threshold(NamedTuple):
    """Where a marker becomes positive, and how that was found: ``valley``, ``otsu``, ``scale`` or ``none``."""

    value: float
    how: str


def find_threshold(
    adata: AnnData, *, channel: str, weights: NDArray[np.float64], rows: NDArray[np.bool_] | None = None
) -> Threshold:
    """Find the value from which on a marker counts as positive, on the transformed scale.

    The valley between two hills of the weighted distribution; where there is none, the cut of Otsu if it explains at
    least 70 % of the variance; else the end of the background on the scale itself, if nearly all events lie
    on one side of it; else none (nan), because one broad hill does not say where it ends.
    Source: Otsu 1979, IEEE Trans Syst Man Cybern 9:62.

    >>> import anndata, numpy as np, pandas as pd
    >>> values = np.random.default_rng(0).normal([1.0] * 500 + [4.0] * 500, 0.4).astype("float32")
    >>> adata = anndata.AnnData(values[:, None], var=pd.DataFrame({"kind": ["mass"]}, index=["CD3"]))
    >>> found = find_threshold(adata, channel="CD3", weights=np.ones(1000))
    >>> found.how, 2 < found.value < 3
    ('valley', True)
    """
    i = int(adata.var_names.get_loc(channel))
    values = np.asarray(adata.X)[:, i].astype(np.float64)
    kept = np.isfinite(values) if rows is None else np.isfinite(values) & rows
    values, weights = values[kept], weights[kept]
    if not len(values) or np.ptp(values) == 0:
        return Threshold(np.nan, "none")
    floor = _MASS_FLOOR if str(adata.var[keys.KIND].iloc[i]) == "mass" else -np.inf
    found = _from_shape(values, weights=weights, floor=floor)
    if found.how == "none":
        end = _background_end(adata, i)
        above = float(np.average(values > end, weights=weights)) if np.isfinite(end) else 0.5
        if max(above, 1 - above) >= _ONE_SIDED:
            return Threshold(end, "scale")
    return found


def _from_shape(values: NDArray[np.float64], *, weights: NDArray[np.float64], floor: float) -> Threshold:
    low, high = np.quantile(values, [0.0005, 0.9995])
    if high <= low:
        return Threshold(np.nan, "none")
    counts, edges = np.histogram(np.clip(values, low, high), bins=_BINS, range=(low, high), weights=weights)
    middle = (edges[:-1] + edges[1:]) / 2
    # events that the weights are worth, for the counting noise
    counts = counts / counts.sum() * weights.sum() ** 2 / (weights**2).sum()
    smooth = gaussian_filter1d(counts, _SMOOTH, mode="nearest")
    share = _explained(counts, middle=middle)
    hills = find_peaks(np.r_[0, smooth, 0])[0] - 1
    best = (0.0, np.nan)
    for left, right in itertools.pairwise(hills):
        k = int(left + np.argmin(smooth[left : right + 1]))
        side = min(smooth[: k + 1].max(), smooth[k:].max())
        sure = (side - smooth[k]) * np.sqrt(2 * np.sqrt(np.pi) * _SMOOTH) / np.sqrt(side + smooth[k])
        if side >= _DEPTH * smooth[k] and sure >= _DEVIATIONS and share[k] >= _VALLEY_SHARE and middle[k] >= floor:
            best = max(best, (float(share[k]), float(middle[k])))
    if np.isfinite(best[1]):
        return Threshold(best[1], "valley")
    k = int(np.argmax(share))
    if share[k] >= _OTSU_SHARE and middle[k] >= floor:
        return Threshold(float(middle[k]), "otsu")
    return Threshold(np.nan, "none")


def _explained(counts: NDArray[np.float64], *, middle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the variance that lies between the two sides of a cut after each bin."""
    weight = np.cumsum(counts) / counts.sum()
    moment = np.cumsum(counts * middle) / counts.sum()
    total = float((counts * middle**2).sum() / counts.sum() - moment[-1] ** 2)
    spread = weight * (1 - weight) * total
    between = (moment[-1] * weight - moment) ** 2
    return np.asarray(np.divide(between, spread, out=np.zeros_like(between), where=spread > 1e-12))


def _background_end(adata: AnnData, i: int) -> float:
    """The end of what an unstained cell shows on this scale; nan where the scale does not say."""
    row = adata.var.iloc[i]
    scale = str(row.get(keys.TRANSFORM, "none"))
    if scale == "logicle":
        zero = (row[f"{keys.TRANSFORM}_w"] + row[f"{keys.TRANSFORM}_a"]) / (
            row[f"{keys.TRANSFORM}_m"] + row[f"{keys.TRANSFORM}_a"]
        )
        # w was chosen to hold the negative half of the background; the other half mirrors it
        return float(zero + max(zero, 0.15))
    # mass data that come transformed are arcsinh(x / 5) too
    if scale in ("arcsinh", "none") and str(row[keys.KIND]) == "mass":
        return _MASS_FLOOR
    return np.nan

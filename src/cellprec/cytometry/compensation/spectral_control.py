"""One single-stain control: which events are stained, what they would show without the dye, and the dye's spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from scipy.stats import trim_mean

from cellprec import keys
from cellprec.cytometry.compensation.detectors import channel_names, is_saturated

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

FEW: Final = 50
_NORMAL: Final = 1.4826
_ROUNDS: Final = 5
# share of the events cut off at either end of a mean
_TRIM: Final = 0.1
# distance of the two sides of a cut over their widths: 1.14 for one normal distribution, 1.35 for a uniform one
_TWO_GROUPS: Final = 1.6


class Events:
    """The usable events of a control: detectors and scatter."""

    def __init__(self, adata: AnnData, *, detectors: list[str]) -> None:
        channels = channel_names(adata)
        held = np.asarray(adata.layers.get(keys.RAW, adata.X))
        usable = np.isfinite(held).all(axis=1)
        if keys.KEEP in adata.obs:
            usable &= adata.obs[keys.KEEP].to_numpy(dtype=bool)
        values = held[:, [channels.index(name) for name in detectors]]
        saturated = is_saturated(adata, detectors=detectors, values=values)
        self.n_saturated = int((saturated & usable).sum())
        usable &= ~saturated
        self.values = values[usable].astype(np.float64)
        places = [channels.index(name) for name in ("FSC-A", "SSC-A") if name in channels]
        self.scatter = held[usable][:, places].astype(np.float64)


class _Background(NamedTuple):
    center: NDArray[np.float64]
    spread: NDArray[np.float64]
    n: int
    name: str


class Stain(NamedTuple):
    """What a control says: the spectrum (detectors, peak 1), or why there is none, and how to mend it."""

    spectrum: NDArray[np.float64] | None
    what: str = ""
    fix: str = ""
    stained: int = 0
    unstained: int = 0
    background: str = ""
    stain_index: float = np.nan


def read_control(sample: Events, *, blank: Events | None) -> Stain:
    """Read the spectrum of a dye from the events of its control, and those of an unstained sample where there is one.

    >>> import anndata, numpy as np
    >>> rng = np.random.default_rng(0)
    >>> dye = np.repeat([0.0, 1000.0], 100)[:, None] * [1.0, 0.25] + rng.normal(0, 5, (200, 2))
    >>> sample = Events(anndata.AnnData(dye, var={"channel": ["B1-A", "B2-A"]}), detectors=["B1-A", "B2-A"])
    >>> read_control(sample, blank=None).spectrum.round(1).tolist()
    [1.0, 0.2...]
    """
    if len(sample.values) < FEW:
        lost = f" ({sample.n_saturated} more are saturated)" if sample.n_saturated else ""
        what = f"only {len(sample.values)} usable events{lost}"
        return Stain(None, what, "measure more events, at lower voltages where they are saturated")
    # beads are no background of cells, nor cells of beads
    if blank is not None and _scatters_like(blank.scatter, reference=sample.scatter).sum() < FEW:
        blank = None
    base, color = _first_guess(sample, blank=blank)
    background: _Background | None = None
    stained = np.zeros(len(sample.values), dtype=bool)
    own = np.zeros(len(sample.values), dtype=bool)
    for _ in range(_ROUNDS):
        filtered = _filter(color, unstained=blank.values if blank is not None else sample.values[own])
        zero = None if blank is None else (blank.values - base) @ filtered
        stained, own = _split((sample.values - base) @ filtered, zero=zero)
        background = _background(sample, stained=stained, own=own, blank=blank)
        if stained.sum() < FEW or background is None:
            break
        base = background.center
        like = stained & _scatters_like(sample.scatter, reference=sample.scatter[stained])
        color = _slope(sample.values[like if like.sum() >= FEW else stained] - base, color=color, filtered=filtered)
    n = int(stained.sum())
    if n < FEW:
        return Stain(
            None, f"only {n} events are stained", "check that the dye was added and that the tube is the right"
        )
    if background is None:
        fix = "give an unstained sample of the same beads or cells"
        return Stain(None, "no unstained events stand clearly apart from the stained ones", fix)
    peak = int(np.argmax(color))
    above = float(np.median(sample.values[stained, peak]) - base[peak])
    if above <= 0:
        return Stain(None, "the stained events are no brighter than the background", "check which tube is which")
    index = above / (2 * max(float(background.spread[peak]), 1e-12))
    return Stain(color / color[peak], "", "", n, background.n, background.name, index)


def _first_guess(sample: Events, *, blank: Events | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The background, and what the brightest events have beyond it, by the detector in which they stand out most."""
    if blank is not None:
        base, width = np.median(blank.values, axis=0), spread(blank.values)
        reach = np.quantile(sample.values, 0.99, axis=0) - np.quantile(blank.values, 0.99, axis=0)
    else:
        base = np.quantile(sample.values, 0.1, axis=0)
        width = base - np.quantile(sample.values, 0.02, axis=0)
        reach = np.quantile(sample.values, 0.99, axis=0) - base
    # between the brightest detector and the one with the best ratio of signal and noise
    first = int(np.argmax(reach / np.sqrt(width + float(np.median(width)) + 1e-9)))
    bright = sample.values[:, first] >= np.quantile(sample.values[:, first], 0.98)
    return base, np.median(sample.values[bright], axis=0) - base


def _filter(color: NDArray[np.float64], *, unstained: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of the detectors that tell the dye from what varies without it (the matched filter, 1 for ``color``)."""
    weight = np.asarray(color)
    if len(unstained) >= FEW:
        covariance = np.cov(unstained, rowvar=False).reshape(len(color), -1)
        ridge = 0.1 * float(np.trace(covariance)) / len(color) + 1e-12
        weight = np.asarray(np.linalg.solve(covariance + ridge * np.eye(len(color)), color), dtype=np.float64)
    return np.asarray(weight / max(float(weight @ color), 1e-300))


def _split(
    score: NDArray[np.float64], *, zero: NDArray[np.float64] | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The stained and the unstained events of a control, by the amount of dye each holds."""
    # the cut of Otsu on a scale that is linear within the background and logarithmic above it
    width = float(np.quantile(score, 0.99) - np.quantile(score, 0.01)) / 200
    low = np.ones(len(score), dtype=bool)
    for _ in range(3):
        scaled = np.arcsinh((score - np.median(score[low])) / max(2 * width, 1e-12))
        low = scaled <= _otsu(scaled)
        width = max(float(spread(score[low, None])[0]), width / 10)
    high = ~low
    if zero is not None:
        edge = float(np.quantile(zero, 0.995))
        above = score > edge
        # where the lower half is no background either, all of the control is stained
        own = low & ~above
        return above & (high | (own.sum() < FEW)), own
    # without an unstained sample two groups must be there: apart by more than their width
    if min(low.sum(), high.sum()) < FEW:
        return high, np.zeros(len(score), dtype=bool)
    apart = float(np.median(scaled[high]) - np.median(scaled[low]))
    widths = float(spread(scaled[high, None])[0] + spread(scaled[low, None])[0])
    return high, low if apart > _TWO_GROUPS * widths else np.zeros(len(score), dtype=bool)


def _background(
    sample: Events, *, stained: NDArray[np.bool_], own: NDArray[np.bool_], blank: Events | None
) -> _Background | None:
    """What the stained events would show without the dye: events that scatter like them."""
    if blank is not None:
        like = _scatters_like(blank.scatter, reference=sample.scatter[stained])
        if like.sum() >= FEW:
            return _summary(blank.values[like], name="unstained sample")
    if own.sum() >= FEW:
        like = own.copy()
        like[own] = _scatters_like(sample.scatter[own], reference=sample.scatter[stained])
        if like.sum() >= FEW:
            return _summary(sample.values[like], name="own unstained events, by scatter")
        return _summary(sample.values[own], name="own unstained events")
    return None


def _summary(values: NDArray[np.float64], *, name: str) -> _Background:
    return _Background(trim_mean(values, _TRIM, axis=0), spread(values), len(values), name)


def _scatters_like(scatter: NDArray[np.float64], *, reference: NDArray[np.float64]) -> NDArray[np.bool_]:
    if not scatter.shape[1] or not len(reference):
        return np.ones(len(scatter), dtype=bool)
    low, high = np.quantile(reference, [0.05, 0.95], axis=0)
    return np.asarray(((scatter >= low) & (scatter <= high)).all(axis=1))


def _slope(
    above: NDArray[np.float64], *, color: NDArray[np.float64], filtered: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Slope of each detector on the amount of dye, through the background.

    With a variance that grows with the amount, the best weighted slope is a ratio of sums; here of trimmed ones, after
    the slope so far is taken off, so that dead cells do not bend it. The amount is taken from all detectors together,
    so that the choice of bright events favors the noise of none.
    """
    amount = above @ filtered
    bright = amount >= (np.median(amount) if len(amount) >= 4 * FEW else -np.inf)
    left = above[bright] - amount[bright, None] * color
    slope = color + trim_mean(left, _TRIM, axis=0) / max(float(amount[bright].mean()), 1e-300)
    return np.asarray(slope / max(float(slope.max()), 1e-300))


def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scaled median absolute deviation of each column.

    >>> import numpy as np
    >>> spread(np.array([[1.0], [2.0], [3.0]]))
    array([1.4826])
    """
    return np.asarray(_NORMAL * np.median(np.abs(values - np.median(values, axis=0)), axis=0))


def _otsu(values: NDArray[np.float64]) -> float:
    """The cut that leaves the least variance within the two sides (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=200)
    middle = (edges[:-1] + edges[1:]) / 2
    weight = np.cumsum(counts) / counts.sum()
    moment = np.cumsum(counts * middle) / counts.sum()
    inside = weight * (1 - weight)
    between = np.divide((moment[-1] * weight - moment) ** 2, inside, out=np.zeros(len(middle)), where=inside > 1e-12)
    return float(edges[1 + int(np.argmax(between))])

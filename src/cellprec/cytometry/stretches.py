"""Stretches of a run that leave its stable level: which bins, how far, in which features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# one false stretch in this many stable runs, before the size of the effect is asked for
_RUNS: Final = 100
_LEVEL, _RISE, _FALL = 0, 1, 2
# stretches longer than this begin on a grid this coarse, which is fine for their length
_LONG: Final = 64
_GRID: Final = 8


class Stretch(NamedTuple):
    """Bins ``start`` to ``stop`` (without it) that left the level, and how far each feature went at its farthest.

    effect: per feature, in units of ``z``/``sqrt(size)``; sure: which features did leave; drifts: whether the
    distance grows or shrinks along the stretch.
    """

    start: int
    stop: int
    effect: NDArray[np.float64]
    sure: NDArray[np.bool_]
    drifts: bool


def find_stretches(z: NDArray[np.float64], *, correlation: NDArray[np.float64], lines: bool = True) -> list[Stretch]:
    """Find the stretches of a series whose mean is not zero.

    z: bins × features, each with mean 0 and variance 1 while the run is stable. correlation: features × features.
    lines: look for straight lines too, not for levels only.
    A stretch has a level of its own in some features, or leads away from zero or back to it in a straight line. The
    set of stretches that saves most squared deviation, each at the price below, is found by dynamic programming:
    the collective anomalies of Fisch, Eckley & Fearnhead 2022 (J Comput Graph Stat 31:574), with the price
    2ψ + 2·log(p) where the strongest of p features pays it, and the bound of Laurent & Massart 2000 (Ann Stat
    28:1302) for correlated features where all pay together. ψ = log(bins) + log(100).

    >>> z = np.random.default_rng(0).normal(size=(100, 3))
    >>> z[40:50, 1] += 4
    >>> [(found.start, found.stop, found.sure.tolist()) for found in find_stretches(z, correlation=np.eye(3))]
    [(40, 50, [False, True, False])]
    """
    n, p = z.shape
    if not p:
        return []
    psi = np.log(n) + np.log(_RUNS)
    values = np.linalg.eigvalsh(correlation)
    dense = p + 2 * np.sqrt((values**2).sum() * psi) + 2 * values.max() * psi
    single = 2 * psi + 2 * np.log(p)
    sums = np.vstack([np.zeros(p), np.cumsum(z, axis=0)]).astype(np.float64)
    moments = np.vstack([np.zeros(p), np.cumsum((np.arange(n) + 0.5)[:, None] * z, axis=0)])
    best = np.zeros(n + 1)
    came: list[tuple[int, int] | None] = [None] * (n + 1)
    for stop in range(1, n + 1):
        best[stop] = best[stop - 1]
        near = max(0, stop - _LONG)
        starts = np.r_[np.arange(0, near, _GRID), np.arange(near, stop)]
        for model in (_LEVEL, _RISE, _FALL) if lines else (_LEVEL,):
            saved = _saving(sums, moments, starts=starts, stop=stop, model=model)
            gain = np.maximum(saved.max(axis=1) - single, saved.sum(axis=1) - dense)
            gain = np.where(gain > 0, gain + best[starts], -np.inf)
            i = int(np.argmax(gain))
            if gain[i] > best[stop] + 1e-9:
                best[stop] = gain[i]
                came[stop] = (int(starts[i]), model)
    return _trace(came, sums=sums, moments=moments, price=2 * np.log(max(p, 2)) + 4)


def _saving(
    sums: NDArray[np.float64], moments: NDArray[np.float64], *, starts: NDArray[np.intp], stop: int, model: int
) -> NDArray[np.float64]:
    """Squared deviation that a model explains, for stretches from each start to ``stop``."""
    length = (stop - starts)[:, None].astype(np.float64)
    total = sums[stop] - sums[starts]
    if model == _LEVEL:
        return np.asarray(total**2 / length)
    along = moments[stop] - moments[starts]
    along = along - starts[:, None] * total if model == _RISE else stop * total - along
    # the sum of (k + 1/2)² over k < length
    return np.asarray(along**2 / (length * (4 * length**2 - 1) / 12))


def _trace(
    came: list[tuple[int, int] | None],
    *,
    sums: NDArray[np.float64],
    moments: NDArray[np.float64],
    price: float,
) -> list[Stretch]:
    found = []
    stop = len(came) - 1
    while stop > 0:
        step = came[stop]
        if step is None:
            stop -= 1
            continue
        start, model = step
        length = stop - start
        total = sums[stop] - sums[start]
        along = moments[stop] - moments[start]
        if model == _LEVEL:
            effect = total / length
        else:
            along = along - start * total if model == _RISE else stop * total - along
            effect = along / (length * (4 * length**2 - 1) / 12) * length
        sure = _saving(sums, moments, starts=np.array([start]), stop=stop, model=model)[0] > price
        found.append(Stretch(start, stop, effect, sure, drifts=model != _LEVEL))
        stop = start
    return found[::-1]

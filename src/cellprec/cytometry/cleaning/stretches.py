"""Stretches of a run that leave its stable level: which bins, how far, in which features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# false stretches to be expected in a stable run, were all stretches independent (they overlap: a hundredth of it)
_FALSE: Final = 0.1
# share of the identity in a correlation matrix that is inverted
_RIDGE: Final = 0.1
# squared deviations, in variances, that leave no doubt of a line
_PROOF: Final = 100.0
_TIMES: Final = 3
_LEVEL, _RISE, _FALL = 0, 1, 2
# stretches longer than this begin on a grid this coarse, which is fine for their length
_LONG: Final = 64
_GRID: Final = 8


class Stretch(NamedTuple):
    """Bins ``start`` to ``stop`` (without it) that left the level, and how far each feature went at its farthest.

    effect: per feature, in units of ``z``/``sqrt(size)``; sure: which features did leave; model: a level,
    a line away from zero, or a line back to it.
    """

    start: int
    stop: int
    effect: NDArray[np.float64]
    sure: NDArray[np.bool_]
    model: int

    @property
    def drifts(self) -> bool:
        """Whether the distance grows or shrinks along the stretch."""
        return self.model != _LEVEL


def find_stretches(z: NDArray[np.float64], *, correlation: NDArray[np.float64], lines: bool = True) -> list[Stretch]:
    """Find the stretches of a series whose mean is not zero.

    z: bins × features, each with mean 0 and variance 1 while the run is stable. correlation: features × features.
    lines: look for straight lines too, not for levels only.
    A stretch has a level of its own in some features, or leads away from zero or back to it in a straight line. The
    set of stretches that saves most squared deviation, each at the price below, is found by dynamic programming:
    the collective anomalies of Fisch, Eckley & Fearnhead 2022 (J Comput Graph Stat 31:574), with the price
    2ψ + 2·log(p) where the strongest of p features pays it, and the bound of Laurent & Massart 2000 (Ann Stat
    28:1302) for correlated features where all pay together. ψ = log(bins·(bins + 1)/2) + log(10). The ends of each
    stretch are then sought along the one direction in which it differs most (Fisher 1936, Ann Eugen 7:179).

    >>> z = np.random.default_rng(0).normal(size=(100, 3))
    >>> z[40:50, 1] += 4
    >>> [(found.start, found.stop, found.sure.tolist()) for found in find_stretches(z, correlation=np.eye(3))]
    [(40, 50, [False, True, False])]
    """
    n, p = z.shape
    if not p:
        return []
    psi = np.log(n * (n + 1) / 2) - np.log(_FALSE)
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
    found = _trace(came, sums=sums, moments=moments, price=2 * np.log(max(p, 2)) + 4)
    return _sharpen(found, z=z, correlation=correlation)


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
        found.append(Stretch(start, stop, effect, sure, model))
        stop = start
    return found[::-1]


def _sharpen(found: list[Stretch], *, z: NDArray[np.float64], correlation: NDArray[np.float64]) -> list[Stretch]:
    """Move the ends of each stretch, no farther than its neighbors, to where they save most along one direction."""
    n = len(z)
    mixed = (1 - _RIDGE) * correlation + _RIDGE * np.eye(len(correlation))
    inverse = np.linalg.inv(mixed)
    moved: list[Stretch] = []
    for i, stretch in enumerate(found):
        weights = inverse @ stretch.effect
        along = z @ weights / np.sqrt(weights @ correlation @ weights)
        start, stop = stretch.start, stretch.stop
        # no farther than half its length: beyond may lie slow changes too small to have been found
        reach = (stop - start + 1) // 2
        first = max(moved[-1].stop if moved else 0, start - reach)
        last = min(found[i + 1].start if i + 1 < len(found) else n, stop + reach)
        if stretch.model != _FALL:
            start = _begin(along, first=first, start=start, stop=stop, model=stretch.model)
        if stretch.model != _RISE:
            # the end of a stretch is where it begins, looked at from behind
            model = _RISE if stretch.model == _FALL else _LEVEL
            stop = n - _begin(along[::-1], first=n - last, start=n - stop, stop=n - start, model=model)
        moved.append(stretch._replace(start=start, stop=stop))
    return moved


def _begin(along: NDArray[np.float64], *, first: int, start: int, stop: int, model: int) -> int:
    """Where a stretch that ends at ``stop`` begins, not before ``first``."""
    sums = np.r_[0, np.cumsum(along)][:, None]
    moments = np.r_[0, np.cumsum((np.arange(len(along)) + 0.5) * along)][:, None]
    for _ in range(_TIMES):
        end = stop
        if model == _RISE:
            # ranks saturate far from the level: only the part that proves the line says where it begins
            here = np.array([start])
            ends = range(start + 1, stop + 1)
            proof = [float(_saving(sums, moments, starts=here, stop=k, model=model)[0, 0]) for k in ends]
            end = next((k for k, saved in zip(ends, proof, strict=True) if saved >= _PROOF), stop)
        starts = np.arange(first, end)
        start = int(starts[np.argmax(_saving(sums, moments, starts=starts, stop=end, model=model))])
    return start

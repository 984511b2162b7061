"""The calibration beads of a mass cytometry run: which events they are."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

_NORMAL: Final = 1.4826
_MADS: Final = 5.0
# no bead is dimmer than this, nor less than three times as bright as the DNA of its event
_DIMMEST: Final = 30.0
_OVER_DNA: Final = 3.0
# intercalator less than this, on arcsinh(x / 5), above that of the darkest tenth of the beads is no cell
_DNA_SLACK: Final = 2.0
_DARKEST: Final = 0.1
# beads of one run differ by some 10 % between their metals; a population of more than this is none of beads
_LOOSEST: Final = 0.35
_FEWEST: Final = 8
_LOCAL: Final = 101
_SAMPLED: Final = 1000
# a run whose ends hold fewer beads than this on each side takes them all
_SHORTEST: Final = 25

Floats = NDArray[np.float64]


class Beads(NamedTuple):
    """Which events are beads alone, which hold a bead at all, and the logarithms of the former (beads × channels)."""

    alone: NDArray[np.bool_]
    holding: NDArray[np.bool_]
    logs: Floats


def find_beads(signal: Floats, *, dna: Floats, position: NDArray[np.intp]) -> Beads:
    """Find the events that are calibration beads, whatever the sensitivity of the instrument and its drift.

    Candidates are bright in every bead channel and dark in DNA. Beads all hold the metals in the same proportions:
    the densest place among the proportions of the candidates is theirs, and every candidate within 5 scaled median
    absolute deviations of it, and of the running median of the brightness, is a bead alone. An event at least
    half as bright as the beads around it, in every bead channel, holds a bead, alone or stuck to something.

    signal: events × bead channels, counts. dna: events × DNA channels, may have none.
    position: rank of each event in time.

    >>> rng = np.random.default_rng(0)
    >>> cells, beads = rng.gamma(1, 20, (900, 5)), rng.normal(1000, 100, (100, 5))
    >>> dna = np.r_[rng.normal(300, 30, 900), rng.gamma(1, 1, 100)][:, None]
    >>> found = find_beads(np.vstack([cells, beads]), dna=dna, position=np.arange(1000))
    >>> int(found.alone[:900].sum()), bool(found.alone[900:].sum() >= 98)
    (0, True)
    """
    logs = np.log(np.maximum(np.nan_to_num(signal), 1.0))
    nobody = np.zeros(len(signal), dtype=bool)
    none = Beads(nobody, nobody.copy(), logs[:0])
    darkest = _OVER_DNA * dna.max(axis=1) if dna.shape[1] else np.zeros(len(signal))
    dimmest = signal.min(axis=1)
    candidates = np.flatnonzero((dimmest > _DIMMEST) & (dimmest > darkest))
    if len(candidates) < _FEWEST:
        return none
    candidates = candidates[np.argsort(position[candidates], kind="stable")]
    level = logs[candidates].mean(axis=1)
    stays = _of_one_profile(logs[candidates] - level[:, None])
    if stays is None:
        return none
    for _ in range(3):
        stays = stays & _of_one_level(level, among=stays)
    if dna.shape[1] and stays.any():
        # not around their median: most beads of a run may be stuck to a cell
        glow = np.arcsinh(dna[candidates].max(axis=1) / 5)
        stays &= glow <= np.quantile(glow[stays], _DARKEST) + _DNA_SLACK
    if stays.sum() < _FEWEST:
        return none
    beads = candidates[stays]
    alone = nobody.copy()
    alone[beads] = True
    return Beads(alone, alone | _holding(logs, beads=beads, position=position), logs[alone])


def rolling_median(values: Floats, *, window: int) -> Floats:
    """Return the running median of each column, the window narrowing towards both ends so that a drift is not cut.

    >>> rolling_median(np.arange(200.0)[:, None], window=101)[[60, 100], 0].tolist()
    [60.0, 100.0]
    """
    half = min(window // 2, len(values))
    rolled = pd.DataFrame(values).rolling(2 * half + 1, center=True).median().to_numpy(copy=True)
    start = min(half, (len(values) + 1) // 2)
    rolled[:start] = _start_medians(values, half=half)[:start]
    rest = min(half, len(values) // 2)
    rolled[len(values) - rest :] = _start_medians(values[::-1], half=half)[:rest][::-1]
    return np.asarray(rolled)


def _start_medians(values: Floats, *, half: int) -> Floats:
    """Return running medians at the start: the window reaches as far ahead of a value as the start lies behind it."""
    places = np.arange(half)
    ends = np.minimum(places + np.maximum(places, min(half, _SHORTEST)), len(values) - 1)
    return np.asarray(pd.DataFrame(values[: int(ends.max(initial=0)) + 1]).expanding().median().to_numpy()[ends])


def _of_one_profile(profile: Floats) -> NDArray[np.bool_] | None:
    """Which candidates share the proportions found most densely; None where no proportions are shared."""
    sampled = profile[:: max(1, len(profile) // _SAMPLED)]
    tree = cKDTree(sampled)
    near = max(_FEWEST, len(sampled) // 4)
    distances, _ = tree.query(sampled, k=min(near, len(sampled)))
    densest = sampled[int(np.argmin(distances[:, -1]))]
    distance = np.linalg.norm(profile - densest, axis=1)
    inside = (
        distance <= np.partition(distance, max(_FEWEST, len(profile) // 4) - 1)[max(_FEWEST, len(profile) // 4) - 1]
    )
    for _ in range(50):
        center = np.median(profile[inside], axis=0)
        spread = np.maximum(_NORMAL * np.median(np.abs(profile[inside] - center), axis=0), 0.01)
        grown = np.asarray((np.abs(profile - center) <= _MADS * spread).all(axis=1))
        if (grown == inside).all():
            break
        inside = grown
        if not inside.any():
            return None
    return inside if float(spread.max()) <= _LOOSEST else None


def _of_one_level(level: Floats, *, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
    if not among.any():
        return among
    places = np.flatnonzero(among)
    smooth = rolling_median(level[places][:, None], window=_LOCAL)[:, 0]
    apart = level - np.interp(np.arange(len(level)), places, smooth)
    spread = _NORMAL * float(np.median(np.abs(apart[places])))
    return np.abs(apart) <= _MADS * max(spread, 0.02)


def _holding(logs: Floats, *, beads: NDArray[np.intp], position: NDArray[np.intp]) -> NDArray[np.bool_]:
    smooth = rolling_median(logs[beads], window=_LOCAL)
    holding = np.ones(len(logs), dtype=bool)
    for c in range(logs.shape[1]):
        holding &= logs[:, c] >= np.interp(position, position[beads], smooth[:, c]) - np.log(2)
    return holding

"""What compensation has left over, or taken too much of."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData

from cellprec import keys
from cellprec.cytometry.compensation.single_stain import find_valley, split_control
from cellprec.cytometry.compensation.spillover import biweight_slopes, median_error
from cellprec.cytometry.panel import find_channels, near_misses
from cellprec.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

VERDICTS: Final = ("over", "under", "fine", "cannot tell")
COLUMNS: Final = (
    "dye", "detector", "error", "low", "high", "verdict", "reason", "basis", "n_positive", "n_negative"
)  # fmt: skip

# 95 % of a normal distribution
_Z: Final = 1.96
_FEW: Final = 100
_STEPS: Final = 5
_MOST: Final = 100_000


class _Slope(NamedTuple):
    value: float
    aside: float
    brightest: float
    below: bool


def compensation_errors(
    adata: AnnData, *, stained: str | None = None, unstained: AnnData | None = None, tolerance: float = 0.01
) -> pd.DataFrame:
    """Say for every dye and detector whether compensation took too much, too little, or what it should.

    adata: events × channels after ``compensate`` (``layers["compensated"]``, else linear ``X``), without the dropped
    ones. stained: the channel or marker of a single-stained control, if this is one; unstained: the same particles
    without a dye, compensated as well, where the control holds no negatives.
    tolerance: an error up to this share of the light of the dye is fine.

    With ``stained`` the test is strict: the location of the stained in each detector less that of their background,
    per light of the dye, is 0 if the coefficient is right, and else its error with the sign turned. Without, on fully
    stained cells, only what cannot be biology is told: the population that is negative in the detector falls, step by
    step of the dye, below zero and below where it lies in cells without the dye. A rise may be biology: cannot tell.

    Returns one row per dye and detector: ``dye``, ``detector`` ($PnN), ``error`` (the share of the dye's light that is
    left, below 0 where too much was taken) with its 95 % interval ``low`` to ``high``, ``verdict`` (over, under,
    fine, cannot tell), ``reason``, ``basis`` (single stain, full stain), ``n_positive`` and
    ``n_negative`` events.

    Raises InputError where ``stained`` is no channel or the events are not linear, UsageError for a tolerance of 0.
    Source: Roederer 2001, Cytometry 45:194 (medians of positives and negatives); Roca et al. 2021, Nat Commun
    12:2890 (residual slopes as compensation error).

    >>> rng = np.random.default_rng(0)
    >>> var = pd.DataFrame({"channel": ["FITC-A", "PE-A"], "kind": "fluorescence"}, index=["FITC-A", "PE-A"])
    >>> dye = rng.lognormal(7, 0.4, (600, 1)) * (rng.random((600, 1)) < 0.5)
    >>> light = dye * [1, -0.05] + rng.normal(20, 5, (600, 2))
    >>> compensation_errors(AnnData(light, var=var), stained="FITC-A")[["dye", "detector", "verdict"]].values.tolist()
    [['FITC-A', 'PE-A', 'over']]
    """
    if not tolerance > 0:
        raise UsageError(f"the tolerance must be above 0, not {tolerance}", fix="0.01 is one percent of the dye")
    events, changed = _compensated(adata), _changed(adata)
    if stained is None:
        rows = _full(events, _detectors(events, preferred=changed), tolerance=tolerance)
    else:
        found = find_channels(events, names=[stained]).get(stained)
        dye = "" if found is None else str(events.var[keys.CHANNEL][found])
        # the light of a dye is that of the pulse the control is named after, whatever else was recorded of it
        names = _detectors(events, preferred=[dye, *(name for name in changed if _detector(name) != _detector(dye))])
        if dye not in names:
            near = near_misses(events, name=stained)
            fix = f"did you mean {' or '.join(near)}?" if near else "use the names of $PnN or $PnS"
            raise InputError(f"{stained!r} is no single fluorescence channel or marker of the control", fix=fix)
        blank = None if unstained is None else _compensated(unstained)
        rows = _single(events, blank, names, dye=dye, tolerance=tolerance)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _compensated(adata: AnnData) -> AnnData:
    """Return the kept events with the compensated light as their only values."""
    if keys.COMPENSATED in adata.layers:
        values = np.asarray(adata.layers[keys.COMPENSATED])
    elif keys.TRANSFORM in adata.var:
        raise InputError(
            "the events are transformed and hold no compensated layer", fix="Give the events before transform()."
        )
    else:
        values = np.asarray(adata.X)
    var = adata.var.drop(columns=[keys.TRANSFORM], errors="ignore").copy()
    if keys.CHANNEL not in var:
        var[keys.CHANNEL] = var.index.astype(str)
    kept = np.isfinite(values).all(axis=1)
    if keys.KEEP in adata.obs:
        kept &= adata.obs[keys.KEEP].to_numpy(dtype=bool)
    return AnnData(np.asarray(values[kept]), var=var)


def _changed(adata: AnnData) -> list[str]:
    """Return the channels that compensation changed."""
    if keys.COMPENSATED not in adata.layers or keys.RAW not in adata.layers:
        return []
    apart = np.asarray(adata.layers[keys.COMPENSATED]) != np.asarray(adata.layers[keys.RAW])
    names = adata.var.get(keys.CHANNEL, adata.var_names)
    return [str(name) for name, other in zip(names, apart.any(axis=0), strict=True) if other]


def _detector(channel: str) -> str:
    return re.sub(r"-[AHW]$", "", channel)


def _detectors(adata: AnnData, *, preferred: Sequence[str]) -> list[str]:
    """Return the fluorescence channels, of a detector the preferred ones, and of several the area where it is there."""
    channels = adata.var[keys.CHANNEL].astype(str).tolist()
    kinds = adata.var[keys.KIND].astype(str).tolist() if keys.KIND in adata.var else ["fluorescence"] * adata.n_vars
    light = [channel for channel, kind in zip(channels, kinds, strict=True) if kind == "fluorescence"]
    wanted = set(preferred)
    chosen = []
    for name in light:
        pulses = [other for other in light if _detector(other) == _detector(name)]
        pulses = [other for other in pulses if other in wanted] or pulses
        if name in ([other for other in pulses if other.endswith("-A")] or pulses):
            chosen.append(name)
    return chosen


def _single(
    events: AnnData, blank: AnnData | None, names: Sequence[str], *, dye: str, tolerance: float
) -> list[tuple[object, ...]]:
    stain = split_control(events, unstained=blank, name=dye, channel=dye, used=names)
    own, counts = names.index(dye), (len(stain.positive), len(stain.negative))
    others = [(j, name) for j, name in enumerate(names) if j != own]
    nothing = (np.nan, np.nan, np.nan, "cannot tell")
    if min(counts) < _FEW:
        reason = f"{counts[0]} stained and {counts[1]} background events: at least {_FEW} of each are needed"
        return [(dye, name, *nothing, reason, "single stain", *counts) for _, name in others]
    reach = np.median(stain.positive[:, own]) - np.median(stain.negative[:, own])
    if not reach > 2 * np.median(np.abs(stain.negative[:, own] - np.median(stain.negative[:, own]))):
        reason = f"the stained are no brighter in {dye} than their background"
        return [(dye, name, *nothing, reason, "single stain", *counts) for _, name in others]
    left, error = biweight_slopes(stain, own=own)
    rows: list[tuple[object, ...]] = []
    for j, name in others:
        slope, aside = float(left[j]), _Z * float(error[j])
        verdict, reason = _judge(slope, aside, tolerance=tolerance, detector=name, dye=dye)
        rows.append((dye, name, slope, slope - aside, slope + aside, verdict, reason, "single stain", *counts))
    return rows


def _judge(slope: float, aside: float, *, tolerance: float, detector: str, dye: str) -> tuple[str, str]:
    if abs(slope) > max(tolerance, aside):
        verdict = "over" if slope < 0 else "under"
        does = "takes" if slope < 0 else "leaves"
        return (
            verdict,
            f"compensation {does} {abs(slope):.1%} of the light of {dye} too much {_WHERE[verdict]} {detector}",
        )
    if aside > tolerance:
        return "cannot tell", f"the error is known to {aside:.1%} only: more events, or brighter ones, are needed"
    return "fine", ""


_WHERE: Final = {"over": "from", "under": "in"}


def _full(events: AnnData, names: Sequence[str], *, tolerance: float) -> list[tuple[object, ...]]:
    channels = events.var[keys.CHANNEL].astype(str).tolist()
    step = max(1, -(-events.n_obs // _MOST))
    light = np.asarray(events.X)[::step, [channels.index(name) for name in names]].astype(np.float64)
    rows: list[tuple[object, ...]] = []
    for i, dye in enumerate(names):
        cut = find_valley(light[:, i]) if len(light) >= _FEW else np.inf
        bright = light[:, i] > cut
        counts = (int(bright.sum()), int((~bright).sum()))
        for j, detector in enumerate(names):
            if i == j:
                continue
            if min(counts) < _FEW or not np.isfinite(cut):
                reason = f"{dye} does not part into cells with and without it"
                row = (np.nan, np.nan, np.nan, "cannot tell", reason)
            else:
                row = _fall(light[:, i], light[:, j], bright, tolerance=tolerance, names=(dye, detector))
            rows.append((dye, detector, *row, "full stain", *counts))
    return rows


def _fall(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    bright: NDArray[np.bool_],
    *,
    tolerance: float,
    names: tuple[str, str],
) -> tuple[float, float, float, str, str]:
    slope = _slope(x, y, bright)
    bounds = (slope.value, slope.value - slope.aside, slope.value + slope.aside)
    if not np.isfinite(slope.value):
        return *bounds, "cannot tell", "too few cells are bright"
    if slope.value < -max(tolerance, slope.aside) and slope.below:
        dye, detector = names
        where = f"cells bright in {dye} fall below zero in {detector}, to {slope.brightest:.3g}"
        reason = f"{where}: {-slope.value:.1%} too much is taken"
        return *bounds, "over", reason
    if slope.value > tolerance:
        return *bounds, "cannot tell", "the rise may be spillover or biology: a single-stained control would tell"
    if slope.value < -tolerance:
        return *bounds, "cannot tell", "the fall does not go below zero: it may be biology"
    if slope.aside > tolerance:
        return *bounds, "cannot tell", f"the slope is known to {slope.aside:.1%} only"
    return *bounds, "fine", ""


def _slope(x: NDArray[np.float64], y: NDArray[np.float64], bright: NDArray[np.bool_]) -> _Slope:
    """Follow the lowest population of y from the cells without the dye through those ever brighter in it."""
    order = np.flatnonzero(bright)[np.argsort(x[bright], kind="stable")]
    steps = min(_STEPS, len(order) // _FEW)
    groups = [np.flatnonzero(~bright), *np.array_split(order, max(steps, 1))]
    at, center, error = [], [], []
    for group in groups:
        low = y[group]
        low = low[low <= _end_of_lowest(low)]
        at.append(float(np.median(x[group])))
        center.append(float(np.median(low)))
        error.append(max(float(median_error(low[:, None])[0]), 1e-9))
    places, centers = np.array(at), np.array(center)
    weight = 1 / np.array(error) ** 2
    middle = np.average(places, weights=weight), np.average(centers, weights=weight)
    moment = float((weight * (places - middle[0]) ** 2).sum())
    value = float((weight * (places - middle[0]) * (centers - middle[1])).sum() / moment)
    rest = centers - middle[1] - value * (places - middle[0])
    # what a line does not explain widens the interval
    excess = max(1.0, float((weight * rest**2).sum()) / max(len(groups) - 2, 1))
    lowest = min(0.0, center[0]) - _Z * error[-1]
    return _Slope(value, _Z * float(np.sqrt(excess / moment)), center[-1], center[-1] < lowest)


def _end_of_lowest(y: NDArray[np.float64]) -> float:
    cut = find_valley(y)
    return cut if np.isfinite(cut) and (y <= cut).sum() >= _FEW // 2 else np.inf

"""The spillover matrix, estimated from single-stained controls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np
import pandas as pd

from cellprec.cytometry.compensation.single_stain import SingleStain, split_controls
from cellprec.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

Method = Literal["auto", "medians", "regression"]

# DataFrame.attrs: what the reader must know of a matrix, sentences that compensate() turns into notes
NOTES: Final = "notes"
# 95 % of a normal distribution
_Z: Final = 1.96
_MOST: Final = 5_000
_BINS: Final = 12
_BISQUARE: Final = 4.685
_BIWEIGHT: Final = 9.0
_NORMAL: Final = 1.4826
_ROUNDS: Final = 12
_CLOSE: Final = 1e-5
_WORST: Final = 1e6
# two estimates differ: by this much, and by so many standard errors
_APART: Final = 0.0075
_SIGNIFICANT: Final = 3.0
# the slope within the stained and the slope from the background to them differ by more than this
_BENT: Final = 0.03
_LOOSE: Final = 0.02


class Lines(NamedTuple):
    """One robust line per detector: background, slope and the standard error of the slope."""

    intercept: NDArray[np.float64]
    slope: NDArray[np.float64]
    error: NDArray[np.float64]


def estimate_spillover(
    controls: Mapping[str, AnnData],
    *,
    unstained: AnnData | None = None,
    channels: Sequence[str] | None = None,
    method: Method = "auto",
) -> pd.DataFrame:
    """Estimate from single-stained controls how much of each dye every other detector sees.

    controls: events × channels, linear and uncompensated as ``read_fcs`` gives them, by the name of their channel or by
    any name (then the brightest channel is taken, with a note). unstained: the same cells or beads without a dye.
    channels: those that must have a control. method: ``medians``: the median of the stained less that of the
    background, over the same difference in the channel of the dye. ``regression``: a robust line per pair through the
    stained and the background, refined on the compensated controls until no slope is left; any method uses it, with
    a note, for a control without a background. ``auto``: the coefficient that leaves the biweight location of
    the stained where that of the background is, which needs fewer events than medians and bears skewed ones; where
    the two differ by more than 0.75 % and three standard errors and the stained events do not lie along the line
    from their background, the medians are taken, with a note.

    Returns dyes × detectors, fractions with ones on the diagonal, named by $PnN: what ``compensate(spillover=)`` takes.
    ``attrs["notes"]``: sentences for the reader. ``spillover_table`` gives the evidence behind each coefficient.

    Raises StudyError with every problem of the controls at once: a channel with two controls or none, a dim control,
    an ambiguous one, too few or saturated events; InputError where a slope cannot be found.
    Source: Bagwell and Adams 1993, Ann N Y Acad Sci 677:167 (medians); Roca et al. 2021, Nat Commun 12:2890
    (regression and refinement); Beers, Flynn and Gebhardt 1990, Astron J 100:32 (biweight).

    >>> import anndata
    >>> rng = np.random.default_rng(0)
    >>> var = pd.DataFrame({"channel": ["FITC-A", "PE-A"], "kind": "fluorescence"}, index=["FITC-A", "PE-A"])
    >>> blank = anndata.AnnData(rng.normal(10, 2, (500, 2)), var=var)
    >>> stains = {}
    >>> for name, spectrum in {"FITC": [1, 0.2], "PE": [0.05, 1]}.items():
    ...     light = rng.lognormal(7, 0.5, (500, 1)) * spectrum + rng.normal(10, 2, (500, 2))
    ...     stains[name] = anndata.AnnData(light, var=var)
    >>> estimate_spillover(stains, unstained=blank).round(2)
            FITC-A  PE-A
    FITC-A    1.00   0.2
    PE-A      0.05   1.0
    """
    names, stains, notes = split_controls(controls, unstained=unstained, channels=channels)
    found = _estimate(names, stains, method=method)
    frame = pd.DataFrame(found.matrix, index=pd.Index(names), columns=pd.Index(names))
    frame.attrs[NOTES] = [*notes, *_remarks(names, stains, found)]
    return frame


def spillover_table(
    controls: Mapping[str, AnnData],
    *,
    unstained: AnnData | None = None,
    channels: Sequence[str] | None = None,
    method: Method = "auto",
) -> pd.DataFrame:
    """List the evidence behind every coefficient that ``estimate_spillover`` gives.

    Returns one row per dye and other detector: ``control``, ``dye``, ``detector``, ``spillover`` with its 95 %
    interval ``low`` and ``high`` (of sampling alone: skewed background and dirt may add half a percent), ``how`` it
    was found (``biweight``, ``medians``, ``regression``), what the ``medians`` say (nan without a background),
    ``background`` (own negatives, unstained, none), ``n_positive``,
    ``n_negative``, ``n_saturated`` (left out). Parameters and errors: as ``estimate_spillover``.

    >>> import anndata
    >>> rng = np.random.default_rng(0)
    >>> var = pd.DataFrame({"channel": ["FITC-A", "PE-A"], "kind": "fluorescence"}, index=["FITC-A", "PE-A"])
    >>> lights = {"FITC": rng.lognormal(7, 0.5, (500, 1)) * [1, 0.2], "PE": rng.lognormal(7, 0.5, (500, 1)) * [0, 1]}
    >>> stains = {n: anndata.AnnData(light + rng.normal(10, 2, (500, 2)), var=var) for n, light in lights.items()}
    >>> blank = anndata.AnnData(rng.normal(10, 2, (500, 2)), var=var)
    >>> spillover_table(stains, unstained=blank)[["dye", "detector", "spillover", "how"]].round(1).values[0].tolist()
    ['FITC-A', 'PE-A', 0.2, 'biweight']
    """
    names, stains, _ = split_controls(controls, unstained=unstained, channels=channels)
    found = _estimate(names, stains, method=method)
    rows = []
    for i, stain in enumerate(stains):
        for j, detector in enumerate(names):
            if i != j:
                value, aside = found.matrix[i, j], _Z * found.error[i, j]
                row = {"control": stain.name, "dye": stain.channel, "detector": detector, "spillover": value}
                row |= {"low": value - aside, "high": value + aside, "how": str(found.how[i, j])}
                row |= {"medians": found.medians[i, j], "background": stain.background}
                row |= {"n_positive": len(stain.positive), "n_negative": len(stain.negative)}
                rows.append(row | {"n_saturated": stain.saturated})
    return pd.DataFrame(rows)


class _Found(NamedTuple):
    matrix: NDArray[np.float64]
    error: NDArray[np.float64]
    medians: NDArray[np.float64]
    how: NDArray[np.str_]


def _estimate(names: Sequence[str], stains: Sequence[SingleStain], *, method: Method) -> _Found:
    if method not in ("auto", "medians", "regression"):
        raise UsageError(f"there is no method {method!r}", fix="auto, medians or regression")
    shape = (len(names), len(names))
    matrix, error = np.eye(len(names)), np.zeros(shape)
    medians, how = np.full(shape, np.nan), np.full(shape, "medians", dtype="<U10")
    for i, stain in enumerate(stains):
        if stain.background != "none":
            medians[i], error[i] = _by_medians(stain, own=i)
            matrix[i] = medians[i]
            if method == "auto":
                fine, of_fine = biweight_slopes(stain, own=i)
                alike = np.abs(fine - medians[i]) <= np.maximum(_APART, _SIGNIFICANT * error[i])
                alike |= _one_line(stain, fine, own=i).all()
                matrix[i, alike], error[i, alike], how[i, alike] = fine[alike], of_fine[alike], "biweight"
    by_line = [i for i, stain in enumerate(stains) if method == "regression" or stain.background == "none"]
    if by_line:
        matrix, of_lines = _refine(stains, matrix, rows=by_line)
        error[by_line], how[by_line] = of_lines[by_line], "regression"
        _raise_loose(stains, by_line, error)
    return _Found(matrix, error, medians, how)


def _raise_loose(stains: Sequence[SingleStain], rows: Sequence[int], error: NDArray[np.float64]) -> None:
    loose = [stains[i].name for i in rows if not (error[i] < _LOOSE).all()]
    if loose:
        raise InputError(
            f"the brightness of {', '.join(loose)} varies too little for a slope",
            why="without a background, only the dim against the bright events of a control tell its spillover",
            fix="give the unstained control of the same cells or beads, or one that holds negatives as well",
        )


def _by_medians(stain: SingleStain, *, own: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    bright, dark = np.median(stain.positive, axis=0), np.median(stain.negative, axis=0)
    variance = median_error(stain.positive) ** 2 + median_error(stain.negative) ** 2
    reach = bright[own] - dark[own]
    row = (bright - dark) / reach
    error = np.sqrt(variance + row**2 * variance[own]) / reach
    error[own] = 0.0
    return row, error


def median_error(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard error of each median, from the order statistics that bound it."""
    aside = min(_Z / 2 / np.sqrt(len(values)), 0.5)
    low, high = np.quantile(values, [0.5 - aside, 0.5 + aside], axis=0)
    return np.asarray((high - low) / (2 * _Z))


def robust_lines(x: NDArray[np.float64], y: NDArray[np.float64]) -> Lines:
    """Fit y = background + slope x to each column, deaf to outliers and to noise that grows with the light.

    x: events. y: events × detectors. Bisquare weights on residuals in units of their local spread along x.
    Source: Holland and Welsch 1977, Commun Stat A 6:813.

    >>> x = np.arange(200.0)
    >>> y = (5 + 0.3 * x)[:, None]
    >>> y[::10] = 1000
    >>> lines = robust_lines(x, y)
    >>> float(lines.slope[0].round(6)), float(lines.intercept[0].round(6))
    (0.3, 5.0)
    """
    order = np.argsort(x, kind="stable")
    third = max(len(x) // 3, 1)
    ends = order[:third], order[-third:]
    reach = np.median(x[ends[1]]) - np.median(x[ends[0]])
    slope = (np.median(y[ends[1]], axis=0) - np.median(y[ends[0]], axis=0)) / (reach if reach > 0 else np.inf)
    intercept = np.median(y - np.outer(x, slope), axis=0)
    error = np.full(len(slope), np.inf)
    for _ in range(_ROUNDS):
        rest = y - intercept - np.outer(x, slope)
        local = _local_spread(rest, x)
        weight = np.clip(1 - (rest / (_BISQUARE * local)) ** 2, 0, None) ** 2 / local**2
        total = weight.sum(axis=0)
        mean_x, mean_y = (weight * x[:, None]).sum(axis=0) / total, (weight * y).sum(axis=0) / total
        aside = x[:, None] - mean_x
        moment = (weight * aside**2).sum(axis=0)
        new = (weight * aside * (y - mean_y)).sum(axis=0) / moment
        change = np.abs(new - slope).max()
        slope, intercept = new, mean_y - new * mean_x
        error = 1 / np.sqrt(moment)
        if change < 1e-7:
            break
    return Lines(intercept, slope, error)


def biweight_slopes(stain: SingleStain, *, own: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find the coefficients after which the stained lie, detector by detector, where the background lies.

    Events are grouped by their control and never by their light, so that noise in the channel of the dye does not
    flatten the line; events of the control that hold no dye lie on the same line and do no harm.
    """
    bright, dark = stain.positive, stain.negative
    row, _ = _by_medians(stain, own=own)
    reach = variance = np.ones_like(row)
    for _ in range(_ROUNDS):
        sides = [_biweight(v - np.outer(v[:, own], row), along=v[:, own]) for v in (bright, dark)]
        reach = sides[0].along - sides[1].along
        variance = sides[0].error ** 2 + sides[1].error ** 2
        step = (sides[0].center - sides[1].center) / reach
        step[own] = 0.0
        row = row + step
        if np.abs(step).max() < _CLOSE:
            break
    error = np.sqrt(variance) / reach
    error[own] = 0.0
    return row, error


class _Location(NamedTuple):
    center: NDArray[np.float64]
    error: NDArray[np.float64]
    along: NDArray[np.float64]


def _biweight(values: NDArray[np.float64], *, along: NDArray[np.float64]) -> _Location:
    """Return the biweight location of each column, its standard error, and the light of the dye that it stands at.

    The spread, beyond which an event is an outlier, is judged locally along the light.
    """
    center = np.median(values, axis=0)
    local = _local_spread(values - center, along) / _NORMAL
    weight = np.ones_like(values)
    for _ in range(3):
        u = (values - center) / (_BIWEIGHT * local)
        weight = np.clip(1 - u**2, 0, None) ** 2
        center = (weight * values).sum(axis=0) / weight.sum(axis=0)
    total = weight.sum(axis=0)
    error = np.sqrt((weight**2 * (values - center) ** 2).sum(axis=0)) / total
    return _Location(center, error, (weight * along[:, None]).sum(axis=0) / total)


def _one_line(stain: SingleStain, row: NDArray[np.float64], *, own: int) -> NDArray[np.bool_]:
    """Tell in which detectors the stained events alone lie along the line that leads to their background.

    Where background makes up a part of the spread along the dye, that part may turn the line within the stained.
    """
    within = robust_lines(stain.positive[:, own], stain.positive)
    dark, bright = (np.median(np.abs(v - np.median(v, axis=0)), axis=0) for v in (stain.negative, stain.positive))
    share = min(float(dark[own] / max(bright[own], 1e-12)) ** 2, 1.0)
    turned = share * (np.abs(row) + dark / max(float(dark[own]), 1e-12))
    allowed = np.maximum(np.maximum(_BENT, turned), _SIGNIFICANT * within.error)
    return np.asarray(np.abs(within.slope - row) <= allowed)


def _local_spread(rest: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(x, kind="stable")
    parts = np.array_split(order, min(_BINS, max(len(x) // 20, 1)))
    spread = np.array([_NORMAL * np.median(np.abs(rest[part]), axis=0) for part in parts])
    at = np.array([np.median(x[part]) for part in parts])
    local = np.column_stack([np.interp(x, at, column) for column in spread.T])
    return np.asarray(np.maximum(local, 1e-9 * np.abs(rest).max() + 1e-12))


def _refine(
    stains: Sequence[SingleStain], start: NDArray[np.float64], *, rows: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correct rows of the matrix by the slopes that are left in the compensated controls, until there are none."""
    matrix, error = start.copy(), np.zeros_like(start)
    events = {i: _some(stains[i]) for i in rows}
    for _ in range(_ROUNDS):
        back = np.linalg.inv(matrix)
        left = np.zeros_like(matrix)
        for i, values in events.items():
            free = values @ back
            others = np.arange(len(matrix)) != i
            lines = robust_lines(free[:, i], free[:, others])
            left[i, others], error[i, others] = lines.slope, lines.error
        matrix = matrix + left @ matrix
        matrix /= np.diag(matrix)[:, None]
        if np.abs(left).max() < _CLOSE or not np.isfinite(matrix).all() or np.linalg.cond(matrix) > _WORST:
            break
    return matrix, error


def _some(stain: SingleStain) -> NDArray[np.float64]:
    """Return the events of a line: evenly spaced rows where there are many, so that no chance is involved."""
    parts = [part for part in (stain.positive, stain.negative) if len(part)]
    return np.concatenate([part[:: -(-len(part) // _MOST)] for part in parts])


def _remarks(names: Sequence[str], stains: Sequence[SingleStain], found: _Found) -> list[str]:
    said = []
    for i, stain in enumerate(stains):
        if stain.saturated:
            lost = f"{stain.saturated:,} events at the end of a detector, or not finite"
            said.append(f"{stain.name}: {lost}, were left out")
        if stain.background == "none":
            said.append(
                f"{stain.name} has no negatives of its own and no unstained control of its scatter: its row is the "
                "slope within its stained events"
            )
        seen = [other for j, other in enumerate(names) if found.matrix[i, j] > 1]
        if seen:
            said.append(f"{stain.channel} is brighter in {', '.join(seen)} than in its own detector: right control?")
        unlike = [other for j, other in enumerate(names) if i != j and found.how[i, j] == "medians"]
        if unlike and (found.how == "biweight").any():
            said.append(
                f"no single line fits {stain.channel} in {', '.join(unlike)}, where medians were taken: the background "
                "of the stained events may not be that of the negatives"
            )
    return said

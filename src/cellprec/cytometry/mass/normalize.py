"""Bring mass cytometry runs to one sensitivity by their calibration beads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pandas as pd

from cellprec import keys
from cellprec.cytometry.mass.bead_runs import BEAD_SETS, Run, open_runs
from cellprec.cytometry.mass.beads import Floats, rolling_median
from cellprec.cytometry.mass.masses import channel_masses
from cellprec.errors import InputError, Problem, StudyError, UsageError
from cellprec.notes import add_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

# obs: holds a bead, alone or with a cell (bool); is a bead alone (bool); what the event was multiplied by (float32)
# uns: the rows of the table that normalize_beads returns for this run

TABLE_COLUMNS: Final = (
    "run", "channel", "mass", "beads", "before", "after", "baseline", "error_percent", "method", "window", "says",
)  # fmt: skip

_WINDOWS: Final = (1001, 501, 201, 101, 51, 25, 11)
_NORMAL: Final = 1.4826
# what the median of n normal values is less sure than their mean
_MEDIAN: Final = 1.2533
# one factor leaves the bead channels this far from the baseline before more is asked for (runs then differ by 4 %)
_TOLERATED: Final = 0.02
_UNSURE: Final = 0.025
_ODD: Final = 0.10
_ROWS: Final = 200_000


def normalize_beads(
    samples: Mapping[str, AnnData],
    *,
    beads: str | Sequence[str | int] = "eq4",
    dna: Sequence[str] | None = None,
    by_mass: Literal["auto", "never", "always"] = "auto",
    window: int | None = None,
    baseline: pd.Series | None = None,
    min_beads: int = 25,
    on_missing: Literal["refuse", "leave"] = "refuse",
) -> pd.DataFrame:
    """Bring all runs to the same sensitivity, and take out the drift within each, by the beads acquired with them.

    Beads are found per run by their brightness in the bead channels, their fixed proportions of metals and their lack
    of DNA. The running median of each bead channel is compared with the baseline, the geometric mean over runs of the
    bead medians; every event is multiplied by the slope through the origin that brings the beads around it to the
    baseline, linear between beads (Finck et al. 2013, Cytometry A 83A:483). Where one factor leaves some bead channel
    of some run more than 2 % away from the baseline, sensitivity is taken to depend on the mass: the factor is then
    that of each bead channel at its own mass, log-linear between them, and that of the nearest bead mass beyond (the
    same choice for all runs).

    Parameters
    ----------
    samples
        Events × channels by run, linear. Call it before the transform; a compensated layer is scaled as well.
    beads
        ``eq4`` (Ce140 Eu151 Eu153 Ho165 Lu175), ``eq6``, ``beta``, or the names or masses of the bead channels.
    dna
        Names of the DNA channels; Ir191 and Ir193 by default.
    by_mass
        ``never`` gives one factor per event as published, ``always`` one per event and mass.
    window
        Beads per running median; by default the widest of 1001 to 11 that foretells left-out beads as well as the best.
    baseline
        Bead medians to normalize to, by bead channel (for instance the column of an earlier study).
    min_beads
        Fewest beads from which a run is normalized.
    on_missing
        A run with fewer is refused, or left as it was with a note.

    Returns
    -------
    DataFrame
        One row per run and bead channel: beads alone, their median before and after, the baseline, the standard error
        of the median in percent, method and window; ``says`` holds why a run could not be normalized.
        Each object has ``X`` normalized (float32), ``layers["raw"]`` as read, ``obs["bead"]`` (holds a bead, alone or
        with a cell: to be dropped), ``obs["bead_alone"]``, ``obs["bead_factor"]`` (geometric mean over mass channels)
        and its rows of the table in ``uns["beads"]``. Nothing is written if anything is refused.

    Raises
    ------
    UsageError
        The events are transformed or normalized already; an option is unknown.
    StudyError
        Everything that is wrong with the runs at once: missing bead channels, too few beads.

    Examples
    --------
    >>> import anndata
    >>> rng = np.random.default_rng(0)
    >>> names = ["Ce140Di", "Eu151Di", "Eu153Di", "Ho165Di", "Lu175Di", "Ir191Di"]
    >>> def run(gain):
    ...     cells, beads = rng.gamma(1, 20, (300, 6)), rng.normal(1000, 50, (100, 6))
    ...     cells[:, 5], beads[:, 5] = 300, 1
    ...     var = pd.DataFrame({"channel": names, "kind": "mass"}, index=names)
    ...     return anndata.AnnData((np.vstack([cells, beads]) * gain).astype("float32"), var=var)
    >>> table = normalize_beads({"a": run(1.0), "b": run(2.0)})
    >>> table.groupby("run")["after"].mean().round(-2).tolist()
    [1400.0, 1400.0]
    """
    _judge_call(samples, by_mass=by_mass, on_missing=on_missing, beads=beads, window=window)
    runs, problems = open_runs(samples, beads=beads, dna=dna)
    short = {run.name: len(run.beads.logs) for run in runs if len(run.beads.logs) < min_beads}
    for name, count in short.items():
        problems.append(
            Problem(
                "beads.few",
                f"{count} beads were found, at least {min_beads} are needed",
                sample=name,
                fix="name the beads that were used (beads=), or leave the run as it is (on_missing='leave')",
            )
        )
    if problems and (on_missing == "refuse" or any(problem.code != "beads.few" for problem in problems)):
        raise StudyError(problems, what="the runs cannot be brought to one sensitivity by their beads")
    usable = [run for run in runs if run.name not in short]
    for run in usable:
        run.window, run.smooth = _smooth(run.ordered, window=window)
    target = _target(usable, baseline=baseline) if usable else np.empty(0)
    several = usable and (by_mass == "always" or (by_mass == "auto" and _depends_on_mass(usable, target=target)))
    rows = [_write(run, target=target, several=bool(several)) for run in usable]
    rows += [_leave(run, alone=not usable) for run in runs if run.name in short]
    if several:
        _say_odd(usable, target=target)
    by_run = {str(table["run"].iloc[0]): table for table in rows}
    told = [row for name in samples for row in by_run[name].to_dict("records")]
    return pd.DataFrame(told, columns=list(TABLE_COLUMNS))


def _judge_call(
    samples: Mapping[str, AnnData],
    *,
    by_mass: str,
    on_missing: str,
    beads: str | Sequence[str | int],
    window: int | None,
) -> None:
    if not isinstance(samples, Mapping) or not samples:
        raise UsageError("no runs were given to normalize", fix="give a mapping: {'run 1': events, ...}")
    if by_mass not in ("auto", "never", "always"):
        raise UsageError(f"by_mass is {by_mass!r}", fix="auto, never or always")
    if on_missing not in ("refuse", "leave"):
        raise UsageError(f"on_missing is {on_missing!r}", fix="refuse or leave")
    if isinstance(beads, str) and beads not in BEAD_SETS:
        raise UsageError(f"no beads are known as {beads!r}", fix=f"{', '.join(BEAD_SETS)}, or a list of channels")
    if window is not None and window < 3:
        raise UsageError(f"a window of {window} beads has no median worth the name", fix="500 is usual")
    for name, adata in samples.items():
        if keys.TRANSFORM in adata.var:
            what = "the events are transformed already: beads are compared on the linear scale"
            raise UsageError(what, where=f"sample {name}", fix="normalize before the transform")
        if keys.BEAD_FACTOR in adata.obs:
            what = "the run is normalized already"
            raise UsageError(what, where=f"sample {name}", fix="start again from the file to normalize it otherwise")


def _smooth(logs: Floats, *, window: int | None) -> tuple[int, Floats]:
    """Return the running level of each bead channel, and the window used for what all channels share.

    What the channels share and how they differ are smoothed apart: the latter changes slowly if at all.
    """
    shared = logs.mean(axis=1, keepdims=True)
    own = logs - shared
    wide = window or _choose_window(shared)
    smooth = rolling_median(shared, window=wide) + rolling_median(own, window=window or _choose_window(own))
    # the medians of the whole run are met exactly
    return wide, smooth + np.median(logs - smooth, axis=0)


def _choose_window(values: Floats) -> int:
    """The widest window whose running median over every other bead foretells the beads between as well as any."""
    seen, left = values[::2], values[1::2]
    before = np.arange(len(left))
    after = np.minimum(before + 1, len(seen) - 1)
    errors = {}
    for window in _WINDOWS:
        smooth = rolling_median(seen, window=max(3, window // 2))
        errors[window] = np.abs(left - (smooth[before] + smooth[after]) / 2).mean(axis=1)
    best = min(errors, key=lambda w: float(errors[w].mean()))
    for window in _WINDOWS:
        worse = errors[window] - errors[best]
        if worse.mean() <= worse.std() / np.sqrt(max(len(worse), 1)):
            return window
    return best


def _target(runs: list[Run], *, baseline: pd.Series | None) -> Floats:
    """Logarithms of the bead medians that all runs are brought to, by bead channel."""
    if baseline is None:
        return np.asarray(np.mean([np.median(run.beads.logs, axis=0) for run in runs], axis=0))
    names = runs[0].names
    given = {str(name): float(value) for name, value in baseline.items()}
    wrong = [name for name in names if not given.get(name, np.nan) > 0]
    if wrong:
        raise InputError(
            f"the baseline has no positive value for {', '.join(wrong)}",
            where=f"it names {', '.join(given)}",
            fix="give one value per bead channel, by its channel name",
        )
    return np.log([given[name] for name in names])


def _slopes(run: Run, *, target: Floats) -> Floats:
    """Logarithms of one factor per bead: the slope through the origin from smoothed beads to the baseline."""
    smooth, wanted = np.exp(run.smooth), np.exp(target)
    return np.asarray(np.log((smooth @ wanted) / (smooth**2).sum(axis=1)))


def _left_over(run: Run, *, target: Floats) -> tuple[Floats, Floats]:
    """How far one factor leaves each bead channel from the baseline (logarithms), and the standard error of that."""
    apart = run.ordered + _slopes(run, target=target)[:, None] - target
    middle = np.median(apart, axis=0)
    spread = _NORMAL * np.median(np.abs(apart - middle), axis=0)
    return middle, _MEDIAN * spread / np.sqrt(len(apart))


def _depends_on_mass(runs: list[Run], *, target: Floats) -> bool:
    return any((np.abs(_left_over(run, target=target)[0]) > _TOLERATED).any() for run in runs)


def _say_odd(runs: list[Run], *, target: Floats) -> None:
    """Say which bead channel departs from what its neighbors in mass foretell: no sensitivity does that."""
    for run in runs:
        middle, error = _left_over(run, target=target)
        order = np.argsort(run.masses)
        inner = order[1:-1]
        foretold = [
            np.interp(run.masses[c], np.delete(run.masses[order], i + 1), np.delete(middle[order], i + 1))
            for i, c in enumerate(inner)
        ]
        apart = middle[inner] - foretold
        if not len(apart) or np.abs(apart).max() <= max(_ODD, 4 * float(error.max())):
            continue
        at = int(np.argmax(np.abs(apart)))
        text = (
            f"the beads in {run.names[int(inner[at])]} are {np.expm1(apart[at]):+.0%} off what the bead channels "
            "next to it in mass say: another lot of beads, or beads that took up antibody? "
            "by_mass='never' gives one factor for all masses"
        )
        add_note(run.adata, "events.bead_channel_odd", text, sample=run.name)


def _write(run: Run, *, target: Floats, several: bool) -> pd.DataFrame:
    adata = run.adata
    masses = channel_masses(adata).to_numpy()
    scaled = _mass_channels(adata)
    places = np.sort(run.places)
    if several:
        order = np.argsort(run.masses)
        known = np.where(np.isfinite(masses), masses, np.median(run.masses))[scaled]
        _say_beyond(run, masses=masses[scaled])
        curves = (target - run.smooth)[:, order]
        factors = np.apply_along_axis(lambda row: np.interp(known, run.masses[order], row), 1, curves)
        nameless = [str(adata.var_names[i]) for i in scaled if not np.isfinite(masses[i])]
        if nameless:
            text = f"no mass is known for {', '.join(nameless)}: the factor of the middle bead mass was used"
            add_note(adata, "events.no_mass", text, count=len(nameless), sample=run.name)
    else:
        factors = _slopes(run, target=target)[:, None]
    raw = adata.layers[keys.RAW] if keys.RAW in adata.layers else np.array(adata.X, dtype=np.float32)
    values = np.array(adata.X, dtype=np.float32)
    before = np.median(run.signal, axis=0)
    applied = np.empty(adata.n_obs, dtype=np.float32)
    for start in range(0, adata.n_obs, _ROWS):
        rows = slice(start, start + _ROWS)
        logs = np.column_stack([np.interp(run.position[rows], places, column) for column in factors.T])
        values[rows, scaled] *= np.exp(logs)
        applied[rows] = np.exp(logs.mean(axis=1))
        if keys.COMPENSATED in adata.layers:
            adata.layers[keys.COMPENSATED][rows, scaled] *= np.exp(logs)
    adata.layers[keys.RAW] = raw
    adata.X = values
    adata.obs[keys.BEAD], adata.obs[keys.BEAD_ALONE] = run.beads.holding, run.beads.alone
    adata.obs[keys.BEAD_FACTOR] = applied
    table = _table(run, before=before, target=target, method="by mass" if several else "one factor")
    _say_normalized(run, table=table, applied=applied)
    return table


def _say_beyond(run: Run, *, masses: Floats) -> None:
    low, high = float(run.masses.min()), float(run.masses.max())
    beyond = int(((masses < low) | (masses > high)).sum())
    if beyond:
        text = (
            f"{beyond} channels lie outside the masses of the beads ({low:g} to {high:g}) and got the factor of the "
            "nearest: compare their intensities between runs with caution"
        )
        add_note(run.adata, "events.beyond_beads", text, count=beyond, sample=run.name)


def _mass_channels(adata: AnnData) -> NDArray[np.intp]:
    if keys.KIND in adata.var:
        return np.flatnonzero(adata.var[keys.KIND].astype(str) == "mass")
    return np.flatnonzero(channel_masses(adata).notna())


def _table(run: Run, *, before: Floats, target: Floats, method: str) -> pd.DataFrame:
    after = np.median(run.signal, axis=0)
    error = _MEDIAN * _NORMAL * np.median(np.abs(run.ordered - run.smooth), axis=0) / np.sqrt(len(run.beads.logs))
    table = pd.DataFrame(
        {
            "run": run.name,
            "channel": run.names,
            "mass": run.masses,
            "beads": len(run.beads.logs),
            "before": before,
            "after": after,
            "baseline": np.exp(target),
            "error_percent": 100 * error,
            "method": method,
            "window": min(run.window, len(run.beads.logs)),
            "says": "",
        },
        columns=list(TABLE_COLUMNS),
    )
    run.adata.uns[keys.BEADS] = table.copy()
    return table


def _say_normalized(run: Run, *, table: pd.DataFrame, applied: NDArray[np.float32]) -> None:
    medians = "; ".join(f"{row.channel} {row.before:.4g} → {row.after:.4g}" for row in table.itertuples())
    text = (
        f"brought to the baseline of the beads with factors from {applied.min():.2f} to {applied.max():.2f} ({medians})"
    )
    count = int(run.beads.alone.sum())
    add_note(run.adata, "events.bead_normalized", text, count=count, sample=run.name)
    held = int(run.beads.holding.sum())
    share = held / max(run.adata.n_obs, 1)
    text = f"{share:.1%} of the events hold a calibration bead, {held - count:,} of them not alone"
    add_note(run.adata, "events.beads", text, count=held, sample=run.name)
    worst = float((table["after"] / table["baseline"] - 1).abs().max())
    if worst > _UNSURE:
        text = f"one bead channel stays {worst:.0%} off the baseline: one factor for all masses does not fit this run"
        add_note(run.adata, "events.beads_apart", text, sample=run.name)
    unsure = float(table["error_percent"].max()) / 100
    if unsure > _UNSURE:
        text = f"with {count} beads the factors are known to ± {unsure:.1%} (one standard error) only"
        add_note(run.adata, "events.beads_few", text, count=count, sample=run.name)


def _leave(run: Run, *, alone: bool) -> pd.DataFrame:
    """Mark the beads of a run that has too few, and say that it was left as it was."""
    count = len(run.beads.logs)
    others = "nor was any other run" if alone else "the other runs were: compare their intensities with caution"
    text = f"{count} beads are too few: the run was not normalized, {others}"
    add_note(run.adata, "events.not_normalized", text, count=count, sample=run.name)
    run.adata.obs[keys.BEAD], run.adata.obs[keys.BEAD_ALONE] = run.beads.holding, run.beads.alone
    before = np.median(run.signal, axis=0) if count else np.nan
    table = pd.DataFrame(
        {
            "run": run.name,
            "channel": run.names,
            "mass": run.masses,
            "beads": count,
            "before": before,
            "after": before,
            "baseline": np.nan,
            "error_percent": np.nan,
            "method": "none",
            "window": 0,
            "says": text,
        },
        columns=list(TABLE_COLUMNS),
    )
    run.adata.uns[keys.BEADS] = table.copy()
    return table

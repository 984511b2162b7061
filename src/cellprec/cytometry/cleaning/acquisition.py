"""Events measured while the instrument was not itself: clogs, bubbles, jumps of the rate, drifts of the signal."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pandas as pd

from cellprec import keys
from cellprec.cytometry.cleaning.clock import Clock, read_clock
from cellprec.cytometry.cleaning.stretches import Stretch, find_stretches
from cellprec.cytometry.panel import lineage_channels, sample_names
from cellprec.notes import add_note

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

RATE: Final = "event rate"

_FEW: Final = 500
_MIN_BIN: Final = 20
_MAX_BINS: Final = 800
_CODES: Final = 256
_SAMPLED: Final = 20_000
# score per event and channel: where it stands, how far from the middle, how far into the upper tenth
_SCORES: Final = 3
# what a stretch must differ by to matter: a small effect (Cohen 1988), in standard deviations of one event
_SMALL: Final = 0.2
# and for the rate: twice or half as many events per time
_RATE_RATIO: Final = 2.0
# a rate that changes for longer than this, with no change of signal, is a setting of the user
_LONG: Final = 0.10
# a run with less than this at one level has no level
_STABLE: Final = 1 / 3
_ROUNDS: Final = 4
_MADS: Final = 4.0
_NORMAL: Final = 1.4826


class Anomalies(NamedTuple):
    """Which events were measured during an anomaly, and the bins over time with the reason of each.

    events: bool per event, in the order of the object. bins: one row per bin with ``sample_id``, ``bin``, ``start``
    and ``end`` (the clock of the file; nan without one), ``events``, ``rate`` (events per unit of the clock, pauses
    left out), ``flagged`` (events), ``why``.
    """

    events: NDArray[np.bool_]
    bins: pd.DataFrame


def find_anomalies(adata: AnnData) -> Anomalies:
    """Find the events that were measured while the acquisition was disturbed, sample by sample.

    The events, in order of acquisition, are cut into at most 800 bins of equally many events. Each channel of
    scatter, and each stained channel, is coded by its ranks among the stable events, so that no scale is assumed, and
    each bin is scored for its location, its spread and its upper tail; the rate of events is scored against its
    running median. Stretches of bins that leave the stable level by a jump or in a line are found as collective
    anomalies (see ``find_stretches``). They count where they differ by a small effect at least: 0.2 standard
    deviations of an event, or a rate doubled or halved. The stable level is the one that most bins share; where
    there is none (less than half of the events, or a third in one piece), no change of signal is flagged and a note
    says so. Binning and the use of all channels follow PeacoQC (Emmaneel et al. 2022, Cytometry A 101A:325), the rate
    flowAI (Monaco et al. 2016, Bioinformatics 32:2473).

    Uses ``layers["raw"]`` (``X`` where there is none). Adds notes on the clock and on what could not be judged.

    >>> import anndata
    >>> rng = np.random.default_rng(0)
    >>> values = np.column_stack([np.arange(2000), rng.normal(500, 50, 2000)]).astype("float32")
    >>> values[800:900, 1] -= 200
    >>> var = pd.DataFrame({"kind": ["time", "fluorescence"]}, index=["Time", "CD3"])
    >>> found = find_anomalies(anndata.AnnData(values, var=var))
    >>> np.flatnonzero(found.events)[[0, -1]].tolist(), int(found.events.sum())
    ([800, 899], 100)
    """
    raw = np.asarray(adata.layers.get(keys.RAW, adata.X))
    events = np.zeros(adata.n_obs, dtype=bool)
    tables = []
    samples = adata.obs[keys.SAMPLE_ID].astype(str).to_numpy() if keys.SAMPLE_ID in adata.obs else None
    for name in sample_names(adata):
        rows = slice(None) if samples is None or (samples == name).all() else np.flatnonzero(samples == name)
        values = raw[rows]
        if len(values) < _FEW:
            text = f"fewer than {_FEW} events: the acquisition over time was not judged"
            add_note(adata, "events.no_acquisition_check", text, sample=name)
            continue
        found, table = _judge(adata, values=values, sample=name)
        events[rows] = found
        tables.append(table.assign(**{keys.SAMPLE_ID: name}))
    return Anomalies(events, pd.concat(tables, ignore_index=True) if tables else _table_of_none())


def acquisition_table(adata: AnnData) -> pd.DataFrame:
    """Show what happened during the acquisition: per bin of time its rate, the events flagged, and why.

    Columns as in ``Anomalies.bins``. Read from ``uns["acquisition"]``, where ``clean`` wrote it; an empty table where
    the acquisition was not judged.

    >>> import anndata
    >>> list(acquisition_table(anndata.AnnData(shape=(2, 1))).columns)
    ['sample_id', 'bin', 'start', 'end', 'events', 'rate', 'flagged', 'why']
    """
    held = adata.uns.get(keys.ACQUISITION)
    return _table_of_none() if held is None else pd.DataFrame(held).copy()


def _table_of_none() -> pd.DataFrame:
    table = {name: pd.Series(dtype=kind) for name, kind in _COLUMNS.items()}
    return pd.DataFrame(table)


_COLUMNS: Final = {
    keys.SAMPLE_ID: "str",
    "bin": "int64",
    "start": "float64",
    "end": "float64",
    "events": "int64",
    "rate": "float64",
    "flagged": "int64",
    "why": "str",
}


class _Run(NamedTuple):
    """One sample in order: codes of a part of the events, counts of codes per bin, size and log rate of the bins."""

    names: list[str]
    counts: NDArray[np.int64]
    some: NDArray[np.intp]
    edges: NDArray[np.int64]
    rate: NDArray[np.float64]


def _judge(adata: AnnData, *, values: NDArray[np.float32], sample: str) -> tuple[NDArray[np.bool_], pd.DataFrame]:
    clock = read_clock(adata, values=values)
    for code, text, count in clock.notes:
        add_note(adata, code, text, count=count, sample=sample)
    if not clock.known:
        return np.zeros(len(values), dtype=bool), _table_of_none()
    run = _bin(adata, values=values, clock=clock)
    by_signal, by_rate = _settle(run)
    why = np.full(len(run.edges) - 1, "", dtype=object)
    for stretch in by_signal:
        why[stretch.start : stretch.stop] = _reason(stretch, names=run.names)
    stable = _outside(by_signal, n_bins=len(why))
    if _no_level(by_signal, stable=stable):
        text = "the signal changes throughout the run: no stable level to compare with, no change of signal was flagged"
        add_note(adata, "events.unstable", text, sample=sample)
        why = np.array([f"not flagged, unstable run: {reason}" if reason else "" for reason in why], dtype=object)
        stable[:] = True
    for stretch in by_rate:
        for i in range(stretch.start, stretch.stop):
            why[i] = f"{RATE} x{np.exp(stretch.effect[0]):.2g}" + (f"; {why[i]}" if why[i] else "")
    bad = ~stable | ~_outside(by_rate, n_bins=len(why))
    events = np.zeros(len(values), dtype=bool)
    size = np.diff(run.edges)
    events[clock.order] = np.repeat(bad, size)
    table = pd.DataFrame(
        {
            "bin": np.arange(len(bad)),
            "start": clock.shown[run.edges[:-1]],
            "end": clock.shown[run.edges[1:] - 1],
            "events": size,
            "rate": np.exp(run.rate) if len(run.rate) else np.nan,
            "flagged": np.where(bad, size, 0),
            "why": why.astype(str),
        }
    )
    table.insert(0, keys.SAMPLE_ID, sample)
    return events, table


def _bin(adata: AnnData, *, values: NDArray[np.float32], clock: Clock) -> _Run:
    n = len(values)
    n_bins = min(_MAX_BINS, n // _MIN_BIN)
    edges = np.linspace(0, n, n_bins + 1).astype(np.int64)
    place = np.repeat(np.arange(n_bins), np.diff(edges)) * _CODES
    step = max(1, n // _SAMPLED)
    names, counts, some = [], [], []
    in_order = bool((clock.order[1:] > clock.order[:-1]).all())
    for i in _judged(adata):
        signal = values[:, i] if in_order else values[clock.order, i]
        signal = np.nan_to_num(np.ascontiguousarray(signal))
        cuts = np.unique(np.quantile(signal[::step], np.linspace(0, 1, _CODES + 1)[1:-1]).astype(np.float32))
        if np.ptp(signal) == 0:
            continue
        codes = np.searchsorted(cuts, signal, side="right")
        counts.append(np.bincount(place + codes, minlength=n_bins * _CODES).reshape(n_bins, _CODES))
        some.append(codes[::step])
        names.append(str(adata.var_names[i]))
    return _Run(
        names,
        np.array(counts, dtype=np.int64).reshape(len(names), n_bins, _CODES),
        np.array(some, dtype=np.intp).reshape(len(names), -1 if names else 0),
        edges,
        _log_rate(clock, edges=edges),
    )


def _judged(adata: AnnData) -> list[int]:
    """Scatter and stained channels; heights and widths only where there is no area."""
    kind = adata.var[keys.KIND].astype(str).to_numpy()
    channel = adata.var.get(keys.CHANNEL, adata.var_names.to_series()).astype(str).tolist()
    known = set(channel)
    # an isotope without an antibody follows the water and the argon, not the cells
    stained = np.isin(adata.var_names, lineage_channels(adata))
    if not stained.any():
        stained = np.isin(kind, ("fluorescence", "mass"))
    wanted = np.flatnonzero(stained | (kind == "scatter"))
    return [int(i) for i in wanted if not (channel[i][-2:] in ("-H", "-W") and f"{channel[i][:-2]}-A" in known)]


def _log_rate(clock: Clock, *, edges: NDArray[np.int64]) -> NDArray[np.float64]:
    if not len(clock.time):
        return np.empty(0)
    n = len(clock.time)
    inner = edges[1:-1]
    bounds = np.r_[clock.time[0], (clock.time[inner - 1] + clock.time[inner]) / 2, clock.time[-1]]
    spent = np.diff(bounds)
    floor = np.ptp(clock.time) / n * 1e-3
    return np.asarray(np.log(np.diff(edges) / np.maximum(spent, floor)))


def _settle(run: _Run) -> tuple[list[Stretch], list[Stretch]]:
    """Find the stretches against the stable level, which is known better the more of them are known."""
    n_bins = len(run.edges) - 1
    size = np.diff(run.edges).astype(np.float64)
    by_rate = _rate_stretches(run.rate, size=size)
    z, _ = _score(run, stable=np.ones(n_bins, dtype=bool))
    stable = _common(z / np.sqrt(size)[:, None])
    for _ in range(_ROUNDS):
        z, correlation = _score(run, stable=stable)
        noise = _noise(z)
        found = find_stretches(z / noise, correlation=correlation)
        # back to standard deviations of one event
        found = [s._replace(effect=s.effect * noise / np.sqrt(size.mean())) for s in found]
        found = _that_matter(found)
        after = _outside(found, n_bins=n_bins)
        if after.mean() < _STABLE or (after == stable).all():
            break
        stable = after
    return found, by_rate


def _outside(stretches: list[Stretch], *, n_bins: int) -> NDArray[np.bool_]:
    outside = np.ones(n_bins, dtype=bool)
    for stretch in stretches:
        outside[stretch.start : stretch.stop] = False
    return outside


def _noise(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviation between neighboring bins (0.6745·√2 for the difference of two), at least that of chance."""
    return np.asarray(np.maximum(np.median(np.abs(np.diff(z, axis=0)), axis=0) / 0.9539, 1.0))


def _rate_stretches(rate: NDArray[np.float64], *, size: NDArray[np.float64]) -> list[Stretch]:
    """Stretches in which events came much faster or slower than the run is used to over that length."""
    n_bins = len(rate)
    if not n_bins:
        return []
    excess = rate - _running_median(rate)
    z = excess * np.sqrt(size)
    noise = max(float(_noise(z[:, None])[0]), float(np.median(np.abs(z))) * _NORMAL)
    found = find_stretches((z / noise)[:, None], correlation=np.ones((1, 1)), lines=False)
    matter = []
    for stretch in found:
        length = stretch.stop - stretch.start
        effect = float(excess[stretch.start : stretch.stop].mean())
        means = np.convolve(excess, np.full(length, 1 / length), mode="valid")
        usual = _NORMAL * float(np.median(np.abs(means - np.median(means))))
        if length <= _LONG * n_bins and abs(effect) >= max(np.log(_RATE_RATIO), _MADS * usual):
            matter.append(stretch._replace(effect=np.array([effect])))
    return matter


def _score(run: _Run, *, stable: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bins × scores with mean 0 and variance 1 while the run is stable, and the correlation of the scores."""
    size = run.counts.sum(axis=2, dtype=np.float64)
    columns, single = [], []
    for counts, some, n in zip(run.counts, run.some, size, strict=True):
        scores = _scores(counts[stable].sum(axis=0))
        in_stable = counts[stable].sum(axis=0)
        skew = in_stable @ scores**3 / in_stable.sum()
        columns.append(_normal(counts @ scores / np.sqrt(n)[:, None], skew=skew / np.sqrt(n)[:, None]))
        single.append(scores[some])
    if not columns:
        return np.empty((len(run.edges) - 1, 0)), np.empty((0, 0))
    # a score that a channel has too few values for is 0 everywhere: it saves nothing
    z, events = np.hstack(columns), np.hstack(single)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.nan_to_num(np.corrcoef(events, rowvar=False).reshape(z.shape[1], z.shape[1]))
    np.fill_diagonal(correlation, 1.0)
    return z, correlation


def _normal(z: NDArray[np.float64], *, skew: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make normal what is a skewed sum of few events, as the cube root does to gamma (Wilson & Hilferty 1931).

    Without it, twenty events with three of a rare bright population would look like a disturbance.
    """
    bent = np.where(np.abs(skew) < 1e-3, 1e-3, skew)
    return np.asarray(6 / bent * (np.cbrt(np.maximum(1 + bent * z / 2, 0)) - 1) + bent / 6)


def _scores(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Codes × scores, orthonormal among the stable events: location, spread, upper tail."""
    share = counts / counts.sum()
    rank = np.cumsum(share) - share / 2
    wanted = (rank, (rank - 0.5) ** 2, np.maximum(rank - 0.9, 0) * 10)
    made = [np.ones(_CODES)]
    for column in wanted:
        score = column.copy()
        for other in made:
            score -= (share * score * other).sum() * other
        variance = float((share * score**2).sum())
        # too few different values for this score
        made.append(score / np.sqrt(variance) if variance > 1e-4 else np.zeros(_CODES))
    return np.column_stack(made[1:])


def _common(means: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Bins near the level that most of the run shares."""
    n_bins, p = means.shape
    if not p:
        return np.ones(n_bins, dtype=bool)
    width = max(1, n_bins // 12)
    sums = np.vstack([np.zeros(p), np.cumsum(means, axis=0)])
    smooth = (sums[width:] - sums[:-width]) / width
    centers = smooth[:: max(1, width // 2)]
    far = np.array([np.minimum(np.abs(smooth - center), 2 * _SMALL).sum() for center in centers])
    center = centers[int(np.argmin(far))]
    distance = np.minimum(np.abs(smooth - center), 2 * _SMALL).sum(axis=1)
    # the nearer half of the windows, at least a third of the bins
    near = distance <= np.quantile(distance, 0.4)
    stable = np.zeros(n_bins, dtype=bool)
    for i in np.flatnonzero(near):
        stable[i : i + width] = True
    return stable


def _running_median(rate: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median over half the run around each bin, over the first and last half at the ends."""
    n = len(rate)
    width = max(1, n // 2)
    windows = np.lib.stride_tricks.sliding_window_view(rate, width)
    medians = np.median(windows, axis=1)
    return np.asarray(medians[np.clip(np.arange(n) - width // 2, 0, n - width)])


def _that_matter(found: list[Stretch]) -> list[Stretch]:
    """Stretches with an effect that is not small, and those that lead to them."""
    matter = [bool((s.sure & (np.abs(s.effect) >= _SMALL)).any()) for s in found]
    changed = True
    while changed:
        changed = False
        for i, j in [*itertools.pairwise(range(len(found))), *((i + 1, i) for i in range(len(found) - 1))]:
            one, other = found[i], found[j]
            touch = one.stop == other.start or other.stop == one.start
            # the foot of a hill, not a plain beside it
            touch &= one.stop - one.start <= other.stop - other.start
            if touch and matter[j] and not matter[i] and float(np.dot(one.effect, other.effect)) > 0:
                matter[i] = changed = True
    return [stretch for stretch, matters in zip(found, matter, strict=True) if matters]


def _no_level(stretches: list[Stretch], *, stable: NDArray[np.bool_]) -> bool:
    """Whether the run has no stable level: less than half of it, in pieces, or the middle of a change throughout."""
    if stable.mean() >= 0.5:
        return False
    pieces = int(stable[0]) + int((stable[1:] & ~stable[:-1]).sum())
    if stable.mean() < _STABLE or pieces > 1:
        return True
    # from one side of the middle to the other: then the middle is no level
    return not stable[0] and not stable[-1] and float(np.dot(stretches[0].effect, stretches[-1].effect)) < 0


def _reason(stretch: Stretch, *, names: list[str]) -> str:
    strength = np.abs(np.where(stretch.sure, stretch.effect, 0)).reshape(len(names), _SCORES).max(axis=1)
    moved = [names[i] for i in np.argsort(-strength, kind="stable") if strength[i] > 0]
    if not moved:
        return "small changes of many channels"
    more = f" and {len(moved) - 3} more" if len(moved) > 3 else ""
    return f"{'drift' if stretch.drifts else 'shift'} of {', '.join(moved[:3])}{more}"

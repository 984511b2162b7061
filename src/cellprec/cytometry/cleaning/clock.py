"""When each event was measured: the time channel made whole, whatever the instrument did to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from cellprec import keys

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

# a clock with fewer ticks than this over the run tells no rate
_TICKS: Final = 20
# a step back of this share of the run is a restart of the clock, not jitter
_RESTART: Final = 0.05
# more restarts or steps back than this share of the events: the events are not in the order of acquisition
_RESTARTS: Final = 0.002
_DISORDER: Final = 0.05
# gaps on either side of a pause that tell how fast events came before and after
_SIDE: Final = 16


class Clock(NamedTuple):
    """The events of a sample in the order they were measured.

    known: whether there is a clock that runs; order: positions in the sample; time: when each event was measured,
    rising, without pauses, in the units of the file (empty where the rate of events cannot be told); shown: the same
    with its pauses; notes: (code, sentence, count) for the reader.
    """

    known: bool
    order: NDArray[np.intp]
    time: NDArray[np.float64]
    shown: NDArray[np.float64]
    notes: list[tuple[str, str, int | None]]


def read_clock(adata: AnnData, *, values: NDArray[np.float32]) -> Clock:
    """Put the events of one sample in the order of acquisition.

    values: events × channels of that sample, in linear units. A clock that starts again goes on from where it was,
    events slightly out of order are sorted, events of one tick are spread over it, and pauses are cut out: a pause is
    no fault of the events around it. Without a clock nobody can tell whether the order of the file, which may have been
    gated, merged or sampled, is that of the acquisition.

    >>> import anndata, pandas as pd
    >>> var = pd.DataFrame({"kind": ["time"]}, index=["Time"])
    >>> values = np.r_[np.arange(50), np.arange(50)].astype("float32")[:, None]
    >>> clock = read_clock(anndata.AnnData(values, var=var), values=values)
    >>> clock.shown[[0, 49, 50, 99]].tolist(), [code for code, _, _ in clock.notes]
    ([0.0, 49.0, 50.0, 99.0], ['events.time_restarts'])
    """
    n = len(values)
    channels = np.flatnonzero(adata.var[keys.KIND].astype(str) == "time")
    clocks = [values[:, i].astype(np.float64) for i in channels]
    clocks = [clock for clock in clocks if np.isfinite(clock).all() and n and np.ptp(clock) > 0]
    if not clocks:
        text = "cannot tell how the acquisition went: the file has no clock that runs"
        return Clock(False, np.arange(n), np.empty(0), np.full(n, np.nan), [("events.no_time", text, None)])
    time = min(clocks, key=lambda clock: int((np.diff(clock) < 0).sum()))
    notes: list[tuple[str, str, int | None]] = []
    time, order = _ordered(time, notes=notes)
    shown = time
    if len(np.unique(time)) < _TICKS:
        text = f"the clock has fewer than {_TICKS} ticks: the rate of events was not judged"
        notes.append(("events.coarse_time", text, None))
        return Clock(True, order, np.empty(0), shown, notes)
    return Clock(True, order, _without_pauses(_spread(time), notes=notes), shown, notes)


def _ordered(
    time: NDArray[np.float64], *, notes: list[tuple[str, str, int | None]]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    step = np.diff(time)
    back = step < 0
    restarts = np.flatnonzero(step < -_RESTART * np.ptp(time))
    if len(restarts) > 1 + _RESTARTS * len(time) or back.mean() > _DISORDER:
        count = int(back.sum())
        text = "the events are not in the order of acquisition: they were judged in the order of the clock"
        notes.append(("events.time_unordered", text, count))
    elif back.any():
        if len(restarts):
            text = "the clock starts again within the file: it was taken to run on"
            notes.append(("events.time_restarts", text, len(restarts)))
            usual = float(np.median(step[step >= 0]))
            jump = np.zeros(len(time))
            jump[restarts + 1] = usual - step[restarts]
            time = time + np.cumsum(jump)
        jitter = int(back.sum()) - len(restarts)
        if jitter:
            notes.append(("events.time_jitter", "the clock steps back: events were sorted by time", jitter))
    order = np.argsort(time, kind="stable")
    return time[order], order


def _spread(time: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spread the events of one tick evenly over it."""
    ticks, first, count = np.unique(time, return_index=True, return_counts=True)
    if len(ticks) == len(time):
        return time
    usual = float(np.median(np.diff(ticks)))
    width = np.minimum(np.diff(ticks, append=ticks[-1] + usual), usual)
    # the first and the last tick were not measured whole
    whole = float(np.median(count))
    for end in (0, -1):
        width[end] *= min(1.0, count[end] / whole)
    start = ticks.copy()
    start[0] += usual - width[0] if len(ticks) > 1 and ticks[1] - ticks[0] <= 1.5 * usual else 0.0
    place = np.arange(len(time)) - np.repeat(first, count)
    return np.asarray(np.repeat(start, count) + np.repeat(width / count, count) * (place + 0.5))


def _without_pauses(time: NDArray[np.float64], *, notes: list[tuple[str, str, int | None]]) -> NDArray[np.float64]:
    gaps = np.diff(time)
    n = len(gaps)
    # the longest of n exponential gaps is about log(n) means; ten more have a chance of e^-10
    reach = np.log(n) + 10
    pauses = 0
    for i in np.flatnonzero(gaps > reach * np.median(gaps[gaps > 0]) / np.log(2)):
        sides = (gaps[max(0, i - _SIDE) : i], gaps[i + 1 : i + 1 + _SIDE])
        # a gap as long as its neighbors is a slow rate, not a pause
        usual = max((float(np.median(side)) / np.log(2) for side in sides if len(side)), default=0.0)
        if gaps[i] > reach * usual:
            gaps[i] = usual
            pauses += 1
    if pauses:
        text = "the acquisition paused: a pause is no anomaly, the events around it were judged like the others"
        notes.append(("events.pause", text, pauses))
    return np.asarray(np.r_[time[0], time[0] + np.cumsum(gaps)])

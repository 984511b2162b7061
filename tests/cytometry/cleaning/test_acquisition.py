"""Disturbances planted at random into runs of many kinds; the simulator knows nothing of bins, ranks or lines."""

from __future__ import annotations

import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.stats

from cellprec.cytometry.cleaning.acquisition import _Run, _score, acquisition_table, find_anomalies
from cellprec.cytometry.cleaning.clean import clean
from cellprec.cytometry.cleaning.clock import Clock, read_clock
from cellprec.cytometry.cleaning.stretches import find_stretches
from cellprec.io.fcs import read_fcs
from cellprec.notes import get_notes

DATA = Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[4] / "shared" / "data"))


class Run:
    """Cells of a few populations, one after the other, at a rate that wanders."""

    def __init__(self, *, n: int, channels: int, seed: int, tails: str = "normal") -> None:
        self.rng = rng = np.random.default_rng(seed)
        k = int(rng.integers(2, 6))
        cell = rng.choice(k, n, p=rng.dirichlet(np.full(k, 2.0)))
        noise = rng.standard_t(3, (n, channels)) if tails == "heavy" else rng.normal(size=(n, channels))
        level = rng.choice([2.0, 3.0, 4.0], (k, channels)) + rng.normal(0, 0.3, (k, channels))
        log = np.clip(level[cell] + rng.uniform(0.15, 0.4, (k, channels))[cell] * noise, -2, 6)
        if tails == "rare":
            # a bright population of a few percent on every channel
            log = np.where(rng.random((n, channels)) < 0.04, 4.5, 1.5) + 0.3 * noise
        self.signal = 10**log + rng.normal(0, 50, (n, channels))
        self.scatter = np.column_stack(
            [rng.normal(1, 0.15, n) * (60e3 + 20e3 * (cell % 3)), rng.lognormal(10, 0.3, n) * (1 + cell % 3)]
        )
        wander = np.exp(0.2 * np.sin(np.linspace(0, rng.uniform(2, 12), n) + rng.uniform(0, 6)))
        self.gaps = rng.exponential(10 ** rng.uniform(-4, -1), n) * wander
        self.bad = np.zeros(n, dtype=bool)

    def clog(self) -> None:
        """For 3 to 15 % of the time, few events come, and dim ones on some channels."""
        time = np.cumsum(self.gaps) / self.gaps.sum()
        length = self.rng.uniform(0.03, 0.15)
        start = self.rng.uniform(0, 1 - length)
        bad = (time >= start) & (time < start + length)
        dim = 10 ** (-self.rng.uniform(0.2, 0.8, self.signal.shape[1])) ** (self.rng.random(self.signal.shape[1]) < 0.6)
        self.signal[bad] *= dim
        # of the events that would have come, some never do: their time passes nevertheless
        come = ~bad | (self.rng.random(len(bad)) < self.rng.uniform(0.1, 0.5))
        passed = np.cumsum(self.gaps)[come]
        self.gaps = np.diff(passed, prepend=0.0)
        self.signal, self.scatter, self.bad = self.signal[come], self.scatter[come], bad[come]

    def bubble(self) -> None:
        n = len(self.bad)
        length = int(self.rng.uniform(0.01, 0.03) * n)
        where = slice(start := int(self.rng.integers(0, n - length)), start + length)
        self.bad[where] = True
        self.gaps[where] *= self.rng.choice([0.2, 5.0])
        if self.rng.random() < 0.5:
            self.signal[where] *= self.rng.uniform(0.05, 0.4)
            self.scatter[where] *= self.rng.uniform(0.3, 0.8)
        else:
            self.signal[where] *= 10 ** self.rng.normal(0, 0.8, (length, self.signal.shape[1]))

    def drift(self) -> None:
        n = len(self.bad)
        start = int(n * (1 - self.rng.uniform(0.2, 0.55)))
        self.bad[start:] = True
        decades = self.rng.uniform(0.4, 1.0) * self.rng.choice([-1, 1]) * np.linspace(0, 1, n - start)
        moves = self.rng.random(self.signal.shape[1]) < self.rng.choice([0.5, 1.0])
        moves[0] = True
        self.signal[start:] *= 10 ** (decades[:, None] * moves)

    def adata(self, *, time: np.ndarray | None = None) -> anndata.AnnData:
        clock = np.cumsum(self.gaps) if time is None else time
        values = np.column_stack([self.scatter, self.signal, clock]).astype("float32")
        names = ["FSC-A", "SSC-A", *(f"F{i}-A" for i in range(self.signal.shape[1])), "Time"]
        kinds = ["scatter"] * 2 + ["fluorescence"] * self.signal.shape[1] + ["time"]
        return anndata.AnnData(values, var=pd.DataFrame({"channel": names, "kind": kinds}, index=names))


def codes(adata: anndata.AnnData) -> set[str]:
    return {note.code for note in get_notes(adata)}


@pytest.mark.parametrize("kind", ["clog", "bubble", "drift"])
def test_planted_disturbances_are_found_and_little_else(kind: str) -> None:
    found = []
    for seed in range(6):
        run = Run(n=[5_000, 12_000, 30_000][seed % 3], channels=[4, 9, 16][seed // 2], seed=seed, tails="normal")
        getattr(run, kind)()
        events = find_anomalies(run.adata()).events
        found.append((events[run.bad].mean(), events[~run.bad].mean()))
    recall, lost = np.array(found).T
    assert recall.mean() >= 0.95
    assert recall.min() >= 0.8
    assert lost.mean() <= 0.015
    assert lost.max() <= 0.05


@pytest.mark.parametrize("tails", ["normal", "heavy", "rare"])
def test_stable_runs_lose_next_to_nothing(tails: str) -> None:
    lost = []
    for seed in range(10):
        n = int(10 ** np.random.default_rng(seed).uniform(3.3, 4.6))
        run = Run(n=n, channels=3 + 3 * seed, seed=seed, tails=tails)
        lost.append(find_anomalies(run.adata()).events.mean())
    assert max(lost) <= 0.02
    assert np.mean(lost) <= 0.003


def test_a_table_says_when_and_why() -> None:
    run = Run(n=8_000, channels=4, seed=3)
    run.signal[4_000:4_400, 2] *= 0.1
    adata = run.adata()
    clean(adata)
    table = acquisition_table(adata)
    flagged = table[table["flagged"] > 0]
    assert table["events"].sum() == 8_000
    assert table["flagged"].sum() == adata.obsm["drop_reasons"][:, 2].sum()
    assert flagged["why"].str.contains("F2-A").all()
    assert (table.loc[table["flagged"] == 0, "why"] == "").all()
    clock = np.asarray(adata.X)[:, -1]
    assert flagged["start"].min() == pytest.approx(clock[4_000], rel=0.01)
    assert (table["rate"] * (table["end"] - table["start"])).sum() == pytest.approx(8_000, rel=0.1)


def test_a_change_of_the_flow_rate_or_a_pause_is_no_anomaly() -> None:
    run = Run(n=10_000, channels=4, seed=1)
    run.gaps[5_000:] /= 3
    run.gaps[[2_000, 7_000]] += 1e3
    adata = run.adata()
    assert find_anomalies(adata).events.mean() <= 0.005
    assert {note.code: note.count for note in get_notes(adata)} == {"events.pause": 2}


def test_a_clog_shows_by_its_rate_alone() -> None:
    run = Run(n=10_000, channels=4, seed=2)
    run.gaps[3_000:3_200] *= 6
    events = find_anomalies(run.adata()).events
    assert events[3_000:3_200].mean() > 0.9
    assert np.delete(events, np.s_[3_000:3_200]).mean() < 0.01


def test_without_a_stable_level_nothing_is_flagged_and_a_note_says_so() -> None:
    run = Run(n=10_000, channels=4, seed=4)
    run.signal *= 10 ** np.linspace(0, 1.5, 10_000)[:, None]
    adata = run.adata()
    found = find_anomalies(adata)
    assert not found.events.any()
    assert "events.unstable" in codes(adata)
    assert found.bins["why"].str.startswith("not flagged").any()


@pytest.mark.parametrize("time", ["none", "constant", "nan"])
def test_without_a_clock_it_cannot_be_told(time: str) -> None:
    run = Run(n=3_000, channels=3, seed=0)
    run.signal[1_000:1_200] *= 0.01
    adata = run.adata(time=np.full(3_000, np.nan if time == "nan" else 7.0))
    adata = adata[:, :-1].copy() if time == "none" else adata
    assert not find_anomalies(adata).events.any()
    assert codes(adata) == {"events.no_time"}


@pytest.mark.parametrize("how", ["as it is", "ticks", "few ticks", "restart", "shuffled", "jitter"])
def test_whatever_the_clock_does_the_same_events_are_found(how: str) -> None:
    run = Run(n=6_000, channels=4, seed=5)
    run.signal[2_000:2_300] *= 0.1
    run.bad[2_000:2_300] = True
    time = np.cumsum(run.gaps)
    time, order = time / time[-1] * 100, np.arange(6_000)
    if how == "ticks":
        time = np.floor(time)
    if how == "few ticks":
        time = np.floor(time / 10)
    if how == "restart":
        time = np.where(time > 60, time - 60, time)
    if how == "jitter":
        time = time + 0.01 * (np.arange(6_000) % 50 == 0)
    adata = run.adata(time=time)
    if how == "shuffled":
        order = np.random.default_rng(0).permutation(6_000)
        adata = adata[order].copy()
    events = find_anomalies(adata).events
    assert events[run.bad[order]].mean() >= 0.9
    assert events[~run.bad[order]].mean() <= 0.02
    said = {
        "few ticks": "coarse_time",
        "restart": "time_restarts",
        "shuffled": "time_unordered",
        "jitter": "time_jitter",
    }
    assert codes(adata) == ({f"events.{said[how]}"} if how in said else set())


def test_a_run_that_starts_in_the_middle_of_a_tick_has_no_clog_there() -> None:
    var = pd.DataFrame({"kind": ["time"]}, index=["Time"])
    values = np.repeat(np.arange(30), [10, *[100] * 28, 20]).astype("float32")[:, None]
    clock = read_clock(anndata.AnnData(values, var=var), values=values)
    gaps = np.diff(clock.time)
    assert gaps.max() < 2 * np.median(gaps)
    assert clock.time[0] > 0.8


def steady(*, n: int = 20_000, signal: np.ndarray | None = None, gaps: np.ndarray | None = None) -> anndata.AnnData:
    """One stained channel and a clock, nothing else going on."""
    rng = np.random.default_rng(0)
    light = rng.normal(500, 50, n) + (0 if signal is None else signal)
    time = np.cumsum(rng.exponential(1, n) * (1 if gaps is None else gaps))
    var = pd.DataFrame({"kind": ["time", "fluorescence"]}, index=["Time", "CD3"])
    return anndata.AnnData(np.column_stack([time, light]).astype("float32"), var=var)


@pytest.mark.parametrize(("effect", "matters"), [(0.1, False), (0.4, True)])
def test_a_shift_counts_from_a_small_effect_on_however_sure_it_is(effect: float, matters: bool) -> None:
    shift = np.zeros(20_000)
    shift[4_000:10_000] = effect * 50
    events = find_anomalies(steady(signal=shift)).events
    assert events[4_000:10_000].mean() > 0.9 if matters else not events.any()


@pytest.mark.parametrize(("times", "matters"), [(1.6, False), (3.0, True)])
def test_a_rate_counts_from_twice_the_usual_on(times: float, matters: bool) -> None:
    gaps = np.ones(20_000)
    gaps[5_000:6_000] /= times
    events = find_anomalies(steady(gaps=gaps)).events
    assert events[5_000:6_000].mean() > 0.9 if matters else not events.any()


def test_scores_of_few_events_are_as_normal_as_those_of_many() -> None:
    # of twenty events two lie in the upper tenth, now and then five: chance, which a normal law would not allow
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (4_000, 20))
    counts = np.array([np.bincount(row, minlength=256) for row in codes])
    run = _Run(["CD3"], counts[None], codes[:, :1].T, np.arange(0, 80_001, 20), np.empty(0))
    z, _ = _score(run, stable=np.ones(4_000, dtype=bool))
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(z.std(axis=0), 1, atol=0.05)
    assert np.abs(scipy.stats.skew(z)).max() < 0.2


def read(time: np.ndarray) -> Clock:
    values = time.astype("float32")[:, None]
    return read_clock(anndata.AnnData(values, var=pd.DataFrame({"kind": ["time"]}, index=["Time"])), values=values)


def test_a_pause_is_cut_out_of_the_time_that_rates_are_told_by_and_stays_in_what_is_shown() -> None:
    clock = read(np.arange(1_000) + np.where(np.arange(1_000) >= 400, 10_000.0, 0.0))
    assert clock.notes[0][::2] == ("events.pause", 1)
    assert np.diff(clock.time).max() < 3
    assert np.ptp(clock.shown) == 10_999


def test_the_events_of_a_tick_are_spread_evenly_over_it() -> None:
    clock = read(np.repeat(np.arange(50), 20))
    np.testing.assert_allclose(np.diff(clock.time), 0.05)
    assert clock.time[0] == pytest.approx(0.025)


def test_samples_are_judged_apart_and_few_events_not_at_all() -> None:
    run, other = Run(n=4_000, channels=4, seed=6), Run(n=300, channels=4, seed=7)
    run.signal[1_000:1_300] *= 0.1
    one = run.adata()
    both = anndata.concat([one, other.adata()], label="sample_id", keys=["a", "b"], merge="same", index_unique="-")
    shuffled = both[np.random.default_rng(1).permutation(both.n_obs)].copy()
    found = find_anomalies(shuffled)
    expected = find_anomalies(one)
    assert set(found.bins["sample_id"]) == {"a"}
    assert not found.events[(shuffled.obs["sample_id"] == "b").to_numpy()].any()
    assert found.events.sum() == expected.events.sum()
    assert "events.no_acquisition_check" in codes(shuffled)


def test_stretches_against_brute_force() -> None:
    """One jump in one of two features: no other pair of ends saves more squared deviation."""
    z = np.random.default_rng(3).normal(size=(40, 2))
    z[11:19, 0] += 4
    (found,) = find_stretches(z, correlation=np.eye(2))
    saved = {(i, j): (z[i:j, 0].sum() ** 2) / (j - i) for i in range(40) for j in range(i + 1, 41)}
    best = max(saved, key=lambda ends: saved[ends])
    assert abs(found.start - best[0]) <= 1
    assert abs(found.stop - best[1]) <= 1
    assert found.sure.tolist() == [True, False]


def test_a_line_begins_where_it_begins() -> None:
    rng = np.random.default_rng(4)
    errors = []
    for _ in range(10):
        z = rng.normal(size=(200, 5))
        z[120:, :3] += np.linspace(0, 8, 80)[:, None]
        errors.append(find_stretches(z, correlation=np.eye(5))[0].start - 120)
    assert abs(np.mean(errors)) <= 6
    assert np.abs(errors).max() <= 16


def test_noise_has_no_stretches() -> None:
    rng = np.random.default_rng(5)
    mixed = 0.5 * np.eye(8) + 0.5
    root = np.linalg.cholesky(mixed)
    assert sum(bool(find_stretches(rng.normal(size=(150, 8)) @ root.T, correlation=mixed)) for _ in range(40)) <= 1


@pytest.mark.real
@pytest.mark.skipif(not (DATA / "cytometry" / "peacoqc_111").exists(), reason="the real data are not here")
def test_a_laser_that_was_dark_at_first_is_seen() -> None:
    adata = read_fcs(DATA / "cytometry" / "peacoqc_111" / "111.fcs")
    found = find_anomalies(adata)
    flagged = np.flatnonzero(found.events)
    # the channels of the green laser rise tenfold over the first 900 of 10,000 events
    assert flagged.max() < 1_000
    assert 800 <= len(flagged) <= 950
    assert found.bins.loc[found.bins["flagged"] > 0, "why"].str.contains("G").all()

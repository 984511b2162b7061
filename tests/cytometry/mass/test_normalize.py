from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellprec.cytometry.mass.beads import find_beads, rolling_median
from cellprec.cytometry.mass.masses import channel_masses
from cellprec.cytometry.mass.normalize import normalize_beads
from cellprec.errors import StudyError, UsageError
from cellprec.notes import get_notes

DATA = Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[4] / "shared" / "data")) / "cytometry" / "catalyst"
BEADS = {140: 2800.0, 151: 2200.0, 153: 2850.0, 165: 2840.0, 175: 2740.0}
METALS = {
    89: "Y", 105: "Pd", 140: "Ce", 146: "Nd", 151: "Eu", 153: "Eu", 159: "Tb", 165: "Ho", 170: "Er", 175: "Lu",
    191: "Ir", 193: "Ir",
}  # fmt: skip
MASSES = np.array(list(METALS))
NAMES = [f"{metal}{mass}Di" for mass, metal in METALS.items()]

Drift = Callable[[np.ndarray], np.ndarray]


def flat(t: np.ndarray) -> np.ndarray:
    return np.ones_like(t)


def linear(t: np.ndarray) -> np.ndarray:
    return 1.3 - 0.6 * t


def step(t: np.ndarray) -> np.ndarray:
    return np.where(t < 0.4, 1.0, 0.6)


def wave(t: np.ndarray) -> np.ndarray:
    return 1 + 0.25 * np.sin(4 * np.pi * t)


class Acquisition:
    """A run of known truth: what each event is, and what the instrument made of it."""

    def __init__(
        self,
        *,
        gain: float = 1.0,
        drift: Drift = flat,
        tilt: float = 0.0,
        beads: int = 800,
        cells: int = 6000,
        stuck: int = 80,
        pairs: int = 20,
        level: float = 1.0,
        seed: int = 0,
        odd: dict[int, float] | None = None,
    ) -> None:
        rng = np.random.default_rng(seed)
        n = beads + cells + stuck + pairs
        kind = rng.permutation(np.repeat(["bead", "cell", "stuck", "pair"], [beads, cells, stuck, pairs]))
        content = np.zeros((n, len(MASSES)))
        self.cell = np.exp(rng.normal(np.log(2), 1, (n, len(MASSES))))
        positive = rng.random((n, len(MASSES))) < 0.3
        self.cell[positive] += np.exp(rng.normal(np.log(150), 0.7, positive.sum()))
        self.cell[:, -2:] = np.exp(rng.normal(np.log([300, 520]), 0.25, (n, 2)))
        bead = np.zeros((n, len(MASSES)))
        size = np.exp(rng.normal(0, 0.07, n))
        for mass, amount in BEADS.items():
            bead[:, mass == MASSES] = (level * amount * size * np.exp(rng.normal(0, 0.05, n)))[:, None]
        content[kind != "bead"] += self.cell[kind != "bead"]
        content[kind == "pair"] = 2 * bead[kind == "pair"]
        content[np.isin(kind, ["bead", "stuck"])] += bead[np.isin(kind, ["bead", "stuck"])]
        time = np.sort(rng.uniform(0, 1, n))
        self.truth = gain * drift(time)[:, None] * np.exp(tilt * (MASSES - 155) / 35)
        for mass, factor in (odd or {}).items():
            self.truth[:, mass == MASSES] *= factor
        counts = rng.poisson(content * self.truth) + rng.uniform(-1, 0, content.shape)
        self.kind, self.content = kind, content
        values = np.column_stack([time * 1e6, rng.integers(10, 30, n), np.maximum(counts, 0)]).astype("float32")
        kinds = ["time", "other"] + ["mass"] * len(NAMES)
        var = pd.DataFrame({"channel": ["Time", "Event_length", *NAMES], "kind": kinds})
        self.adata = anndata.AnnData(values, var=var.set_index("channel", drop=False))
        self.adata.var.index.name = None
        self.adata.obs["sample_id"] = "run"

    def kept_gain(self) -> np.ndarray:
        """Sensitivity that is left for each cell and mass channel: truth × factor."""
        raw, after = np.asarray(self.adata.layers["raw"])[:, 2:], np.asarray(self.adata.X)[:, 2:]
        factor = np.divide(after, raw, out=np.full(raw.shape, np.nan), where=raw > 0)
        return (factor * self.truth)[self.kind == "cell"]

    def bead_medians(self) -> np.ndarray:
        """Medians of the true beads, which need not be those that were found."""
        columns = [2 + int(np.flatnonzero(mass == MASSES)[0]) for mass in BEADS]
        return np.median(np.asarray(self.adata.X)[self.kind == "bead"][:, columns], axis=0)


def normalized(**runs: Acquisition) -> pd.DataFrame:
    return normalize_beads({name: run.adata for name, run in runs.items()})


def spread(*runs: Acquisition) -> float:
    """Largest distance of a bead median of one run from that of another."""
    medians = np.array([run.bead_medians() for run in runs])
    return float((medians.max(axis=0) / medians.min(axis=0)).max() - 1)


def codes(run: Acquisition) -> set[str]:
    return {note.code for note in get_notes(run.adata)}


@pytest.mark.parametrize("drift", [flat, linear, step, wave])
@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_runs_of_any_gain_and_drift_come_to_one_sensitivity(gain: float, drift: Drift) -> None:
    one, other = Acquisition(gain=gain, drift=drift), Acquisition(seed=1)
    table = normalized(one=one, other=other)
    assert spread(one, other) < 0.05
    assert set(table["method"]) == {"one factor"}
    left = [np.nanmedian(run.kept_gain()) for run in (one, other)]
    assert left[0] == pytest.approx(left[1], rel=0.02)
    # within the run: what is left of the drift, from the 5th to the 95th percentile of the cells
    low, high = np.nanquantile(one.kept_gain(), [0.05, 0.95])
    assert high / low < 1.10


def test_sensitivity_that_depends_on_the_mass_is_taken_out_at_the_masses_between() -> None:
    runs = [Acquisition(tilt=0.25, drift=linear), Acquisition(tilt=-0.2, drift=wave, seed=1), Acquisition(seed=2)]
    table = normalize_beads({str(i): run.adata for i, run in enumerate(runs)})
    assert spread(*runs) < 0.02
    assert set(table["method"]) == {"by mass"}
    within = (MASSES >= 140) & (MASSES <= 175)
    left = np.array([np.nanmedian(run.kept_gain(), axis=0) for run in runs])[:, within]
    assert (left.max(axis=0) / left.min(axis=0)).max() < 1.03
    assert all("events.beyond_beads" in codes(run) for run in runs)


def test_one_factor_cannot_mend_a_dependence_on_mass_and_says_so() -> None:
    one, other = Acquisition(tilt=0.25), Acquisition(seed=1)
    normalize_beads({"one": one.adata, "other": other.adata}, by_mass="never")
    assert spread(one, other) > 0.05
    assert "events.beads_apart" in codes(one)


def test_beads_are_told_from_cells_beads_on_cells_and_pairs_of_beads() -> None:
    run = Acquisition(gain=0.5, drift=step, stuck=1500, pairs=60)
    normalized(run=run)
    alone, held = run.adata.obs["bead_alone"].to_numpy(), run.adata.obs["bead"].to_numpy()
    assert alone[run.kind == "bead"].mean() > 0.98
    assert alone[run.kind != "bead"].sum() == 0
    assert held[run.kind != "cell"].mean() > 0.99
    assert held[run.kind == "cell"].sum() == 0


@pytest.mark.parametrize("n", [1, 2, 26, 51, 100, 300])
@pytest.mark.parametrize("window", [3, 25, 101, 1001])
def test_the_running_median_narrows_towards_the_ends(n: int, window: int) -> None:
    values = np.random.default_rng(n).normal(size=(n, 2))
    half = min(window // 2, n)
    for i, found in enumerate(rolling_median(values, window=window)):
        reach = max(min(half, i, n - 1 - i), min(half, 25))
        np.testing.assert_allclose(found, np.median(values[max(0, i - reach) : i + reach + 1], axis=0))


@pytest.mark.parametrize("beads", [30, 60])
def test_few_beads_still_bring_runs_together(beads: int) -> None:
    one, other = Acquisition(gain=0.5, beads=beads, stuck=3, pairs=1), Acquisition(beads=beads, seed=1, pairs=1)
    normalized(one=one, other=other)
    assert spread(one, other) < 0.05


@given(gain=st.floats(0.3, 4.0), seed=st.integers(0, 3))
@settings(max_examples=10, deadline=None)
def test_a_run_and_the_same_run_at_another_gain_become_the_same(gain: float, seed: int) -> None:
    run = Acquisition(cells=500, beads=100, stuck=10, drift=linear, seed=seed).adata
    louder = run.copy()
    louder.X[:, 2:] *= gain
    normalize_beads({"run": run, "louder": louder})
    np.testing.assert_allclose(louder.X, run.X, rtol=1e-4)


def test_without_dna_channels_beads_are_found_by_their_metals_and_it_is_said() -> None:
    one, other = Acquisition(gain=0.5), Acquisition(seed=1)
    for run in (one, other):
        run.adata = run.adata[:, :-2].copy()
    normalized(one=one, other=other)
    assert spread(one, other) < 0.05
    assert one.adata.obs["bead"][one.kind == "cell"].sum() == 0
    assert "events.no_dna" in codes(one)


def test_other_channels_and_the_raw_values_stay_and_all_mass_channels_share_the_factor() -> None:
    run, other = Acquisition(gain=0.5, drift=linear), Acquisition(seed=1)
    before = np.array(run.adata.X)
    normalized(run=run, other=other)
    np.testing.assert_array_equal(run.adata.layers["raw"], before)
    np.testing.assert_array_equal(run.adata.X[:, :2], before[:, :2])
    factor = run.adata.obs["bead_factor"].to_numpy()[:, None]
    np.testing.assert_allclose(run.adata.X[:, 2:], before[:, 2:] * factor, rtol=1e-5)


def test_jumbled_rows_give_the_same_factors_by_time() -> None:
    sorted_run, jumbled = Acquisition(drift=linear), Acquisition(drift=linear)
    order = np.random.default_rng(0).permutation(jumbled.adata.n_obs)
    jumbled.adata = jumbled.adata[order].copy()
    normalized(run=sorted_run)
    normalized(run=jumbled)
    np.testing.assert_allclose(
        jumbled.adata.obs["bead_factor"], sorted_run.adata.obs["bead_factor"].to_numpy()[order], rtol=1e-6
    )
    assert "events.time_jumbled" in codes(jumbled)


def test_a_run_without_beads_is_refused_and_nothing_is_written() -> None:
    runs = {
        "good": Acquisition(),
        "empty": Acquisition(beads=0, stuck=0, pairs=0),
        "few": Acquisition(beads=5, stuck=0),
    }
    with pytest.raises(StudyError) as caught:
        normalized(**runs)
    assert [problem.sample for problem in caught.value.problems] == ["empty", "few"]
    assert "raw" not in runs["good"].adata.layers
    assert "bead_factor" not in runs["good"].adata.obs


def test_a_run_without_beads_may_be_left_and_is_loud_about_it() -> None:
    good, empty = Acquisition(gain=2), Acquisition(beads=0, stuck=0, pairs=0)
    before = np.array(empty.adata.X)
    table = normalize_beads({"empty": empty.adata, "good": good.adata}, on_missing="leave")
    np.testing.assert_array_equal(empty.adata.X, before)
    assert not empty.adata.obs["bead"].any()
    assert "events.not_normalized" in codes(empty)
    assert table["run"].unique().tolist() == ["empty", "good"]
    assert table.loc[table["run"] == "empty", "says"].str.contains("too few").all()


def test_cells_bright_in_every_bead_channel_are_no_beads() -> None:
    run = Acquisition(beads=0, stuck=0, pairs=0)
    rng = np.random.default_rng(3)
    for mass in BEADS:
        run.adata.X[:400, 2 + int(np.flatnonzero(mass == MASSES)[0])] = np.exp(rng.normal(np.log(900), 0.6, 400))
    with pytest.raises(StudyError):
        normalized(run=run)
    run.adata.X[:400, -2:] = 0  # dead and without DNA, but of no fixed proportion of metals
    with pytest.raises(StudyError):
        normalized(run=run)


def test_a_bead_channel_that_only_another_lot_explains_is_named() -> None:
    runs = {"one": Acquisition(odd={151: 1.4}), "other": Acquisition(seed=1)}
    normalized(**runs)
    texts = [note.text for note in get_notes(runs["one"].adata) if note.code == "events.bead_channel_odd"]
    assert "Eu151Di" in texts[0]
    assert "Eu153Di" not in texts[0]


def test_a_baseline_of_an_earlier_study_is_reached() -> None:
    first = normalized(first=Acquisition())
    later = Acquisition(gain=0.5, seed=5)
    normalize_beads({"later": later.adata}, baseline=first.set_index("channel")["baseline"])
    np.testing.assert_allclose(later.bead_medians(), first["baseline"], rtol=0.03)


def test_compensated_values_are_scaled_as_well() -> None:
    one, other = Acquisition(gain=0.5), Acquisition(seed=1)
    for run in (one, other):
        run.adata.layers["compensated"] = run.adata.X.copy()
    normalized(one=one, other=other)
    np.testing.assert_allclose(one.adata.layers["compensated"], one.adata.X, rtol=1e-6)


@pytest.mark.parametrize("beads", ["eq4", [140, 151, 153, 165, 175], ["Ce140Di", "Eu151Di", "Ho165Di", "Lu175Di"]])
def test_beads_are_named_by_set_mass_or_channel(beads: str | list) -> None:
    one, other = Acquisition(gain=0.5), Acquisition(seed=1)
    normalize_beads({"one": one.adata, "other": other.adata}, beads=beads)
    assert spread(one, other) < 0.05


def test_a_missing_bead_channel_is_named_with_what_looks_like_it() -> None:
    run = Acquisition()
    with pytest.raises(StudyError, match=r"Ho166Di.*Ho165Di"):
        normalize_beads({"run": run.adata}, beads=["Ce140Di", "Ho166Di"])


def test_wrong_calls_are_refused() -> None:
    run = Acquisition()
    for wrong in ({"beads": "eq5"}, {"by_mass": "sometimes"}, {"on_missing": "ignore"}, {"window": 1}):
        with pytest.raises(UsageError):
            normalize_beads({"run": run.adata}, **wrong)
    normalized(run=run)
    with pytest.raises(UsageError, match="normalized already"):
        normalized(run=run)


def test_the_result_is_written_to_h5ad(tmp_path: Path) -> None:
    run = Acquisition(cells=500)
    normalized(run=run)
    run.adata.write_h5ad(tmp_path / "run.h5ad")
    again = anndata.read_h5ad(tmp_path / "run.h5ad")
    pd.testing.assert_frame_equal(again.uns["beads"], run.adata.uns["beads"], check_dtype=False)


@pytest.mark.parametrize(
    ("channel", "mass"),
    [("Ce140Di", 140), ("(Ce140)Dd", 140), ("140Ce", 140), ("CD3_Er170", 170), ("CD140", None), ("Time", None)],
)
def test_masses_are_read_from_names(channel: str, mass: int | None) -> None:
    adata = anndata.AnnData(shape=(0, 1), var=pd.DataFrame({"channel": [channel]}, index=["a"]))
    found = channel_masses(adata).iloc[0]
    assert found == mass if mass else np.isnan(found)


def plain(gain: float = 1.0, *, proportions: tuple[float, ...] = (1, 1, 1, 1, 1)) -> anndata.AnnData:
    """300 cells and 100 beads without drift."""
    names = ["Ce140Di", "Eu151Di", "Eu153Di", "Ho165Di", "Lu175Di", "Ir191Di"]
    rng = np.random.default_rng(0)
    cells, beads = rng.gamma(1, 20, (300, 6)), rng.normal(1000, 30, (100, 6)) * np.array([*proportions, 1])
    cells[:, 5], beads[:, 5] = 300, 1
    var = pd.DataFrame({"channel": names, "kind": "mass"}, index=names)
    return anndata.AnnData((np.vstack([cells, beads]) * gain).astype("float32"), var=var)


def test_the_baseline_is_the_geometric_mean_of_the_runs_not_the_run_in_the_middle() -> None:
    table = normalize_beads({"a": plain(1.0), "b": plain(1.0), "c": plain(8.0)})
    before = table.pivot(index="channel", columns="run", values="before")
    baseline = table.groupby("channel")["baseline"].first()
    np.testing.assert_allclose(baseline, np.exp(np.log(before).mean(axis=1)), rtol=0.01)
    np.testing.assert_allclose(table["after"], table["baseline"], rtol=0.01)


def test_one_factor_is_the_slope_through_the_origin() -> None:
    run = plain(proportions=(3, 1, 1, 1, 1))
    wanted = pd.Series(1000.0, index=run.var_names[:5])
    table = normalize_beads({"a": run}, by_mass="never", baseline=wanted)
    seen = table["before"].to_numpy()
    # bright channels weigh more than in a ratio of sums, which would be 0.71
    expected = (seen * 1000).sum() / (seen**2).sum()
    assert expected == pytest.approx(7 / 13, rel=0.01)
    np.testing.assert_allclose(run.obs["bead_factor"], expected, rtol=0.03)


def test_a_channel_of_no_known_mass_takes_the_factor_of_the_middle_bead_mass() -> None:
    run = plain(proportions=(3, 1, 1, 1, 1))
    var = pd.DataFrame({"channel": ["Extra"], "kind": "mass"}, index=["Extra"])
    extra = anndata.AnnData(np.full((400, 1), 50, dtype="float32"), obs=run.obs, var=var)
    run = anndata.concat([run, extra], axis=1)
    normalize_beads({"a": run}, by_mass="always", baseline=pd.Series(1000.0, index=run.var_names[:5]))
    np.testing.assert_allclose(run[:, "Extra"].X, 50, rtol=0.05)
    assert "events.no_mass" in {note.code for note in get_notes(run)}


def test_cells_dark_in_one_of_two_dna_channels_are_no_candidates() -> None:
    rng = np.random.default_rng(0)
    # more and more alike in the bead channels than the beads are
    cells, beads = rng.normal(300, 3, (2000, 5)), rng.normal(1000, 50, (100, 5))
    dna = np.column_stack([np.r_[rng.normal(400, 40, 2000), rng.gamma(1, 1, 100)], np.zeros(2100)])
    found = find_beads(np.vstack([cells, beads]), dna=dna, position=rng.permutation(2100))
    assert not found.holding[:2000].any()
    assert found.alone[2000:].mean() > 0.95


def test_an_event_holds_a_bead_from_half_its_brightness_on() -> None:
    rng = np.random.default_rng(0)
    signal = np.vstack([rng.normal(1000, 30, (100, 5)), np.full((5, 5), 600.0), np.full((5, 5), 400.0)])
    signal[-6, 2] = 400  # all metals of a bead or none
    dna = np.r_[np.ones(100), np.full(10, 500.0)][:, None]
    found = find_beads(signal, dna=dna, position=rng.permutation(110))
    assert found.holding.tolist() == [True] * 104 + [False] * 6
    assert not found.alone[100:].any()


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason="the real data sets are not there")
@pytest.mark.parametrize(("gain", "drift"), [(1.0, flat), (0.5, linear), (2.0, wave)])
def test_real_acquisitions_come_within_five_percent(gain: float, drift: Drift) -> None:
    samples = {}
    for name in ("V1", "V2"):
        table = pd.read_csv(DATA / f"raw_data_{name}.csv.gz")
        channels = [column.split("|")[0] for column in table]
        kinds = ["mass" if c.endswith("Di") else "time" if c == "Time" else "other" for c in channels]
        var = pd.DataFrame({"channel": channels, "kind": kinds}, index=channels)
        values = table.to_numpy("float32")
        if name == "V2":
            values[:, var["kind"] == "mass"] *= gain * drift(np.linspace(0, 1, len(values)))[:, None]
        samples[name] = anndata.AnnData(values, var=var)
    # an oracle of its own: whatever is bright in all five channels
    bright = {}
    for name, adata in samples.items():
        bright[name] = (adata[:, ["Ce140Di", "Eu151Di", "Eu153Di", "Ho165Di", "Lu175Di"]].X > 300).all(axis=1)
    assert [int(rows.sum()) for rows in bright.values()] == [98, 59]
    table = normalize_beads(samples)
    medians = [np.median(samples[name][rows][:, table["channel"].unique()].X, axis=0) for name, rows in bright.items()]
    assert np.abs(medians[0] / medians[1] - 1).max() < 0.05


def test_one_object_is_no_set_of_runs() -> None:
    adata = anndata.AnnData(np.ones((5, 1)), var=pd.DataFrame({"channel": ["Ce140Di"]}, index=["Ce140Di"]))
    with pytest.raises(UsageError, match="no runs"):
        normalize_beads(adata)

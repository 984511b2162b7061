"""A matrix that is known, controls simulated through it with everything that real ones suffer from."""

from __future__ import annotations

import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from cellprec.cytometry.compensation.single_stain import SingleStain, split_control
from cellprec.cytometry.compensation.spillover import _refine, estimate_spillover, robust_lines, spillover_table
from cellprec.errors import InputError, StudyError, UsageError
from cellprec.io.fcs import read_fcs

DATA = Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[4] / "shared" / "data"))
FLOWCORE = DATA / "cytometry" / "flowcore_compensation"

TOP = 262_143.0


def matrix_of(k: int, rng: np.random.Generator) -> np.ndarray:
    spill = np.where(rng.random((k, k)) < 0.5, rng.gamma(0.6, 0.12, (k, k)), 0.01 * rng.random((k, k)))
    spill = np.clip(spill, 0, 0.9)
    np.fill_diagonal(spill, 1)
    return spill


class Bench:
    """A cytometer with detectors, autofluorescent cells, and dyes seen through a known matrix as photons."""

    def __init__(self, seed: int, *, k: int = 5, gain: float = 5.0, noise: float = 15.0, scatter: bool = True) -> None:
        self.rng = np.random.default_rng(seed)
        self.truth, self.gain, self.noise, self.scatter = matrix_of(k, self.rng), gain, noise, scatter
        self.names = [f"B{i}-A" for i in range(k)]
        self.auto = 1.5 * self.rng.random(k)

    def record(
        self,
        dye: int | None = None,
        *,
        n: int = 4000,
        bright: tuple[float, float] = (8.5, 0.5),
        stained: float = 1.0,
        bead: bool = False,
        dirt: float = 0.01,
        auto: float = 4.0,
    ) -> anndata.AnnData:
        rng, k = self.rng, len(self.names)
        size = rng.lognormal(0, 0.15, (n, 1))
        light = rng.lognormal(auto - 1.5 * bead, 0.1 if bead else 0.4, (n, 1)) * self.auto * size
        if dye is not None:
            mean, spread = bright
            amount = rng.lognormal(mean, 0.2 if bead else spread, n) * (rng.random(n) < stained)
            light = light + np.outer(amount, self.truth[dye])
        seen = rng.poisson(light / self.gain) * self.gain + rng.normal(0, self.noise, (n, k))
        dirty = rng.random(n) < dirt
        seen[dirty] = rng.lognormal(7, 1.5, (dirty.sum(), 1)) * rng.random((dirty.sum(), k))
        seen = np.minimum(seen, TOP)
        at = (25_000, 80_000) if bead else (60_000, 30_000)
        scatter = np.c_[at[0] * size[:, 0], at[1] * size[:, 0]] * rng.normal(1, 0.07, (n, 2))
        names = (["FSC-A", "SSC-A"] if self.scatter else []) + self.names
        kinds = ["scatter"] * (2 * self.scatter) + ["fluorescence"] * k
        var = pd.DataFrame({"channel": names, "kind": kinds}, index=names)
        values = np.c_[scatter, seen] if self.scatter else seen
        return anndata.AnnData(values.astype("float32"), var=var)

    def stains(self, **how) -> dict[str, anndata.AnnData]:
        return {name: self.record(dye, **how) for dye, name in enumerate(self.names)}

    def error(self, found: pd.DataFrame) -> float:
        assert list(found.index) == list(found.columns) == self.names
        return float(np.abs(found.to_numpy() - self.truth).max())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("setup", "how"),
    [
        ({}, {}),
        ({}, {"bright": (8.0, 1.2)}),
        ({"gain": 40.0, "noise": 60.0}, {}),
        ({}, {"stained": 0.8}),
        ({}, {"stained": 0.4}),
        ({}, {"dirt": 0.05}),
        ({}, {"bright": (11.5, 0.6)}),
        ({"scatter": False}, {}),
        ({"k": 14}, {"n": 1500}),
    ],
    ids=["plain", "wide", "noisy", "fifth unstained", "mostly unstained", "dirt", "saturated", "no scatter", "many"],
)
def test_the_matrix_comes_back_within_half_a_percent(seed: int, setup: dict, how: dict) -> None:
    bench = Bench(seed, **setup)
    found = estimate_spillover(bench.stains(**how), unstained=bench.record(dirt=how.get("dirt", 0.01)))
    assert bench.error(found) < 0.005


@pytest.mark.parametrize("seed", range(2))
def test_dim_controls_come_back_within_one_percent(seed: int) -> None:
    bench = Bench(seed)
    found = estimate_spillover(bench.stains(bright=(6.0, 0.4), n=8000), unstained=bench.record(n=8000))
    assert bench.error(found) < 0.01


def test_beads_stand_on_beads_and_cells_on_cells() -> None:
    bench = Bench(1)
    stains = {n: bench.record(i, stained=0.6, bead=i % 2 == 0, auto=5.5) for i, n in enumerate(bench.names)}
    assert bench.error(estimate_spillover(stains, unstained=bench.record(auto=5.5))) < 0.005
    table = spillover_table({name: bench.record(i) for i, name in enumerate(bench.names)}, unstained=bench.record())
    assert set(table["background"]) == {"unstained"}


def test_unstained_of_another_scatter_are_no_background() -> None:
    bench = Bench(2)
    stains = bench.stains(bright=(8.0, 1.0))
    stains[bench.names[0]] = bench.record(0, bead=True)
    found = estimate_spillover(stains, unstained=bench.record(auto=6.5))
    table = spillover_table(stains, unstained=bench.record(auto=6.5)).set_index("dye")
    assert set(table.loc[bench.names[0], "background"]) == {"none"}
    assert set(table.loc[bench.names[0], "how"]) == {"regression"}
    assert any(bench.names[0] in note and "no negatives" in note for note in found.attrs["notes"])


@pytest.mark.parametrize("method", ["auto", "regression"])
def test_without_unstained_the_slope_within_a_wide_control_says_it(method: str) -> None:
    bench = Bench(3)
    assert bench.error(estimate_spillover(bench.stains(bright=(8.0, 1.0)), method=method)) < 0.005


def test_refined_regression_agrees_with_the_truth_and_medians_nearly() -> None:
    bench = Bench(4)
    stains, blank = bench.stains(), bench.record()
    assert bench.error(estimate_spillover(stains, unstained=blank, method="regression")) < 0.005
    assert bench.error(estimate_spillover(stains, unstained=blank, method="medians")) < 0.01


def test_intervals_hold_the_truth() -> None:
    inside = []
    for seed in range(6):
        bench = Bench(seed, k=4)
        table = spillover_table(bench.stains(n=2000), unstained=bench.record(n=2000))
        true = [
            bench.truth[bench.names.index(d), bench.names.index(e)]
            for d, e in zip(table.dye, table.detector, strict=True)
        ]
        inside += ((table.low <= true) & (true <= table.high)).tolist()
    # 95 % of sampling alone: skewed autofluorescence and dirt take their part
    assert np.mean(inside) > 0.8


def test_a_stain_that_shifts_the_background_is_told() -> None:
    bench = Bench(5)
    stains, blank = bench.stains(bright=(7.0, 0.9)), bench.record()
    shifted = stains[bench.names[2]]
    # stained cells glow in another detector by as much, however bright they are
    shifted.X[:, 2 + 4] += 150
    found = estimate_spillover(stains, unstained=blank)
    told = [note for note in found.attrs["notes"] if "no single line" in note]
    assert len(told) == 1
    assert bench.names[2] in told[0]
    assert "B4-A" in told[0]


def test_controls_find_their_channel_and_swapped_ones_are_refused() -> None:
    bench = Bench(6)
    stains, blank = bench.stains(), bench.record()
    by_file = {f"tube_{i}.fcs": stains[name] for i, name in enumerate(reversed(bench.names))}
    found = estimate_spillover(by_file, unstained=blank)
    assert bench.error(found) < 0.005
    assert sum("brightest" in note for note in found.attrs["notes"]) == len(bench.names)
    bench.truth = np.eye(5)
    clean = bench.stains()
    clean["B0-A"], clean["B1-A"] = clean["B1-A"], clean["B0-A"]
    with pytest.raises(StudyError) as caught:
        estimate_spillover(clean, unstained=blank)
    assert [p.code for p in caught.value.problems] == ["compensation.dim"] * 2
    assert "brightest in B1-A" in str(caught.value)


def test_every_problem_is_told_at_once() -> None:
    bench = Bench(7)
    stains, blank = bench.stains(), bench.record()
    with pytest.raises(StudyError) as caught:
        estimate_spillover({**stains, "B2": stains["B2-A"]}, unstained=blank, channels=[*bench.names, "B9-A"])
    assert {p.code for p in caught.value.problems} == {"compensation.twice", "compensation.missing"}
    bad = {**stains, "B1-A": bench.record(1, bright=(1.0, 0.1)), "B3-A": bench.record(3, bright=(14.0, 0.5))}
    with pytest.raises(StudyError) as caught:
        estimate_spillover(bad, unstained=blank)
    assert {(p.sample, p.code) for p in caught.value.problems} == {
        ("B1-A", "compensation.dim"),
        ("B3-A", "compensation.saturated"),
    }
    with pytest.raises(StudyError, match="at least 100"):
        estimate_spillover({**stains, "B0-A": stains["B0-A"][:20].copy()}, unstained=blank)
    with pytest.raises(StudyError, match="B0-A"):
        estimate_spillover({**stains, "B4-A": stains["B4-A"][:, 3:].copy()}, unstained=blank)
    with pytest.raises(StudyError, match="no single-stained"):
        estimate_spillover({})


def test_ambiguous_mass_transformed_and_unknown_methods_are_refused() -> None:
    bench = Bench(8)
    bench.truth[0] = [1, 0.97, 0, 0, 0]
    stains, blank = bench.stains(), bench.record()
    named = {("one.fcs" if name == "B0-A" else name): adata for name, adata in stains.items()}
    with pytest.raises(StudyError, match="about equally bright"):
        estimate_spillover(named, unstained=blank)
    with pytest.raises(UsageError, match="guess"):
        estimate_spillover(stains, unstained=blank, method="guess")
    done = blank.copy()
    done.var["transform"] = "logicle"
    with pytest.raises(StudyError, match="transformed"):
        estimate_spillover(stains, unstained=done)
    mass = blank.copy()
    mass.var["kind"] = "mass"
    with pytest.raises(StudyError, match="no fluorescence"):
        estimate_spillover(stains, unstained=mass)


def test_a_control_that_tells_nothing_is_refused() -> None:
    bench = Bench(9)
    narrow = bench.stains(bright=(6.0, 0.01), n=150, dirt=0.0)
    with pytest.raises(InputError, match="varies too little"):
        estimate_spillover(narrow)


def test_a_robust_line_is_deaf_to_what_lies_far_off() -> None:
    rng = np.random.default_rng(0)
    x = rng.lognormal(6, 1, 3000)
    y = 20 + np.outer(x, [0.0, 0.3]) + rng.normal(0, 1, (3000, 2)) * np.sqrt(x)[:, None]
    y[:300] = 50_000
    lines = robust_lines(x, y)
    np.testing.assert_allclose(lines.slope, [0.0, 0.3], atol=4 * lines.error.max())
    assert lines.error.max() < 0.005


def test_a_coarse_scale_is_no_saturation() -> None:
    bench = Bench(10, k=3)
    stains, blank = bench.stains(), bench.record()
    for adata in (*stains.values(), blank):
        # ten bits over four decades, as old instruments store them: many events share the highest value
        adata.X[:, 2:] = 10 ** (np.round(np.log10(np.clip(adata.X[:, 2:], 1, None)) * 64) / 64)
    found = spillover_table(stains, unstained=blank)
    assert found["n_saturated"].max() < 40
    assert np.abs(found["spillover"] - bench.truth[~np.eye(3, dtype=bool)]).max() < 0.01
    clipped = bench.record(1, bright=(12.0, 0.5))
    table = spillover_table({**stains, "B1-A": clipped}, unstained=blank).set_index("dye")
    assert table.loc["B1-A", "n_saturated"].max() == int((clipped.X[:, 2:] >= TOP).any(axis=1).sum())


def test_dropped_events_do_not_count() -> None:
    bench = Bench(3)
    stains, unstained = bench.stains(), bench.record()
    expected = estimate_spillover(stains, unstained=unstained)
    rng = np.random.default_rng(0)
    for adata in [*stains.values(), unstained]:
        adata.obs["keep"] = True
    stain, n = stains[bench.names[0]], 3000
    wrong = anndata.AnnData(stain.X[rng.integers(0, stain.n_obs, n)].copy(), var=stain.var)
    wrong.X[:, 2:] = rng.normal(9000, 300, (n, len(bench.names)))
    wrong.obs["keep"] = False
    stains[bench.names[0]] = anndata.concat([stain, wrong], merge="same", index_unique="-")
    pd.testing.assert_frame_equal(estimate_spillover(stains, unstained=unstained), expected)


def test_controls_without_a_finite_event_are_refused_by_name() -> None:
    bench = Bench(3, k=2)
    stains = bench.stains(n=400)
    stains["B0-A"].X[:] = np.nan
    with pytest.raises(StudyError, match="B0-A"):
        estimate_spillover(stains, unstained=bench.record(n=400))
    blank = bench.record(n=400)
    blank.X[:] = np.nan
    table = spillover_table(bench.stains(n=400, stained=0.6), unstained=blank)
    assert set(table["background"]) == {"own negatives"}


def test_refining_some_rows_leaves_the_others_as_they_were() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([[1, 0.5, 0.1], [0.3, 1, 0.4], [0.05, 0.35, 1]])
    light = rng.lognormal(7, 1, (2000, 1)) * truth[0] + rng.normal(0, 3, (2000, 3))
    stain = SingleStain("a", "B0-A", light, light[:0], "none")
    start = truth.copy()
    start[0] = [1, 0, 0]
    found, _ = _refine([stain] * 3, start, rows=[0])
    np.testing.assert_array_equal(found[1:], truth[1:])
    np.testing.assert_allclose(found[0], truth[0], atol=0.005)


def test_positives_are_of_one_scatter_and_a_background_of_tighter_scatter_is_none() -> None:
    bench = Bench(4, k=2)
    control = bench.record(0, stained=1.0, dirt=0)
    odd = control.X[:, 0] > np.quantile(control.X[:, 0], 0.9)
    control.X[odd, 0] *= 5
    blank = bench.record(dirt=0)
    how = {"name": "c", "channel": "B0-A", "used": bench.names}
    whole = split_control(control, unstained=blank, **how)
    assert whole.background == "unstained"
    assert len(whole.positive) <= (~odd).sum()
    tight = blank.copy()
    middle = np.median(control.X[~odd, :2], axis=0)
    tight.X[:, :2] = middle + (tight.X[:, :2] - np.median(tight.X[:, :2], axis=0)) / 20
    assert split_control(control, unstained=tight, **how).background == "none"


@pytest.mark.real
@pytest.mark.skipif(not FLOWCORE.is_dir(), reason="the real data sets are not there")
@pytest.mark.parametrize("method", ["auto", "medians"])
def test_flowcore_gives_the_same_within_one_percent(method: str) -> None:
    match = pd.read_csv(FLOWCORE / "comp_match.txt", dtype=str)
    files = {row.channel: read_fcs(FLOWCORE / "controls" / f"{row.filename}.fcs") for row in match.itertuples()}
    blank = files.pop("unstained")
    reference = pd.read_csv(FLOWCORE / "compref.txt", sep=" ", index_col=0)
    found = estimate_spillover(files, unstained=blank, method=method)
    assert list(found.index) == list(reference.index)
    assert np.abs(found - reference).to_numpy().max() < 0.01
    anonymous = {f"tube {i}": adata for i, adata in enumerate(files.values())}
    pd.testing.assert_frame_equal(found, estimate_spillover(anonymous, unstained=blank, method=method))
    # compref2 is the same with two controls taken for each other
    files["FL3-H"], files["FL4-H"] = files["FL4-H"], files["FL3-H"]
    with pytest.raises(StudyError, match="brightest in FL4-H"):
        estimate_spillover(files, unstained=blank, method=method)


def test_one_object_is_no_set_of_controls() -> None:
    adata = anndata.AnnData(np.ones((5, 1)), var=pd.DataFrame({"channel": ["PE-A"]}, index=["PE-A"]))
    with pytest.raises(UsageError, match="need names"):
        estimate_spillover(adata)

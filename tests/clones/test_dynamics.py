"""Selection told from drift: uniform p under neutral drift, planted clones found, control halves empty."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats

from cellprec.clones.drift import Drift, Scale, fit_drift
from cellprec.clones.dynamics import dynamics
from cellprec.errors import UsageError

ARMS = {"treated": {"arm": "drug"}, "control": {"arm": "vehicle"}}
CALLED = ["enriched", "depleted"]


def test_the_scale_makes_one_standard_deviation_one():
    drift = Drift(phi=0.02, c=0.003, b=1e-5, n_clones=1)
    scale = Scale(drift)
    f = np.geomspace(1e-6, 0.3, 50)
    sd = f * np.sqrt(drift.cv2(f))
    slope = (scale.forward(f * 1.0001) - scale.forward(f)) / (f * 0.0001)
    assert slope * sd == pytest.approx(np.ones(50), rel=1e-3)
    assert scale.backward(scale.forward(f)) == pytest.approx(f, rel=1e-4)
    assert scale.forward(np.zeros(1)) == pytest.approx([0])


def test_drift_is_fitted_to_what_many_replicates_show(experiment):
    adata, _ = experiment(0, bottleneck=100, replicates=40)
    vehicle = np.asarray(adata[adata.obs["arm"] == "vehicle"].X, dtype=np.float64)
    freq = vehicle / vehicle.sum(axis=1, keepdims=True)
    mean = freq.mean(axis=0)
    truth = freq.var(axis=0, ddof=1) / mean**2
    fitted = fit_drift([freq[:3]], depths=[vehicle[:3].sum(axis=1)])
    for low, high in ((1e-4, 3e-4), (3e-4, 1e-3), (1e-3, 4e-3)):
        band = (mean > low) & (mean < high)
        assert fitted.cv2(mean[band]).mean() == pytest.approx(truth[band].mean(), rel=0.3)


@pytest.mark.parametrize("bottleneck", [10, 30, 100])
def test_neutral_drift_gives_uniform_p_and_no_calls(experiment, bottleneck):
    distances, studies_with_calls, small = [], 0, []
    for seed in range(8):
        adata, _ = experiment(seed, bottleneck=bottleneck)
        found = dynamics(adata, **ARMS)
        p = found["p"].dropna()
        distances.append(stats.kstest(p, "uniform").pvalue)
        studies_with_calls += found["call"].isin(CALLED).any()
        small += [np.mean(p < 0.01)]
    assert np.median(distances) > 0.05
    assert np.mean(small) < 0.013
    assert studies_with_calls <= 2


@pytest.mark.parametrize(("drug_bottleneck", "spread"), [(None, 1.2), (None, 2.0), (20, 1.2)])
def test_planted_clones_are_found_and_neutral_ones_are_not(experiment, drug_bottleneck, spread):
    planted = found = detectable = reached = false = called = 0
    for seed in range(100, 104):
        adata, fold = experiment(seed, bottleneck=100, drug_bottleneck=drug_bottleneck, resistant=40, spread=spread)
        result = dynamics(adata, **ARMS)
        enriched, resists = (result["call"] == "enriched").to_numpy(), fold > 1
        above = resists & (result["frequency_control"] > result["detection_limit"]).to_numpy()
        planted, found = planted + above.sum(), found + (above & enriched).sum()
        strong = resists & (fold >= 1.5 * result["detectable_fold"].to_numpy())
        detectable, reached = detectable + strong.sum(), reached + (strong & enriched).sum()
        calls = result["call"].isin(CALLED).to_numpy()
        false, called = false + (calls & ~resists).sum(), called + calls.sum()
    assert found >= 0.95 * planted
    assert detectable > 10
    assert reached >= 0.9 * detectable
    assert false <= 0.05 * called


def test_halves_of_one_control_are_alike(experiment):
    called = 0
    for seed in range(12):
        adata, _ = experiment(seed, n_clones=500, replicates=4, passages=2)
        halves = {"arm": "vehicle", "replicate": ("1", "2")}, {"arm": "vehicle", "replicate": ("3", "4")}
        called += dynamics(adata, treated=halves[0], control=halves[1])["call"].isin(CALLED).any()
    assert called <= 1


def test_one_against_one_takes_its_variance_from_the_study_and_finds_a_takeover(experiment):
    adata, fold = experiment(5, n_clones=500, resistant=5, folds=(60, 80), bottleneck=100)
    one = dynamics(adata, treated={"arm": "drug", "replicate": "1"}, control={"arm": "vehicle", "replicate": "1"})
    assert set(one["cv2_source"]) == {"replicates of the whole study"}
    assert (one["call"] == "enriched").to_numpy()[fold > 1].sum() >= 3
    assert not (one["call"] == "enriched").to_numpy()[fold == 1].any()


def test_two_replicates_of_one_condition_are_their_own_yardstick(experiment):
    adata, _ = experiment(5, n_clones=800, replicates=2, bottleneck=100)
    sides = {"arm": "vehicle", "replicate": "1"}, {"arm": "vehicle", "replicate": "2"}
    found = dynamics(adata, treated=sides[0], control=sides[1])
    assert set(found["cv2_source"]) == {"replicates of the same condition"}
    assert not found["call"].isin(CALLED).any()
    assert 0.01 < (found["p"].dropna() < 0.05).mean() < 0.08
    counts = np.asarray(adata.X).copy()
    usual = np.argsort(-counts.sum(axis=0))[200]
    counts[0, usual] *= 40
    moved = dynamics(AnnData(counts, obs=adata.obs, var=adata.var), treated=sides[0], control=sides[1])
    assert moved.index[moved["call"] == "enriched"].tolist() == [adata.var_names[usual]]


def test_replicates_that_agree_in_nothing_can_tell_nothing(experiment):
    adata, _ = experiment(6, n_clones=300, replicates=2)
    rng = np.random.default_rng(0)
    counts = np.array([rng.permutation(row) for row in np.asarray(adata.X)])
    counts *= rng.gamma(0.3, 3, counts.shape).astype(np.float32)
    found = dynamics(AnnData(np.round(counts), obs=adata.obs, var=adata.var), **ARMS)
    assert not found["call"].isin(CALLED).any()
    assert "differ too much" in found.loc[found["call"] == "cannot tell", "reason"].iloc[0]


def test_without_replicates_nothing_can_be_told(experiment):
    adata, _ = experiment(5, n_clones=500, replicates=1, resistant=5)
    found = dynamics(adata, **ARMS)
    assert set(found["call"]) == {"cannot tell"}
    assert found["p"].isna().all()
    assert "replicates" in found["reason"].iloc[0]


def test_a_jackpot_in_one_replicate_is_not_resistance(experiment):
    false = 0
    for seed in range(6):
        adata, _ = experiment(seed, n_clones=1000, bottleneck=100)
        counts = np.asarray(adata.X).copy()
        rng = np.random.default_rng(seed)
        jackpots = rng.choice(1000, 10, replace=False)
        counts[rng.integers(3, 6, 10), jackpots] *= 10
        found = dynamics(AnnData(counts, obs=adata.obs, var=adata.var), **ARMS)
        false += found["call"].iloc[jackpots].isin(CALLED).sum()
    assert false <= 3


def test_a_takeover_does_not_deplete_the_bystanders(experiment):
    adata, _ = experiment(1, bottleneck=100, n_clones=1000)
    counts = np.asarray(adata.X).copy()
    largest = np.argsort(-counts.sum(axis=0))[:3]
    counts[np.ix_(np.flatnonzero(adata.obs["arm"] == "drug"), largest)] *= 60
    found = dynamics(AnnData(counts, obs=adata.obs, var=adata.var), **ARMS)
    assert found["shift"].iloc[0] < -0.5
    assert sorted(np.flatnonzero(found["call"] == "enriched")) == sorted(largest)
    assert (found["call"] == "depleted").sum() <= 1


def test_a_clone_unseen_in_the_control_gets_a_bound_not_an_infinity(experiment):
    adata, _ = experiment(2, bottleneck=100, n_clones=500)
    counts = np.asarray(adata.X).copy()
    counts[:, 0] = np.where(adata.obs["arm"] == "drug", 30_000, 0)
    found = dynamics(AnnData(counts, obs=adata.obs, var=adata.var), **ARMS).iloc[0]
    assert found["censored"]
    assert found["call"] == "enriched"
    assert 2 < found["log2fc"] < 10
    assert found["high"] == np.inf


def test_swapping_the_sides_mirrors_the_result(experiment):
    adata, _ = experiment(7, n_clones=500, resistant=10)
    there = dynamics(adata, **ARMS)
    back = dynamics(adata, treated=ARMS["control"], control=ARMS["treated"])
    assert there["log2fc"].to_numpy() == pytest.approx(-back["log2fc"].to_numpy(), nan_ok=True)
    assert ((there["call"] == "enriched") == (back["call"] == "depleted")).mean() > 0.99


def test_order_of_clones_does_not_matter(experiment):
    adata, _ = experiment(8, n_clones=400, resistant=10)
    order = np.random.default_rng(0).permutation(400)
    there, shuffled = dynamics(adata, **ARMS), dynamics(adata[:, order].copy(), **ARMS)
    pd.testing.assert_series_equal(there["p"], shuffled["p"].loc[there.index], rtol=1e-3)


@pytest.mark.parametrize(
    ("treated", "control", "message"),
    [
        ({"arm": "drugg"}, {"arm": "vehicle"}, "drugg"),
        ({"arms": "drug"}, {"arm": "vehicle"}, "arms"),
        ({"arm": "drug"}, {"replicate": "1"}, "both treated and control"),
    ],
)
def test_a_wrong_selection_is_named(experiment, treated, control, message):
    adata, _ = experiment(0, n_clones=50)
    with pytest.raises(UsageError, match=message):
        dynamics(adata, treated=treated, control=control)


def test_pcr_replicates_are_no_units(experiment):
    adata, _ = experiment(0, n_clones=50)
    obs = pd.concat([adata.obs, adata.obs], ignore_index=True).rename(index=str)
    doubled = AnnData(np.vstack([adata.X, adata.X]), obs=obs, var=adata.var)
    doubled.obs["pcr_replicate"] = ["a"] * 6 + ["b"] * 6
    with pytest.raises(UsageError, match="PCR"):
        dynamics(doubled, **ARMS)

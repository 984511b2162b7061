from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from cellprec.biomarkers import folds
from cellprec.biomarkers.associate import associate
from cellprec.biomarkers.predict import _numbers, _Validated, predict
from cellprec.errors import JoinError, UsageError


def cohort(seed: int, *, n: int = 24, events: int = 9, n_features: int = 40, effect: float = 0.0):
    rng = np.random.default_rng(seed)
    y = pd.Series(np.arange(n) < events, index=[f"P{i}" for i in range(n)])
    values = rng.normal(size=(n, n_features))
    values[:, 0] += effect * y
    values[rng.random(values.shape) < 0.05] = np.nan
    obs = pd.DataFrame({"age": rng.normal(60, 9, n), "sex": pd.Categorical(rng.choice(["F", "M"], n))}, index=y.index)
    var = pd.DataFrame(index=[f"f{i}" for i in range(n_features)])
    return anndata.AnnData(values.astype("f4"), obs=obs, var=var), y


def test_nothing_is_foretold_from_noise_and_selecting_outside_the_folds_is_caught():
    honest, p, leaked = [], [], []
    for seed in range(40):
        adata, y = cohort(seed)
        result = predict(adata, outcome=y, name="r", covariates=[], repeats=2, permutations=19).table
        honest.append(result.set_index("model")["auc"]["features"])
        p.append(result.set_index("model")["p_permutation"]["features"])
        peeked = adata[:, associate(adata, outcome=y, name="r")["feature"][:8].tolist()]
        leaked.append(
            predict(peeked, outcome=y, name="r", covariates=[], repeats=2, permutations=1).table["auc"].iloc[1]
        )
    assert np.mean(honest) == pytest.approx(0.5, abs=0.05)
    assert np.mean(leaked) > 0.7
    # 40 fair draws exceed these with probability below .01
    assert (np.array(p) <= 0.05).sum() <= 6
    assert (np.array(p) <= 0.5).sum() <= 28


def test_shuffled_labels_score_one_half_on_average():
    adata, y = cohort(1, effect=3)
    rng = np.random.default_rng(0)
    labels = np.array([rng.permutation(y.to_numpy()) for _ in range(150)])
    values = np.asarray(adata.X, dtype=float)
    always = np.zeros(values.shape[1], dtype=bool)
    scores = folds.cross_validate(values, labels=labels, always=always, folds=5, repeats=2, rng=rng)
    aucs = []
    for labelled, logit, fold in zip(labels, scores.logit, scores.fold, strict=True):
        ahead = logit[labelled][:, None] > logit[~labelled][None, :]
        together = fold[labelled][:, None] == fold[~labelled][None, :]
        aucs.append(ahead[together].mean())
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.03)


def test_a_signal_is_found_named_and_better_than_the_clinic():
    adata, y = cohort(2, effect=2.5)
    result = predict(adata, outcome=y, name="severe_icans", covariates=["age", "sex"], permutations=60)
    table = result.table.set_index("model")
    assert table.loc["features", "verdict"].startswith("better than chance")
    assert table.loc["clinical only", "verdict"] == "no better than chance"
    assert table.loc["features", "p_permutation"] == pytest.approx(1 / 61)
    assert table.loc["features", "auc"] > 0.8
    assert table.loc["features", "brier"] < table.loc["features", "brier_prevalence"]
    assert table.loc["features", "gain"] == pytest.approx(
        table.loc["features", "auc"] - table.loc["clinical only", "auc"]
    )
    top = result.selected.query("model == 'features'").iloc[0]
    assert top["feature"] == "f0"
    assert top["frequency"] == 1
    assert top["weight"] > 0
    assert (table["low"] <= table["auc"]).all()
    assert (table["auc"] <= table["high"]).all()
    assert len(result.predictions) == 3 * 24
    assert result.predictions["probability"].between(0, 1).all()
    forced = result.selected.query("model == 'features + clinical'").set_index("feature")["frequency"]
    assert forced["clinical:age"] == 1


def test_perfect_separation_keeps_an_honest_interval():
    adata, y = cohort(3, effect=30, n_features=3)
    row = predict(adata, outcome=y, name="r", covariates=[], permutations=10).table.iloc[1]
    assert row["auc"] > 0.95
    assert row["low"] < 0.9


def test_what_the_batch_foretells_is_no_merit():
    adata, y = cohort(4, n=40, events=20)
    batch = pd.Series(np.where(np.random.default_rng(0).random(40) < np.where(y, 0.9, 0.1), "b", "a"), index=y.index)
    values = np.random.default_rng(1).normal(size=adata.shape)
    values[:, :5] += 3.0 * (batch == "b").to_numpy()[:, None]
    adata.X = values.astype("f4")
    plain = predict(adata, outcome=y, name="r", covariates=[], permutations=60).table.iloc[1]
    aware = predict(adata, outcome=y, name="r", covariates=[], batch=batch, permutations=60).table.iloc[1]
    assert plain["verdict"] == "better than chance"
    assert aware["verdict"] == "no better than chance within batches"


@pytest.mark.parametrize(("n", "events"), [(24, 7), (24, 17), (19, 9)])
def test_too_few_patients_stop_without_numbers(n, events):
    adata, y = cohort(5, n=n, events=events)
    result = predict(adata, outcome=y, name="r", covariates=["age"])
    assert result.table["verdict"].str.startswith(f"cannot tell: {events} patients with the outcome").all()
    assert result.table[["auc", "low", "high", "p_permutation", "brier"]].isna().all(axis=None)
    assert result.predictions.empty
    assert result.selected.empty


def test_without_covariates_the_clinical_model_cannot_tell():
    adata, y = cohort(6)
    table = predict(adata, outcome=y, name="r", covariates=[], permutations=2, repeats=1).table.set_index("model")
    assert table.loc["clinical only", "verdict"] == "cannot tell: no covariates were named"
    assert np.isfinite(table.loc["features", "auc"])


def test_a_copy_of_a_covariate_is_not_shown_to_add_to_it():
    adata, y = cohort(12, n=40, events=20, n_features=3)
    adata.obs["age"] = np.random.default_rng(12).normal(60, 9, 40) + 25.0 * y
    adata.X[:, 0] = adata.obs["age"]
    table = predict(adata, outcome=y, name="r", covariates=["age"], permutations=20).table.set_index("model")
    assert table["verdict"].to_dict() == {
        "clinical only": "better than chance",
        "features": "better than chance, not shown to add to the clinical covariates",
        "features + clinical": "better than chance, not shown to add to the clinical covariates",
    }
    assert (table["gain_low"].dropna() <= 0).all()


def test_a_batch_that_is_the_outcome_leaves_nothing_to_foretell():
    adata, y = cohort(16, effect=5, n_features=3)
    batch = pd.Series(np.where(y, "b", "a"), index=y.index)
    calls = {"outcome": y, "name": "r", "covariates": [], "permutations": 19, "repeats": 1}
    table = predict(adata, batch=batch, **calls).table
    assert (table["verdict"] == "cannot tell: no batch holds patients both with and without the outcome").all()
    assert table[["auc", "p_permutation"]].isna().all(axis=None)
    batch.iloc[0] = "a"  # one patient among the others is a contrast, if a poor one
    assert predict(adata, batch=batch, **calls).table["verdict"][1].endswith("chance within batches")


def test_permutations_too_few_to_reach_any_level_cannot_tell():
    adata, y = cohort(13, effect=5, n_features=3)
    few, enough = (
        predict(adata, outcome=y, name="r", covariates=[], permutations=n, repeats=1).table.iloc[1] for n in (18, 19)
    )
    assert few["verdict"] == "cannot tell: too few permutations"
    assert few["p_permutation"] == pytest.approx(1 / 19)
    assert enough["verdict"] == "better than chance"


@pytest.mark.filterwarnings("error")
def test_bootstraps_without_a_pair_held_out_together_are_left_out():
    adata, y = cohort(14, n=20, events=8, effect=1.5, n_features=3)
    result = predict(adata, outcome=y, name="r", covariates=["age"], folds=10, repeats=1, permutations=19)
    row = result.table.iloc[1]
    assert np.isfinite(row[["auc", "low", "high", "gain", "gain_low", "gain_high"]].astype(float)).all()
    assert row["low"] < row["auc"] < row["high"]


def test_the_wider_interval_is_taken_also_where_some_bootstraps_lack_a_pair():
    ones = np.ones((10, 10))
    held = _Validated(0.7 * ones, ones, np.array([0.7, 0.5]), np.full((20, 1), 0.5), np.ones(1), np.ones(1))
    boot = np.r_[np.linspace(0, 1, 1001), np.full(30, np.nan)]
    numbers = _numbers(held, boot=boot, y=np.arange(20) < 10)
    assert (numbers["low"], numbers["high"]) == pytest.approx((0.025, 0.975))


@pytest.mark.filterwarnings("error")
def test_folds_that_never_hold_out_a_pair_cannot_tell():
    adata, y = cohort(15, effect=3, n_features=3)
    result = predict(adata, outcome=y, name="r", covariates=["age"], folds=24, repeats=1, permutations=19)
    assert result.table["verdict"].str.startswith("cannot tell: no patients with and without the outcome").all()
    assert result.table[["auc", "p_permutation", "gain"]].isna().all(axis=None)
    assert result.predictions.empty


def test_same_seed_same_numbers_other_seed_others():
    adata, y = cohort(7, effect=1)
    runs = [
        predict(adata, outcome=y, name="r", covariates=["age"], seed=s, permutations=5, repeats=1) for s in (0, 0, 1)
    ]
    pd.testing.assert_frame_equal(runs[0].table, runs[1].table)
    pd.testing.assert_frame_equal(runs[0].predictions, runs[1].predictions)
    assert not runs[0].predictions["probability"].equals(runs[2].predictions["probability"])


def test_bad_calls_are_refused():
    adata, y = cohort(8)
    with pytest.raises(UsageError, match="covariate ferritin"):
        predict(adata, outcome=y, name="r", covariates=["ferritin"])
    with pytest.raises(JoinError):
        predict(adata, outcome=y.rename(lambda p: f"x{p}"), name="r", covariates=[])


@pytest.mark.parametrize("penalty", [0.1, 1.0, 10.0, 100.0])
def test_the_solver_agrees_with_scikit_learn_also_where_classes_separate(penalty):
    rng = np.random.default_rng(9)
    X, y = rng.normal(size=(12, 20, 6)), rng.random((12, 20)) < 0.4
    y[:, :2] = [True, False]
    X[0, :, 0] = np.where(y[0], 5.0, -5.0)
    rows = rng.random((12, 20)) < 0.8
    rows[:, :2] = True
    beta = folds.fit_ridge(np.concatenate([np.ones((12, 20, 1)), X], axis=2), y=y, rows=rows, penalty=penalty)
    for i in range(12):
        peer = LogisticRegression(C=1 / penalty, tol=1e-12, max_iter=10_000).fit(X[i][rows[i]], y[i][rows[i]])
        assert beta[i] == pytest.approx(np.r_[peer.intercept_, peer.coef_[0]], abs=1e-5)


def test_held_out_patients_change_nothing_that_is_learned():
    rng = np.random.default_rng(10)
    values, y = rng.normal(size=(24, 15)), rng.random((1, 24)) < 0.4
    train = np.ones((1, 24), dtype=bool)
    train[0, [3, 7, 20]] = False
    disturbed, flipped = values.copy(), y.copy()
    disturbed[~train[0]] = 1e6
    disturbed[3, 2] = np.nan
    flipped[~train] = ~flipped[~train]
    always = np.zeros(15, dtype=bool)
    calm = folds._prepared(values, y=y, train=train, always=always, k=5)
    wild = folds._prepared(disturbed, y=flipped, train=train, always=always, k=5)
    assert (calm[0] == wild[0]).all()
    assert calm[1][train] == pytest.approx(wild[1][train])
    fits = [folds.fit_ridge(X, y=labels, rows=train, penalty=1.0) for X, labels in ((calm[1], y), (wild[1], flipped))]
    assert fits[0] == pytest.approx(fits[1])


def test_folds_share_out_both_kinds_evenly():
    y = np.arange(24)[None, :] < 9
    fold = folds.fold_of(y, folds=5, rng=np.random.default_rng(11))[0]
    assert sorted(np.bincount(fold[y[0]])) == [1, 2, 2, 2, 2]
    assert np.ptp(np.bincount(fold)) <= 1
    some = folds.fold_of(y, folds=4, rng=np.random.default_rng(11), rows=np.arange(24)[None, :] % 2 == 0)[0]
    assert (some[1::2] == -1).all()
    assert set(some[::2]) == {0, 1, 2, 3}


def test_unmeasured_is_the_training_mean_and_constant_features_are_ignored():
    values = np.array([[1.0, 5.0], [3.0, 5.0], [np.nan, 5.0], [2.0, 5.0]])
    always = np.ones(2, dtype=bool)
    y = np.array([[True, False, True, False]])
    columns, X = folds._prepared(values, y=y, train=np.ones((1, 4), dtype=bool), always=always, k=2)
    assert X[0, :, 1 + int(np.flatnonzero(columns[0] == 0)[0])] == pytest.approx([-1.2247, 1.2247, 0, 0], abs=1e-3)
    assert (X[0, :, 1 + int(np.flatnonzero(columns[0] == 1)[0])] == 0).all()

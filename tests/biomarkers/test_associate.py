from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cellprec.biomarkers.associate import associate
from cellprec.errors import JoinError, UsageError

PATIENTS = [f"P{i:02d}" for i in range(24)]
OUTCOME = pd.Series([True] * 12 + [False] * 12, index=PATIENTS, name="response")
# ten of twelve responders, three of twelve others in batch b: what a study looks like by accident
BATCH = pd.Series(["b"] * 10 + ["a"] * 2 + ["b"] * 3 + ["a"] * 9, index=PATIENTS)


def features(values: np.ndarray, names: list[str] | None = None, **var) -> anndata.AnnData:
    names = names or [f"f{i}" for i in range(values.shape[1])]
    index = pd.Index(PATIENTS[: len(values)])
    return anndata.AnnData(values.astype("f4"), obs=pd.DataFrame(index=index), var=pd.DataFrame(var, index=names))


def study(seed: int, *, n_noise: int = 40) -> anndata.AnnData:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(24, n_noise + 2))
    values[:, 0] += 2.3 * OUTCOME.to_numpy()
    values[:, 1] += 2.5 * (BATCH == "b").to_numpy()
    return features(values, ["true", "decoy", *(f"noise{i}" for i in range(n_noise))])


def test_true_effect_is_on_top_and_the_batch_decoy_is_named():
    top = kept = believed = named = suspicious = 0
    for seed in range(15):
        table = associate(study(seed), outcome=OUTCOME, name="response", batch=BATCH)
        verdict = table.set_index("feature")["verdict"]
        top += table["feature"][0] == "true"
        kept += verdict["true"] == "associated"
        believed += verdict["decoy"] == "associated"
        if table.set_index("feature")["p"]["decoy"] <= 0.05:
            suspicious += 1
            named += verdict["decoy"] == "confounded with batch"
    assert top >= 14
    assert kept >= 13
    assert believed <= 1
    assert suspicious >= 5
    assert named >= suspicious - 2


def test_without_the_batch_the_decoy_is_believed():
    plain, aware = [], []
    for seed in range(10):
        adata = study(seed, n_noise=3)
        for held, batch in ((plain, None), (aware, BATCH)):
            table = associate(adata, outcome=OUTCOME, name="r", batch=batch).set_index("feature")
            held.append(table["verdict"]["decoy"])
    assert plain.count("associated") >= 3
    assert aware.count("associated") <= 1


def test_noise_is_claimed_at_most_as_often_as_declared():
    rng = np.random.default_rng(1)
    claims = [
        (
            associate(features(rng.normal(size=(24, 15))), outcome=OUTCOME, name="r", batch=BATCH)["verdict"]
            == "associated"
        ).any()
        for _ in range(40)
    ]
    assert np.mean(claims) <= 0.125


def test_batch_that_is_the_outcome_leaves_nothing_to_believe():
    batch = OUTCOME.map({True: "b", False: "a"})
    table = associate(study(0), outcome=OUTCOME, name="r", batch=batch).set_index("feature")
    assert table.loc["true", "verdict"] == "confounded with batch"
    assert np.isnan(table.loc["true", "p_within_batch"])
    assert (table["verdict"] != "associated").all()


def test_batch_may_differ_between_modalities():
    values = np.random.default_rng(2).normal(size=(24, 2))
    values[:, 0] = values[:, 1] = OUTCOME + 0.1 * values[:, 0]
    adata = features(values, ["rna", "flow"], modality=["rna", "cytometry"], timepoint=["d0", "d0"])
    batches = pd.DataFrame({"rna@d0": OUTCOME.map({True: "x", False: "y"}), "cytometry@d0": ["a", "b"] * 12})
    verdict = associate(adata, outcome=OUTCOME, name="r", batch=batches).set_index("feature")["verdict"]
    assert verdict.to_dict() == {"flow": "associated", "rna": "confounded with batch"}


def test_numbers_are_those_of_independent_libraries():
    adata = study(3)
    table = associate(adata, outcome=OUTCOME, name="response").set_index("feature")
    frame = adata.to_df()
    yes, no = frame[OUTCOME], frame[~OUTCOME]
    for feature, row in table.iterrows():
        test = stats.mannwhitneyu(yes[feature], no[feature], method="exact")
        assert row["p"] == pytest.approx(test.pvalue)
        assert row["effect"] == pytest.approx(test.statistic / 144)
    assert table["q"].to_numpy() == pytest.approx(stats.false_discovery_control(table["p"]))
    assert (table["n"] == 24).all()
    assert (table["n_positive"] == 12).all()


def test_direction_mirrors_the_outcome():
    up = associate(study(4), outcome=OUTCOME, name="r").set_index("feature")
    down = associate(study(4), outcome=~OUTCOME, name="r").set_index("feature").loc[up.index]
    assert down["effect"].to_numpy() == pytest.approx(1 - up["effect"].to_numpy())
    assert down["difference"].to_numpy() == pytest.approx(-up["difference"].to_numpy())
    assert down["p"].to_numpy() == pytest.approx(up["p"].to_numpy())


def test_the_shift_has_the_sign_of_the_effect_and_the_size_planted():
    table = associate(study(7), outcome=OUTCOME, name="r", batch=BATCH)
    told = table[table["effect"] != 0.5]
    assert {True, False} == set(told["effect"] > 0.5)
    assert ((told["difference"] > 0) == (told["effect"] > 0.5)).all()
    assert table.set_index("feature")["difference"]["true"] == pytest.approx(2.3, abs=1)


def test_q_is_over_all_features_and_not_per_family():
    adata = study(8, n_noise=30)
    adata.var["family"] = ["signature", *["fraction"] * 31]
    adata.var["modality"] = ["rna", *["cytometry"] * 31]
    adata.X[:, 5] = 1.0  # not tested, so not in the family
    table = associate(adata, outcome=OUTCOME, name="r").set_index("feature")
    tested = table[table["p"].notna()]
    assert len(tested) == 31
    assert tested["q"].to_numpy() == pytest.approx(stats.false_discovery_control(tested["p"]))
    assert table["q"]["true"] > 10 * table["p"]["true"]  # alone in its family it would be p itself


def test_a_true_effect_in_an_unbalanced_batch_is_not_taken_for_a_shift_of_the_batch():
    skewed = pd.Series(["b"] * 11 + ["a"] + ["b"] * 2 + ["a"] * 10, index=PATIENTS)
    blamed = asked = 0
    for seed in range(60):
        values = np.random.default_rng(seed).normal(size=(24, 1)) + 1.6 * OUTCOME.to_numpy()[:, None]
        row = associate(features(values), outcome=OUTCOME, name="r", batch=skewed).iloc[0]
        # where the test within batches is too weak, only the batch shift decides
        if row["q"] <= 0.05 and row["p_within_batch"] > 0.05:
            asked += 1
            blamed += row["verdict"] == "confounded with batch"
    assert asked >= 10
    assert blamed <= asked // 3


def test_what_cannot_be_told_says_why_and_stays_out_of_the_family():
    values = np.random.default_rng(5).normal(size=(24, 4))
    values[:, 1] = 7.0
    values[:13, 2] = np.nan
    values[3:12, 3] = np.nan
    table = associate(features(values, ["fine", "constant", "absent", "few"]), outcome=OUTCOME, name="r")
    verdict = table.set_index("feature")["verdict"]
    assert verdict["constant"] == "cannot tell: every patient has the same value"
    assert verdict["absent"] == "cannot tell: measured in 11 of 24 patients only"
    assert verdict["few"] == "cannot tell: 3 patients with and 12 without the outcome, 4 needed"
    untold = table[table["verdict"].str.startswith("cannot tell")]
    assert untold[["effect", "p", "q", "low", "high"]].isna().all(axis=None)
    fine = table.set_index("feature").loc["fine"]
    assert fine["q"] == fine["p"]  # a family of one
    assert table["feature"].iloc[0] == "fine"


def test_patients_without_outcome_do_not_count():
    outcome = OUTCOME.astype("object")
    outcome.iloc[[0, 23]] = None
    table = associate(study(6), outcome=outcome, name="r")
    assert (table["n"] == 22).all()
    assert (table["n_positive"] == 11).all()


@pytest.mark.parametrize(
    "outcome", [pd.Series(["CR", "PD"], index=PATIENTS[:2]), pd.Series([0, 3], index=PATIENTS[:2])]
)
def test_outcome_that_is_not_yes_or_no_is_refused(outcome):
    with pytest.raises(UsageError, match="neither yes nor no"):
        associate(study(0), outcome=outcome, name="response")


def test_names_that_do_not_meet_are_shown_from_both_sides():
    with pytest.raises(JoinError) as caught:
        associate(study(0), outcome=pd.Series([True, False], index=["pat-1", "pat-2"]), name="response")
    assert "P00" in caught.value.where
    assert "pat-1" in caught.value.where


def test_no_features_give_an_empty_table_with_its_columns():
    table = associate(features(np.empty((24, 0))), outcome=OUTCOME, name="r")
    assert table.empty
    assert {"feature", "effect", "p_within_batch", "verdict"} <= set(table)

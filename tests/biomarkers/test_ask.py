from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

from cellprec.biomarkers.ask import ask

NAMES = [f"P{i:02d}" for i in range(40)]
YES = np.arange(40) < 20
OUTCOMES = {"response": dict(zip(NAMES, YES.astype(float), strict=True))}


def study(values: np.ndarray, **obs: object) -> anndata.AnnData:
    var = pd.DataFrame(
        {"modality": "rna", "timepoint": "d0"}, index=[f"f{i}" for i in range(values.shape[1])], dtype="category"
    )
    return anndata.AnnData(values.astype("f4"), obs=pd.DataFrame(obs, index=NAMES), var=var)


def few(adata: anndata.AnnData, outcomes: dict = OUTCOMES) -> dict[str, pd.DataFrame]:
    return ask(adata, outcomes=outcomes, repeats=1, permutations=20)


@pytest.mark.parametrize("where", ["obs", "uns"])
def test_what_follows_the_batch_is_neither_a_finding_nor_a_prediction(where):
    rng = np.random.default_rng(1)
    batch = np.where(rng.random(40) < np.where(YES, 0.9, 0.1), "b", "a")
    values = rng.normal(size=(40, 10))
    values[:, :5] += 4.0 * (batch == "b")[:, None]
    adata = study(values, batch=pd.Categorical(batch))
    if where == "uns":
        adata.uns["batches"] = pd.DataFrame({"rna@d0": pd.Categorical(batch)}, index=NAMES)
    tables = ask(adata, outcomes=OUTCOMES, repeats=2, permutations=40)
    told = tables["prediction"].set_index("model").loc["features"]
    assert told["auc"] > 0.8  # it looks as if
    assert told["verdict"] == "no better than chance within batches"
    verdict = tables["associations"].set_index("feature")["verdict"]
    assert (verdict[[f"f{i}" for i in range(5)]] == "confounded with batch").all()
    assert tables["confounding"]["sentence"].str.contains("goes along with batch").tolist() == [True]
    assert "follow the batch" in tables["headlines"]["sentence"][0]


def test_a_feature_lower_in_responders_is_called_lower_whatever_the_order_of_patients():
    values = np.random.default_rng(2).normal(size=(40, 3))
    values[:, 1] -= 4.0 * YES
    backwards = {"response": dict(reversed(OUTCOMES["response"].items()))}
    tables = few(study(values), backwards)
    top = tables["associations"].iloc[0]
    assert top["feature"] == "f1"
    assert top["effect"] < 0.5
    assert top["difference"] == pytest.approx(-4, abs=1)
    assert (
        "f1 goes along with response in these 40 patients (20 with it): lower with it"
        in (tables["headlines"]["sentence"][0])
    )
    observed = tables["predictions"].query("model == 'features'").set_index("patient_id")
    assert (observed["observed"] == pd.Series(YES, index=NAMES)).all()
    assert observed.loc[observed["observed"].astype(bool), "probability"].mean() > 0.7
    weight = tables["selected"].query("model == 'features' and feature == 'f1'")["weight"]
    assert weight.iloc[0] < 0


@pytest.mark.parametrize("blank", [None, "", np.nan])
def test_a_study_without_batches_says_so_for_every_outcome(blank):
    values = np.random.default_rng(3).normal(size=(40, 2))
    adata = study(values) if blank is None else study(values, batch=pd.Series([blank] * 40, index=NAMES, dtype=object))
    some = {name: (np.nan if i < 5 else float(i % 4 == 0)) for i, name in enumerate(NAMES)}
    table = few(adata, OUTCOMES | {"severe_icans": some})["confounding"]
    assert table["outcome"].tolist() == ["response", "severe_icans"]
    assert table["column"].tolist() == ["batch", "batch"]
    assert table["sentence"].tolist() == [
        f"No batch is stated in samples.csv: what follows a batch cannot be told from what follows {name}."
        for name in ("response", "severe_icans")
    ]
    assert table["n"].tolist() == [40, 35]
    assert table["n_positive"].tolist() == [20, 8]
    assert table[["v", "p"]].isna().all(axis=None)


def test_one_batch_for_all_is_stated_and_not_called_unstated():
    table = few(study(np.random.default_rng(4).normal(size=(40, 2)), batch=["b1"] * 40))["confounding"]
    assert table["sentence"].tolist() == ["Cannot tell: all 40 patients share one batch."]


def test_patients_without_a_batch_are_not_a_batch_of_their_own():
    batch = pd.Categorical([None if i % 2 else "b1" for i in range(40)])
    tables = few(study(np.random.default_rng(5).normal(size=(40, 2)), batch=batch))
    assert not tables["prediction"]["verdict"].str.contains("within batches").any()
    assert tables["associations"]["p_within_batch"].isna().all()

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cellprec.biomarkers.headline import headline
from cellprec.biomarkers.predict import Prediction

NONE = pd.DataFrame()


def associations(*verdicts: str) -> pd.DataFrame:
    rows = [
        {
            "feature": f"f{i}",
            "effect": 0.12 if i else 0.95,
            "low": 0.05,
            "high": 0.99,
            "p": np.nan if verdict.startswith("cannot") else 0.001,
            "q": 0.012,
            "n": 24,
            "n_positive": 9,
            "verdict": verdict,
        }
        for i, verdict in enumerate(verdicts)
    ]
    return pd.DataFrame(rows)


def prediction(verdict: str, auc: float = 0.55) -> Prediction:
    told = not verdict.startswith("cannot")
    numbers = {"auc": auc, "low": 0.3, "high": 0.78, "p_permutation": 0.4} if told else {"auc": np.nan}
    clinic = {"model": "clinical only", "auc": 0.5 if told else np.nan, "p_permutation": 0.01, "verdict": verdict}
    rows = [clinic, {"model": "features", **numbers, "verdict": verdict}]
    return Prediction(pd.DataFrame(rows).assign(n=24, n_events=9), NONE, NONE)


def test_nothing_found_says_nothing_found():
    said = headline(associations("not significant"), prediction("no better than chance"), name="severe_icans")
    assert said == (
        "No feature goes along with severe icans in these 24 patients (9 with it): none of 1 tested passes a 5 % "
        "false discovery rate. No model foretells it better than chance in patients it has not seen (the features: "
        "AUC 0.55 (0.30–0.78), p = 0.4; the clinical covariates alone: AUC 0.50)."
    )


def test_found_feature_is_named_with_direction_interval_and_rivals():
    said = headline(associations("associated", "associated", "not significant"), None, name="response")
    assert said.startswith("f0 goes along with response in these 24 patients (9 with it): higher with it, AUC 0.95")
    assert said.endswith("q = 0.012. So does 1 of the other 2 features tested, lower with it: f1.")
    lower = headline(associations("not significant", "associated"), None, name="response")
    assert "f1 goes along" in lower
    assert "lower with it" in lower


NAMES = ["cytometry:fraction:CD8 memory@baseline", "table:plasma:il6_pg_per_ml@d0", "rna:signature:a:b", "f@d1", "x"]


@pytest.mark.parametrize(
    ("n", "end"),
    [
        (1, "; the only one of 5 tested."),
        (2, ". So does 1 of the other 4 features tested, lower with it: il6_pg_per_ml (plasma, d0)."),
        (
            4,
            (
                ". So do 3 of the other 4 features tested, lower with it: il6_pg_per_ml (plasma, d0) and f@d1; higher "
                "with it: a:b (rna, signature)."
            ),
        ),
        (5, ". So do 4 of the other 4 features tested."),
    ],
)
def test_features_are_named_as_people_name_them(n, end):
    table = associations(*["associated"] * n, *["not significant"] * (5 - n)).assign(feature=NAMES)
    table.loc[2, "effect"] = 0.9
    said = headline(table, None, name="r")
    assert said.startswith("CD8 memory (cytometry, fraction, baseline) goes along with r in")
    assert said.endswith("q = 0.012" + end)


def test_few_followers_of_the_batch_are_all_named():
    table = associations(*["confounded with batch"] * 2).assign(feature=NAMES[:2])
    both = "CD8 memory (cytometry, fraction, baseline) and il6_pg_per_ml (plasma, d0)"
    assert headline(table, None, name="r").endswith(f"{both} look associated but follow the batch.")


def test_decoy_is_named_and_never_as_the_finding():
    said = headline(associations("confounded with batch", "not significant"), None, name="response")
    assert said.startswith("No feature goes along")
    assert "f0 looks associated but follows the batch." in said


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (
            "better than chance",
            (
                "a model of the features foretells it better than chance: AUC 0.90 (0.30–0.78), p = 0.4. It is better "
                "than the clinical covariates alone (AUC 0.50)."
            ),
        ),
        (
            "better than chance within batches, not shown to add to the clinical covariates",
            (
                "foretells it better than chance and the batch explain: AUC 0.90 (0.30–0.78), p = 0.4. It is not shown "
                "to be better than the clinical covariates alone (AUC 0.50)."
            ),
        ),
        ("no better than chance within batches", "No model foretells it better than chance and the batch explain in"),
        ("cannot tell: too few", "cannot be told: too few."),
    ],
)
def test_prediction_is_told_as_its_verdict_says(verdict, words):
    assert words in headline(associations("not significant"), prediction(verdict, 0.9), name="r")


def test_a_good_clinical_model_is_not_sold_as_features():
    mixed = prediction("no better than chance")
    mixed.table.loc[0, "verdict"] = "better than chance"
    assert "No model foretells it" in headline(associations("not significant"), mixed, name="r")


def test_no_features_at_all():
    assert "no feature was measured" in headline(associations("not significant").iloc[:0], None, name="r")

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellprec.errors import UsageError
from cellprec.simulate.cohort import Cohort, draw_cohort, plasma


def outcomes(cohort: Cohort) -> pd.DataFrame:
    sheet = cohort.patients.set_index("patient_id")
    return pd.DataFrame(
        {
            "responder": sheet["response"].isin(["CR", "PR"]),
            "severe": sheet["icans_grade"] >= 3,
            "batch_2": cohort.batch == "B2",
        }
    ).astype(float)


def effects(values: pd.Series, design: pd.DataFrame) -> pd.Series:
    """Least squares of a value on an intercept and the columns of a design."""
    matrix = np.column_stack([np.ones(len(design)), design])
    return pd.Series(np.linalg.lstsq(matrix, values.to_numpy(), rcond=None)[0][1:], index=design.columns)


def test_the_numbers_of_24_patients() -> None:
    table = outcomes(draw_cohort(24, rng=np.random.default_rng(5)))
    assert table.sum().to_dict() == {"responder": 12, "severe": 9, "batch_2": 13}
    assert table.groupby("responder")["batch_2"].sum().tolist() == [3, 10]
    assert set(table.groupby("responder")["severe"].sum()) <= {4, 5}  # near independent of response
    assert table.groupby("batch_2")["severe"].mean().round(1).tolist() == [0.4, 0.4]


@given(n=st.integers(12, 60), seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_every_seed_plants_exactly_what_is_declared(n: int, seed: int) -> None:
    cohort = draw_cohort(n, rng=np.random.default_rng(seed))
    design = outcomes(cohort)
    for timepoint, planted in (("baseline", 1.2), ("day14", 0.0)):
        assert np.allclose(cohort.blood[timepoint].sum(axis=1), 1)
        logs = np.log(cohort.blood[timepoint]).sub(np.log(cohort.blood[timepoint]["CD4 naive"]), axis=0)
        assert effects(logs["CD8 memory"], design)["responder"] == pytest.approx(planted)
        assert effects(logs["Classical monocytes"], design)["severe"] == pytest.approx(planted)
        for population in ("B", "NK", "DC", "CD4 memory", "CD8 naive"):
            assert np.allclose(effects(logs[population], design), 0, atol=1e-9)


def test_the_decoy_follows_batch_and_only_batch() -> None:
    cohort = draw_cohort(24, rng=np.random.default_rng(7))
    design = outcomes(cohort)
    stained = np.log(cohort.stained["baseline"])
    decoy = stained["NK"] - stained["CD4 naive"]
    assert effects(decoy, design[["responder"]])["responder"] > 0.6  # looks like a biomarker
    adjusted = effects(decoy, design)
    assert adjusted["responder"] == pytest.approx(0, abs=1e-9)
    assert adjusted["batch_2"] == pytest.approx(1.4)
    # within a batch, the mean of responders is that of the others up to what 2 against 9 patients leave to chance
    within = (decoy - decoy.groupby(cohort.batch).transform("mean")).groupby(design["responder"]).mean()
    assert abs(within.diff().iloc[-1]) < 0.3


def test_plasma_has_gaps_plausible_values_and_no_outcome() -> None:
    cohort = draw_cohort(400, rng=np.random.default_rng(2))
    table = plasma(cohort, rng=np.random.default_rng(3)).set_index("patient_id")
    assert table.shape == (400, 20)
    assert 0.02 < table.isna().to_numpy().mean() < 0.06
    assert 110 - 20 < table["hemoglobin_g_per_l"].median() < 130
    logs = np.log(table.fillna(table.median()))
    standard_error = 2 * logs.std() / np.sqrt(400)
    for outcome, column in outcomes(cohort)[["responder", "severe"]].items():
        difference = logs[column == 1].mean() - logs[column == 0].mean()
        assert (difference.abs() < 4 * standard_error).all(), outcome


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(UsageError, match="11 patients are too few"):
        draw_cohort(11, rng=np.random.default_rng(0))

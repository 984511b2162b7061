from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

from cellprec.errors import UsageError
from cellprec.pl.roc import boxes, roc


def predictions() -> pd.DataFrame:
    good = pd.DataFrame({"probability": [0.9, 0.8, 0.3, 0.1], "observed": [True, True, False, False]})
    bad = good.assign(observed=~good["observed"])
    return pd.concat([good.assign(model="features"), bad.assign(model="clinical only")]).assign(outcome="r")


def area(line) -> float:
    return float(np.trapezoid(line.get_ydata(), line.get_xdata()))


def test_curves_have_the_area_of_their_ranking():
    ax = roc(predictions(), outcome="r")
    assert {line.get_label(): area(line) for line in ax.lines[1:]} == {"features": 1.0, "clinical only": 0.0}


def test_cross_validated_auc_comes_from_the_table():
    table = pd.DataFrame([{"outcome": "r", "model": "features", "auc": 0.91, "low": 0.7, "high": 0.99}])
    ax = roc(predictions(), outcome="r", table=table)
    assert ax.lines[1].get_label() == "features: 0.91 (0.70–0.99)"
    assert "2 of 4" in ax.get_legend().get_title().get_text()


def test_no_prediction_is_said():
    assert "cannot tell" in roc(predictions(), outcome="another").texts[0].get_text()


def cohort() -> tuple[anndata.AnnData, pd.Series]:
    names = [f"P{i}" for i in range(6)]
    adata = anndata.AnnData(np.array([[1], [2], [3], [4], [5], [np.nan]], dtype="f4"))
    adata.obs_names, adata.var_names = names, ["rna:fraction:B@d0"]
    adata.var["modality"], adata.var["timepoint"], adata.var["unit"] = ["rna"], ["d0"], ["clr"]
    adata.obs["batch"] = pd.Categorical(list("xxxxxx"))
    adata.uns["batches"] = pd.DataFrame({"rna@d0": list("ababab")}, index=names)
    return adata, pd.Series([True, True, True, False, False, True], index=names, name="severe_icans")


def test_each_patient_is_a_point_on_its_side_in_the_colour_of_its_batch():
    adata, outcome = cohort()
    ax = boxes(adata, feature="rna:fraction:B@d0", outcome=outcome)
    drawn = {s.get_label(): s.get_offsets() for s in ax.collections}
    assert sorted(drawn) == ["a", "b"]
    assert sorted(drawn["a"][:, 1]) == [1, 3, 5]
    points = np.concatenate(list(drawn.values()))
    assert dict(zip(points[:, 1], np.round(points[:, 0]), strict=True)) == {1: 1, 2: 1, 3: 1, 4: 0, 5: 0}
    assert [t.get_text() for t in ax.get_xticklabels()] == ["no\n2 patients", "yes\n3 patients"]
    assert ax.get_xlabel() == "severe icans"
    assert "clr" in ax.get_ylabel()


def test_patients_without_outcome_are_left_out():
    adata, outcome = cohort()
    ax = boxes(adata, feature="rna:fraction:B@d0", outcome=outcome.iloc[:3])
    assert sum(len(s.get_offsets()) for s in ax.collections) == 3


def test_same_picture_twice():
    adata, outcome = cohort()
    once, twice = (boxes(adata, feature="rna:fraction:B@d0", outcome=outcome) for _ in range(2))
    for a, b in zip(once.collections, twice.collections, strict=True):
        assert (a.get_offsets() == b.get_offsets()).all()


def test_unknown_feature_is_refused():
    adata, outcome = cohort()
    with pytest.raises(UsageError, match="no feature CD8"):
        boxes(adata, feature="CD8", outcome=outcome)

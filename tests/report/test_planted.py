from __future__ import annotations

import pandas as pd
import pytest

from cellprec.report.sections.planted import compare_clones, compare_features

TRUTH = pd.DataFrame(
    {
        "kind": ["feature", "feature", "confounded"],
        "question": ["response", "icans", "response"],
        "name": ["cd8", "mono", "nk"],
        "effect": [1.0, 1.0, 1.0],
    }
)


def found(**verdicts: str) -> pd.DataFrame:
    rows = [("response", "nk", 0.8), ("icans", "cd8", 0.5), ("response", "cd8", 0.9), ("icans", "mono", 0.9)]
    table = pd.DataFrame(rows, columns=["outcome", "feature", "effect"]).assign(q=0.01)
    return table.assign(verdict=table["feature"].map(verdicts).fillna("not significant"))


def test_the_rank_is_that_within_the_outcome() -> None:
    table = compare_features(TRUTH, found(cd8="associated", mono="associated"))
    assert table["rank"].tolist() == [2, 2, 1]


@pytest.mark.parametrize(
    ("verdicts", "right"),
    [
        ({"cd8": "associated", "mono": "associated", "nk": "confounded with batch"}, ["yes", "yes", "yes"]),
        ({"cd8": "associated", "mono": "not significant", "nk": "not significant"}, ["yes", "no", "yes"]),
        ({"cd8": "cannot tell: too few", "mono": "associated", "nk": "associated"}, ["no", "yes", "no"]),
    ],
)
def test_a_verdict_is_right_only_if_it_fits_what_was_planted(verdicts: dict[str, str], right: list[str]) -> None:
    assert compare_features(TRUTH, found(**verdicts))["right"].tolist() == right


def test_a_planted_feature_that_was_lost_is_not_right() -> None:
    table = compare_features(TRUTH, found().query("feature != 'nk'"))
    assert table.iloc[2][["verdict", "right"]].tolist() == ["not among the features", "no"]


def tried(calls: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "contrast": "A vs vehicle at end",
            "clone": ["c0", "c1", "c2", "c3"],
            "frequency_control": [1e-2, 1e-3, 1e-9, 1e-2],
            "call": calls,
        }
    )


PLANTED = pd.DataFrame({"question": "A vs vehicle", "name": ["s0", "s1", "s2"]})
NAMES = {f"c{i}": f"s{i}" for i in range(4)}


def test_recall_counts_only_what_could_be_seen_and_false_calls_are_counted() -> None:
    contrasts = pd.DataFrame({"contrast": ["A vs vehicle at end", "B vs vehicle"], "detection_limit": 1e-4})
    tests = tried(["enriched", "none", "none", "enriched"])
    (row,) = compare_clones(PLANTED, tests, contrasts, sequences=NAMES).to_dict("records")
    assert (row["planted"], row["above"], row["found"], row["recall"]) == (3, 2, 1, 0.5)
    assert row["recall_all"] == pytest.approx(1 / 3), "of all planted, the one below the limit too"
    assert (row["called"], row["false"], row["fdr"]) == (2, 1, 0.5)


def test_without_a_detection_limit_recall_cannot_be_told() -> None:
    contrasts = pd.DataFrame({"contrast": ["A vs vehicle at end"], "detection_limit": [float("nan")]})
    table = compare_clones(PLANTED, tried(["none"] * 4), contrasts, sequences=NAMES)
    assert table["recall"].tolist() == ["cannot tell: no detection limit"]


def test_a_depleted_planted_clone_is_not_found() -> None:
    contrasts = pd.DataFrame({"contrast": ["A vs vehicle"], "detection_limit": [1e-4]})
    tests = tried(["depleted"] * 4).assign(contrast="A vs vehicle")
    assert compare_clones(PLANTED, tests, contrasts, sequences=NAMES)["found"].tolist() == [0]

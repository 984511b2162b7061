"""What is said of a contrast, with its caveats."""

from __future__ import annotations

import pandas as pd
import pytest

from cellprec.clones.verdict import NEGATIVE, SAMPLING, verdict

NONE = pd.Series(["", ""])
ROW = {
    "kind": "drug",
    "n_clones": 4613,
    "n_tested": 76,
    "n_enriched": 0,
    "n_depleted": 0,
    "n_treated": 2,
    "n_control": 2,
    "shift": 0.0,
}


def test_the_verdict_says_how_many_of_all_clones_could_be_tested():
    assert "76 of 4,613 clones could be tested" in verdict(ROW, reasons=NONE)
    assert "all 76 clones could be tested" in verdict(ROW | {"n_clones": 76}, reasons=NONE)


@pytest.mark.parametrize(
    ("shift", "said"),
    [
        (-9.77, "fell 873-fold against them: a few clones took over"),
        (3.0, "rose 8-fold: a few clones that ruled the control gave way"),
        (-20.0, "was not seen any more: a few clones took over"),
    ],
)
def test_a_takeover_is_told_beside_the_calls(shift, said):
    found = verdict(ROW | {"n_enriched": 13, "shift": shift}, reasons=NONE)
    assert found.startswith("13 clones rose and 0 fell")
    assert said in found


@pytest.mark.parametrize("shift", [0.0, 1.9, -1.9, float("nan")])
def test_a_small_shift_is_not_called_a_takeover(shift):
    assert "typical clone" not in verdict(ROW | {"shift": shift}, reasons=NONE)


@pytest.mark.parametrize(("replicates", "weak"), [((1, 1), True), ((1, 2), True), ((2, 2), False), ((1, 3), False)])
def test_a_negative_control_of_few_replicates_says_that_it_is_weak(replicates, weak):
    row = ROW | {"kind": NEGATIVE, "n_treated": replicates[0], "n_control": replicates[1]}
    assert ("only clones far outside the scatter of all" in verdict(row, reasons=NONE)) == weak


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_enriched": 1}, "1 clone rose and 0 fell"),
        ({"kind": NEGATIVE, "n_enriched": 1}, "1 clone called between"),
        ({"kind": SAMPLING, "n_enriched": 1}, "1 clonotype takes a larger and 0 a smaller share"),
        ({"kind": SAMPLING, "n_depleted": 2}, "0 clonotypes take a larger and 2 a smaller share"),
        ({"kind": SAMPLING}, "no clonotype changed its share"),
        ({"n_control": 1}, "2 against 1 replicate)"),
        ({"n_clones": 1, "n_tested": 1}, "the one clone could be tested"),
    ],
)
def test_one_is_singular(change, said):
    assert said in verdict(ROW | change, reasons=NONE)


def test_where_nothing_was_tested_the_reason_is_the_verdict():
    row = ROW | {"n_tested": 0, "shift": -5.0}
    assert verdict(row, reasons=pd.Series(["", "too rare"])) == "cannot tell: too rare"

"""A wrong unit must be caught by its header or by its numbers, and a right one left alone."""

from __future__ import annotations

import numpy as np
import pytest

from cellprec.study.units import ANALYTES, judge_unit


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("ferritin", [300.0], "no unit"),
        ("ferritin_mg_per_ml", [300.0], "not a unit of ferritin"),
        ("hemoglobin_g_per_l", [12.0, 11.0], "look like g_per_dl"),
        ("platelets_10e9_per_l", [150_000.0, 90_000.0], "look like per_ul"),
        ("creatinine_mg_per_dl", [80.0], "look like umol_per_l"),
    ],
)
def test_wrong_units_are_named(column: str, values: list[float], says: str) -> None:
    judged = judge_unit(column, np.array(values))
    assert judged is not None
    assert says in judged[0]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("ferritin_ug_per_l", [350.0]),
        ("ferritin_day0_ug_per_l", [350.0]),
        ("crp_mg_per_dl", [0.4, 12.0]),
        ("age", [61.0]),
        ("age_years", [61.0]),
        ("age_group", []),
        ("response", []),
    ],
)
def test_right_units_are_left_alone(column: str, values: list[float]) -> None:
    assert judge_unit(column, np.array(values)) is None


@pytest.mark.parametrize("analyte", ANALYTES.values(), ids=lambda a: a.name)
def test_one_value_in_any_unit_is_the_same_value(analyte) -> None:
    middle = np.sqrt(max(analyte.low, 1e-3) * analyte.high)
    for unit, factor in analyte.factors.items():
        column = f"{analyte.name}_{unit}".rstrip("_")
        assert judge_unit(column, np.array([middle / factor])) is None

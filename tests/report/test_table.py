from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellprec.report.table import Column, as_text, make_table, some


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0, "count", "0"),
        (1234567, "count", "1,234,567"),
        (np.int64(12), "count", "12"),
        (1.0, "fraction", "100.0 %"),
        (0.00042, "fraction", "0.042 %"),
        (-0.05, "fraction", "−5.0 %"),
        (0.0, "p", "0.000"),
        (0.05, "p", "0.050"),
        (0.00099, "p", "9.9e-04"),
        (-3.14159, "number", "−3.14"),
        (12345.678, "number", "12,346"),
        (0.0001234, "number", "1.23e-04"),
        (None, "number", "–"),
        (np.nan, "p", "–"),
        (pd.NA, "count", "–"),
        ("", "text", "–"),
        ("cannot tell: too few", "number", "cannot tell: too few"),
        (True, "text", "True"),
    ],
)
def test_values_are_written_for_a_reader(value: object, kind: str, text: str) -> None:
    assert as_text(value, kind=kind) == text


@given(st.floats(min_value=-1e12, max_value=1e12))
def test_a_number_is_never_written_as_another(value: float) -> None:
    text = as_text(value, kind="number").replace("−", "-").replace(",", "")
    assert float(text) == pytest.approx(value, rel=0.006, abs=1e-300)


def test_absent_columns_are_left_out_and_cut_rows_are_counted() -> None:
    frame = pd.DataFrame({"a": range(30), "c": ["x"] * 30})
    table = make_table(frame, columns=[Column("a", "A", "count"), Column("b", "B")], caption="t", keep_rest=True)
    assert [label for label, _ in table.headers] == ["A", "c"]
    assert (len(table.rows), table.n_rows, table.is_cut) == (20, 30, True)
    assert table.rows[3] == ("3", "x")


def test_an_empty_table_has_headers_and_no_rows() -> None:
    table = make_table(pd.DataFrame({"a": []}), columns=[Column("a", "A")], caption="t")
    assert (table.headers, table.rows, table.is_cut) == ((("A", "text"),), (), False)


def test_long_lists_are_counted() -> None:
    assert some([f"s{i}" for i in range(30)], top=3) == "s0, s1, s2 and 27 more"

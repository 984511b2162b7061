from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cellprec.errors import UsageError
from cellprec.pl.summary import bars, completeness


def test_each_field_has_the_color_of_its_state_and_failed_ones_a_cross() -> None:
    table = pd.DataFrame({"rna": ["present", "failed"], "vdj": ["absent", "present"]}, index=["P1", "P2"])
    ax = completeness(table)
    assert ax.images[0].get_array().tolist() == [[1, 0], [2, 1]]
    assert [(text.get_text(), text.get_position()) for text in ax.texts] == [("×", (0, 1))]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["rna", "vdj"]
    assert [label.get_text() for label in ax.get_legend().get_texts()] == ["absent", "present", "failed"]


def test_an_unknown_state_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="lost"):
        completeness(pd.DataFrame({"rna": ["lost"]}))


def test_many_rows_stay_readable() -> None:
    table = pd.DataFrame({"rna": ["present"] * 1000}, index=[f"P{i:04d}" for i in range(1000)])
    ax = completeness(table)
    assert len(ax.get_yticks()) <= 60
    assert ax.figure.get_size_inches()[1] < 13
    assert ax.images[0].get_array().shape == (1000, 1)


def test_bars_keep_order_and_mark_what_is_under_the_limit() -> None:
    ax = bars(pd.Series({"c": 0.9, "a": 0.2, "b": 0.5}), label="kept", limit=0.5)
    assert [bar.get_width() for bar in ax.patches] == [0.9, 0.2, 0.5]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["c", "a", "b"]
    assert [bool(bar.get_hatch()) for bar in ax.patches] == [False, True, False]
    low, high = ax.get_ylim()
    assert low > high, "the first stands on top"


def test_a_missing_value_is_not_a_bar_of_length_zero() -> None:
    ax = bars(pd.Series({"a": np.nan, "b": 1.0}))
    assert [text.get_text().strip() for text in ax.texts] == ["no value"]


def test_what_is_cut_is_said() -> None:
    ax = bars(pd.Series(np.arange(40.0)), top=10)
    assert len(ax.patches) == 10
    assert ax.get_title(loc="left") == "first 10 of 40"


def test_given_axes_are_drawn_on() -> None:
    ax = bars(pd.Series({"a": 1.0}))
    assert bars(pd.Series({"b": 2.0}), ax=ax) is ax

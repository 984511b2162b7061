from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cellprec.errors import UsageError
from cellprec.pl.spillover import spillover


def matrix(n: int) -> pd.DataFrame:
    values = np.eye(n)
    values[0, 1] = 0.123
    values[1, 0] = -0.004
    names = [f"D{i}-A" for i in range(n)]
    return pd.DataFrame(values, index=names, columns=names)


def test_rows_are_dyes_columns_are_detectors():
    ax = spillover(matrix(3))
    drawn = ax.images[0].get_array()
    assert drawn[0, 1] == 0.123
    assert drawn[1, 0] == 0  # below zero there is no color, but the number stays
    assert [t.get_text() for t in ax.texts][:4] == ["100", "12", "0", "-0.4"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("detector", "dye")


def test_next_to_nothing_is_written_as_nothing():
    small = matrix(3)
    small.iloc[2, 0] = 7e-6
    assert [t.get_text() for t in spillover(small).texts][6] == "0"


def test_many_detectors_have_no_numbers():
    ax = spillover(matrix(40))
    assert not ax.texts
    assert len(ax.get_xticklabels()) == 40


def test_nothing_to_draw():
    with pytest.raises(UsageError, match="no dye"):
        spillover(pd.DataFrame())

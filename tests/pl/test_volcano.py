"""What the volcano shows, read back from the artists."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cellprec.errors import UsageError
from cellprec.pl.volcano import volcano


def drawn(n: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"log2fc": rng.normal(0, 1, n), "p": rng.uniform(0.01, 1, n), "q": 1.0, "call": "none"})
    table.loc[:1, ["log2fc", "p", "q"]] = [[5.0, 1e-9, 1e-7], [-4.0, 1e-8, 1e-6]]
    table.loc[:1, "call"] = ["enriched", "depleted"]
    return table.assign(name=[f"t{i}" for i in range(n)])


def test_each_called_point_is_coloured_by_side_and_named():
    ax = volcano(drawn(), label="name")
    grey, up, down = (np.asarray(mark.get_offsets()) for mark in ax.collections)
    assert (len(grey), up.tolist(), down.tolist()) == (198, [[5.0, 9.0]], [[-4.0, 8.0]])
    assert sorted(text.get_text() for text in ax.texts) == ["q = 0.05", "t0", "t1"]


def test_without_calls_the_corrected_p_decides():
    ax = volcano(drawn().drop(columns="call"), label="name", alpha=1e-6)
    assert [len(mark.get_offsets()) for mark in ax.collections] == [198, 1, 1]


def test_untested_rows_zeros_and_infinities_are_drawn_within_bounds():
    table = drawn()
    table.loc[0, ["log2fc", "p"]] = [np.inf, 0.0]
    table.loc[5:9, "p"] = np.nan
    ax = volcano(table)
    points = np.vstack([np.asarray(mark.get_offsets()) for mark in ax.collections])
    assert len(points) == 195
    assert np.isfinite(points).all()
    ax.figure.canvas.draw()


def test_an_empty_table_says_so_and_a_wrong_column_is_named():
    assert "nothing" in volcano(drawn().assign(p=np.nan)).texts[0].get_text()
    with pytest.raises(UsageError, match="effect_size"):
        volcano(drawn(), effect="effect_size")


def test_the_cut_off_is_that_of_benjamini_and_hochberg_and_is_named():
    table = drawn()
    table["q"] = stats.false_discovery_control(table["p"])
    ax = volcano(table)
    (line,) = [line for line in ax.lines if line.get_label() == "_cut-off"]
    n_passed = (table["q"] <= 0.05).sum()
    assert n_passed == 2
    assert line.get_ydata()[0] == pytest.approx(-np.log10(0.05 * n_passed / 200))
    assert "q = 0.05" in [text.get_text() for text in ax.texts]


def test_without_one_p_that_parts_the_tests_there_is_no_line():
    for q in ([0.5, 0.01, 0.01, 0.5], [0.01] * 4, [0.5] * 4):
        table = pd.DataFrame({"log2fc": [1.0, 2, 3, 4], "p": [1e-4, 1e-3, 1e-2, 1e-1], "q": q, "call": "none"})
        ax = volcano(table)
        assert "q = 0.05" not in [text.get_text() for text in ax.texts]

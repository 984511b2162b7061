from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cellprec.errors import UsageError
from cellprec.pl.forest import forest
from cellprec.pl.style import new_axes


def table(*verdicts: str) -> pd.DataFrame:
    n = len(verdicts)
    told = np.array([not v.startswith("cannot tell") for v in verdicts])
    effect = np.where(told, np.linspace(0.9, 0.3, n), np.nan)
    names = [f"table:labs:f{i}@d0" for i in range(n)]
    return pd.DataFrame(
        {
            "outcome": "r",
            "feature": names,
            "effect": effect,
            "low": effect - 0.1,
            "high": effect + 0.1,
            "verdict": verdicts,
        }
    )


def labels(ax) -> list[str]:
    return [tick.get_text() for tick in ax.get_yticklabels()]


def test_points_and_intervals_stand_where_the_table_says_top_row_first():
    given = table("associated", "confounded with batch", "not significant")
    ax = forest(given)
    intervals = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2][1:]
    points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines if len(line.get_xdata()) == 1]
    assert np.array(intervals) == pytest.approx(given[["low", "high"]].to_numpy())
    assert points == [(e, h) for e, h in zip(given["effect"], [2, 1, 0], strict=True)]
    assert labels(ax)[0] == "f0 @ d0 (table labs)"


def test_verdicts_differ_in_shape_and_fill_not_only_in_colour():
    ax = forest(table("associated", "confounded with batch", "not significant"))
    looks = {
        (line.get_marker(), line.get_markerfacecolor() == "white") for line in ax.lines if len(line.get_xdata()) == 1
    }
    assert len(looks) == 3
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "associated",
        "confounded with batch",
        "not significant",
    ]


def test_a_confounded_feature_is_shown_though_others_rank_above_it():
    ax = forest(table(*["not significant"] * 20, "confounded with batch"), top=5)
    assert len(labels(ax)) == 5
    assert labels(ax)[-1].startswith("f20")


def test_what_cannot_be_told_is_not_drawn():
    assert len(labels(forest(table("associated", "cannot tell: why")))) == 1
    ax = forest(table("cannot tell: why"))
    assert "cannot tell" in ax.texts[0].get_text()


def test_given_axes_are_used():
    ax = new_axes()
    assert forest(table("associated"), ax=ax) is ax


def test_two_outcomes_are_refused():
    with pytest.raises(UsageError, match="one outcome"):
        forest(pd.concat([table("associated"), table("associated").assign(outcome="other")]))

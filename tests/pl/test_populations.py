from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from cellprec.errors import UsageError
from cellprec.pl.populations import fractions, marker_heatmap
from cellprec.pl.style import GREY, new_axes


def table() -> pd.DataFrame:
    rows = [("a", "unassigned", 0.6), ("a", "B", 0.1), ("a", "T", 0.3), ("b", "T", 0.5), ("b", "unassigned", 0.5)]
    return pd.DataFrame(rows, columns=["sample_id", "population", "fraction"])


def test_bars_are_stacked_to_one_and_unassigned_comes_last_in_grey() -> None:
    ax = fractions(table())
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["T", "B", "unassigned"]
    heights = np.array([bar.get_height() for bar in ax.patches]).reshape(3, 2)
    np.testing.assert_allclose(heights, [[0.3, 0.5], [0.1, 0], [0.6, 0.5]])
    bottoms = np.array([bar.get_y() for bar in ax.patches]).reshape(3, 2)
    np.testing.assert_allclose(bottoms[1:], np.cumsum(heights, axis=0)[:-1])
    assert to_hex(ax.patches[-1].get_facecolor()).upper() == GREY
    assert [text.get_text() for text in ax.get_xticklabels()] == ["a", "b"]


def test_a_sample_without_events_has_no_bar_but_its_place() -> None:
    empty = pd.DataFrame({"sample_id": ["c"] * 2, "population": ["T", "B"], "fraction": [0.0, 0.0]})
    ax = fractions(pd.concat([table(), empty]))
    assert [text.get_text() for text in ax.get_xticklabels()] == ["a", "b", "c"]
    assert sum(bar.get_height() for bar in ax.patches if round(bar.get_center()[0]) == 2) == 0


def test_a_sample_whose_fractions_are_unknown_keeps_its_place() -> None:
    lost = pd.DataFrame({"sample_id": ["c"] * 2, "population": ["T", "B"], "fraction": [np.nan, np.nan]})
    ax = fractions(pd.concat([table(), lost]))
    assert [text.get_text() for text in ax.get_xticklabels()] == ["a", "b", "c"]


def clusters() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "cluster": ["1", "2", "3"],
            "n": [5, 5, 5],
            "population": ["unassigned", "T", "B"],
            "confidence": [0, 1, 1.0],
            "CD3": [2.0, 4.0, 0.0],
            "CD45": [3.0, 3.0, 3.0],
        }
    )


def test_each_marker_runs_from_its_lowest_to_its_highest_cluster() -> None:
    ax = marker_heatmap(clusters())
    assert [text.get_text() for text in ax.get_yticklabels()] == ["B (3)", "T (2)", "unassigned (1)"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["CD3", "CD45"]
    np.testing.assert_allclose(ax.images[0].get_array(), [[0, 0], [1, 0], [0.5, 0]])


def test_clusters_without_names_are_drawn_by_number() -> None:
    ax = marker_heatmap(clusters().drop(columns=["population", "confidence"]), cmap="viridis")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["1", "2", "3"]
    assert ax.images[0].get_cmap().name == "viridis"


def test_axes_given_come_back_and_wrong_tables_are_told() -> None:
    ax = new_axes()
    assert fractions(table(), ax=ax) is ax
    with pytest.raises(UsageError, match="fraction"):
        fractions(table().drop(columns="fraction"))
    with pytest.raises(UsageError, match="no markers"):
        marker_heatmap(clusters()[["cluster", "n"]])

from __future__ import annotations

import itertools
import random

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from cellprec.pl.style import GREY, OKABE_ITO, color_map, legend_outside, new_axes, palette


@given(n=st.integers(0, 120))
@settings(max_examples=40, deadline=None)
def test_any_number_of_colors_all_different_and_never_the_grey_of_unassigned(n: int) -> None:
    colors = palette(n)
    assert len(colors) == n
    assert len(set(colors)) == n
    assert GREY not in colors


def test_a_longer_palette_starts_with_okabe_ito() -> None:
    assert tuple(palette(50)[:8]) == OKABE_ITO


def test_up_to_twenty_colors_stay_apart() -> None:
    rgb = np.array([to_rgb(color) for color in palette(20)])
    nearest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(rgb, 2))
    assert nearest > 0.12


def test_unassigned_does_not_use_up_a_color() -> None:
    colors = color_map(["a", "unassigned", "b"])
    assert colors["unassigned"] == GREY
    assert [colors["a"], colors["b"]] == palette(2)


def test_axes_given_come_back_and_new_ones_stay_out_of_pyplot() -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    before = plt.get_fignums()
    ax = new_axes(size=(3, 2))
    assert plt.get_fignums() == before
    assert new_axes(ax) is ax
    assert isinstance(ax.figure.canvas, mpl.backends.backend_agg.FigureCanvasAgg)


def test_a_long_legend_breaks_into_columns_and_an_empty_one_is_none() -> None:
    ax = new_axes()
    legend_outside(ax)
    assert ax.get_legend() is None
    for number in range(25):
        ax.plot([0], [0], label=str(number))
    legend_outside(ax, max_rows=10)
    assert ax.get_legend()._ncols == 3


@given(names=st.lists(st.sampled_from(list("abcdefghijkl")), unique=True, min_size=1), seed=st.randoms())
@settings(max_examples=40, deadline=None)
def test_a_name_has_one_color_whatever_stands_beside_it(names: list[str], seed: random.Random) -> None:
    everything = [*"abcdefghijkl", "unassigned"]
    shuffled = list(everything)
    seed.shuffle(shuffled)
    whole = color_map(everything)
    assert color_map(shuffled) == whole
    assert color_map(names, names=shuffled) == {name: whole[name] for name in names}

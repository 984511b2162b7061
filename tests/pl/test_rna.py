from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from cellprec.errors import InputError, UsageError
from cellprec.pl.rna import car_fraction, dot_plot, qc_violins


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    adata = anndata.AnnData(rng.poisson(1.0, (60, 3)).astype("float32"))
    adata.var_names = ["CD3D", "MS4A1", "LYZ"]
    adata.obs["sample_id"] = np.repeat(["P01_day_0", "P02_day_0", "P03_day_0"], [40, 18, 2])
    adata.obs["n_genes"] = rng.integers(200, 2000, 60)
    adata.obs["mito_fraction"] = np.nan
    adata.obs["population"] = pd.Categorical(np.where(np.arange(60) < 30, "T", "B"))
    return adata


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "sample_id": ["P01", "P02", "P03"],
            "n_cells": [1200, 0, 50],
            "fraction": [0.25, np.nan, 0.0],
            "low": [0.2, np.nan, 0.0],
            "high": [0.3, np.nan, 0.07],
        }
    )


def test_violins_mark_the_median_of_each_sample(cells):
    ax = qc_violins(cells)
    medians = [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == "-"]
    truth = np.log10(cells.obs["n_genes"]).groupby(cells.obs["sample_id"]).median()
    assert medians == pytest.approx(truth.tolist())
    assert len(ax.collections) == 2  # the third sample has two cells: points, no violin


def test_violins_of_what_was_not_measured_stay_empty(cells):
    ax = qc_violins(cells, key="mito_fraction")
    assert not ax.collections
    assert len(ax.get_xticklabels()) == 3


def test_violins_refuse_a_missing_column(cells):
    with pytest.raises(InputError, match="n_umis"):
        qc_violins(cells, key="n_umis")


def test_the_fraction_and_its_interval_are_drawn_in_percent(table):
    ax = car_fraction(table)
    points = ax.lines[0]
    assert points.get_xdata().tolist() == [0, 2]
    assert points.get_ydata().tolist() == [25, 0]
    segments = ax.collections[0].get_segments()
    assert segments[0][:, 1].tolist() == pytest.approx([20, 30])
    assert [label.get_text() for label in ax.get_xticklabels()][1] == "P02 (0)"


def test_the_fraction_of_no_cells_at_all(table):
    assert len(car_fraction(table.iloc[[1]]).get_xticklabels()) == 1


def test_the_fraction_refuses_another_table(table):
    with pytest.raises(InputError, match="low"):
        car_fraction(table.drop(columns="low"))


def test_dots_show_share_and_mean(cells):
    ax = dot_plot(cells, markers={"T": ["CD3D", "MS4A1-"], "B": ["MS4A1", "CD19"]})
    assert [label.get_text() for label in ax.get_xticklabels()] == ["CD3D", "MS4A1"]
    dots = ax.collections[0]
    b_cells = cells[cells.obs["population"] == "B"].X
    assert dots.get_array()[:2].tolist() == pytest.approx(b_cells[:, :2].mean(axis=0).tolist())
    assert dots.get_sizes()[:2].tolist() == pytest.approx((120 * (b_cells[:, :2] > 0).mean(axis=0)).tolist())
    assert "CD19" in ax.get_xlabel()


def test_dots_refuse_unknown_genes(cells):
    with pytest.raises(UsageError):
        dot_plot(cells, markers=["CD19"])


def test_axes_given_are_the_axes_drawn_on(cells, table):
    figure = Figure()
    for place, draw in enumerate(
        (
            lambda ax: qc_violins(cells, ax=ax),
            lambda ax: car_fraction(table, ax=ax),
            lambda ax: dot_plot(cells, markers=["LYZ"], ax=ax),
        )
    ):
        ax = figure.add_subplot(1, 3, place + 1)
        assert draw(ax) is ax

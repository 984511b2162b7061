from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from scipy import sparse

from cellprec.errors import UsageError
from cellprec.pl.embedding import embedding
from cellprec.pl.style import GREY, new_axes, palette


def cells(n: int = 60) -> anndata.AnnData:
    rng = np.random.default_rng(0)
    names = np.array(["unassigned", "T", "B"])[np.arange(n) % 3]
    obs = pd.DataFrame(
        {"population": pd.Categorical(names), "score": rng.normal(size=n), "keep": np.arange(n) % 2 == 0}
    )
    obs.index = obs.index.astype(str)
    return anndata.AnnData(
        rng.random((n, 2)).astype("float32"),
        obs=obs,
        var=pd.DataFrame(index=["CD3", "CD19"]),
        obsm={"X_umap": rng.normal(size=(n, 2)), "X_pca": rng.normal(size=(n, 5))},
    )


def points(ax: object) -> dict[str, np.ndarray]:
    drawn = [c for c in ax.collections if len(c.get_offsets())]  # type: ignore[attr-defined]
    return {to_hex(c.get_facecolor()[0]).upper(): np.asarray(c.get_offsets()) for c in drawn}


def test_each_category_is_drawn_where_its_cells_are_in_its_color() -> None:
    adata = cells()
    ax = embedding(adata, color="population")
    drawn = points(ax)
    names = adata.obs["population"].astype(str).to_numpy()
    for name, color in {"B": palette(2)[0], "T": palette(2)[1], "unassigned": GREY}.items():
        np.testing.assert_allclose(drawn[color.upper()], adata.obsm["X_umap"][names == name])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["B", "T", "unassigned"]


def test_unassigned_lies_below() -> None:
    ax = embedding(cells(), color="population")
    order = {to_hex(c.get_facecolor()[0]).upper(): c.get_zorder() for c in ax.collections if len(c.get_offsets())}
    assert order[GREY] < min(z for color, z in order.items() if color != GREY)


def test_numbers_get_a_color_bar_and_the_highest_on_top() -> None:
    adata = cells()
    ax = embedding(adata, color="score")
    drawn = next(c for c in ax.collections if len(c.get_offsets()))
    assert (np.diff(drawn.get_array()) >= 0).all()
    np.testing.assert_allclose(np.sort(adata.obs["score"]), drawn.get_array())
    assert drawn.get_clim() == pytest.approx(tuple(np.quantile(adata.obs["score"], [0.01, 0.99])))
    assert len(ax.figure.axes) == 2
    assert ax.get_legend() is None


def test_a_marker_of_a_sparse_matrix_can_be_shown() -> None:
    adata = cells()
    dense = np.sort(adata[:, "CD19"].X.ravel())
    adata.X = sparse.csr_matrix(adata.X)
    drawn = next(c for c in embedding(adata, color="CD19").collections if len(c.get_offsets()))
    np.testing.assert_allclose(drawn.get_array(), dense)


def test_missing_values_are_grey_and_missing_places_are_not_drawn() -> None:
    adata = cells()
    adata.obs.loc[adata.obs_names[:5], "score"] = np.nan
    adata.obs.loc[adata.obs_names[1:2], "population"] = np.nan
    adata.obsm["X_umap"][50:] = np.nan
    grey = points(embedding(adata, color="score"))[GREY]
    np.testing.assert_allclose(grey, adata.obsm["X_umap"][:5])
    ax = embedding(adata, color="population")
    assert sum(len(p) for p in points(ax).values()) >= 33
    assert "missing" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_truth_values_are_categories() -> None:
    ax = embedding(cells(), color="keep")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["False", "True"]


def test_axes_basis_and_style_are_those_given() -> None:
    adata, ax = cells(), new_axes()
    assert embedding(adata, color="score", basis="X_pca", ax=ax, s=7) is ax
    assert ax.get_xlabel() == "PCA 1"
    drawn = next(c for c in ax.collections if len(c.get_offsets()))
    assert drawn.get_sizes().tolist() == [7]
    assert drawn.get_rasterized()


def test_unknown_names_are_told() -> None:
    with pytest.raises(UsageError, match="X_tsne"):
        embedding(cells(), color="score", basis="X_tsne")
    with pytest.raises(UsageError, match="CD99"):
        embedding(cells(), color="CD99")


def test_a_constant_and_an_empty_object_can_be_drawn() -> None:
    adata = cells()
    adata.obs["score"] = 1.0
    embedding(adata, color="score").figure.canvas.draw()
    embedding(adata[:0].copy(), color="population").figure.canvas.draw()
    embedding(adata[:0].copy(), color="score").figure.canvas.draw()

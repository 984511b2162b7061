from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

from cellprec.cytometry.cleaning.valley import find_valley
from cellprec.cytometry.cleaning.viability import find_dead, viability_channels
from cellprec.cytometry.compensation.compensate import compensate
from cellprec.notes import get_notes


def stained(
    n: int = 4_000, *, dead: float = 0.1, fold: float = 40, marker: str = "Zombie NIR", kind: str = "fluorescence"
) -> tuple[anndata.AnnData, np.ndarray]:
    """Lymphocytes and three times brighter monocytes, a part of them dead."""
    rng = np.random.default_rng(0)
    is_dead = rng.random(n) < dead
    scale = 150.0 if kind == "fluorescence" else 4.0
    value = scale * rng.lognormal(0, 0.35, n) * np.where(rng.random(n) < 0.3, 3, 1) * np.where(is_dead, fold, 1)
    values = np.column_stack([value, rng.gamma(1, 500, n)]).astype("float32")
    var = pd.DataFrame({"channel": ["A-A", "B-A"], "marker": [marker, "CD3"], "kind": kind}, index=[marker, "CD3"])
    return anndata.AnnData(values, var=var), is_dead


def dead_of(adata: anndata.AnnData, *, compensated: bool = True) -> np.ndarray:
    if compensated and "compensated" not in adata.layers:
        adata.layers["compensated"] = adata.X.copy()
    return find_dead(adata, rows=np.arange(adata.n_obs), usable=np.ones(adata.n_obs, dtype=bool), sample="s")


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("kind", ["fluorescence", "mass"])
def test_planted_dead_cells_are_found(share: float, kind: str) -> None:
    adata, truth = stained(dead=share, kind=kind)
    found = dead_of(adata)
    assert found[truth].mean() >= 0.97
    assert found[~truth].mean() <= 0.01


def test_two_clear_hills_that_are_too_near_are_not_dead_and_alive() -> None:
    rng = np.random.default_rng(0)
    for fold, dead in ((3.5, False), (7.0, True)):
        adata, _ = stained(dead=0)
        adata.X[:, 0] = 3000 * rng.lognormal(0, 0.15, adata.n_obs) * np.where(np.arange(adata.n_obs) < 1000, fold, 1)
        assert np.isfinite(find_valley(np.arcsinh(adata.X[:, 0] / 150)))
        assert dead_of(adata).sum() == (pytest.approx(1000, abs=20) if dead else 0)


@pytest.mark.parametrize(("share", "fold"), [(0.0, 40), (0.3, 3)])
def test_where_nothing_stands_apart_it_cannot_be_told(share: float, fold: float) -> None:
    adata, _ = stained(dead=share, fold=fold)
    assert not dead_of(adata).any()
    assert [note.code for note in get_notes(adata)] == ["events.no_dead_valley"]


def test_light_that_was_not_told_apart_calls_nobody_dead() -> None:
    adata, truth = stained()
    assert not dead_of(adata, compensated=False).any()
    assert "was not compensated" in get_notes(adata)[0].text
    # a file without a matrix: compensate can do nothing, and says so
    adata, _ = stained()
    compensate(adata)
    assert not dead_of(adata, compensated=False).any()
    assert [note.code for note in get_notes(adata)] == ["events.no_spillover", "events.no_dead_check"]
    # metals do not need it, and neither does a dye that stands alone
    for one in (stained(kind="mass")[0], stained()[0][:, :1].copy()):
        assert dead_of(one, compensated=False)[truth].mean() > 0.97


def test_a_dump_channel_is_not_a_stain_of_the_dead() -> None:
    adata, _ = stained(marker="Dump CD14 CD19 LiveDead")
    assert not dead_of(adata).any()
    assert [note.code for note in get_notes(adata)] == ["events.no_dead_check"]


def test_compensated_values_are_judged_where_they_are() -> None:
    adata, truth = stained()
    adata.layers["compensated"] = np.asarray(adata.X).copy()
    adata.X = np.ones(adata.shape, dtype="float32")
    assert dead_of(adata)[truth].mean() >= 0.97


@pytest.mark.parametrize(
    "marker",
    [
        "Live/Dead", "LIVE DEAD Aqua", "L/D Aqua - Viability", "LD", "Viability", "viab", "Zombie UV", "7-AAD", "7AAD",
        "PI", "Propidium Iodide", "DAPI", "Aqua", "eFluor780", "FVD eFluor 780", "FVS700", "195Pt_cisplatin",
        "Pt195Di", "103Rh", "SYTOX Blue",
    ],
)  # fmt: skip
def test_names_of_viability_stains(marker: str) -> None:
    kind = "mass" if marker[:3] in ("195", "Pt1", "103") else "fluorescence"
    adata, _ = stained(n=4, marker=marker, kind=kind)
    assert viability_channels(adata) == [marker]


@pytest.mark.parametrize(
    "marker", ["CD3", "CD45RA", "HLA-DR", "PD-1", "CD28", "PI3K", "IL-10", "LAG3", "198Pt_CD8", "KLD"]
)
def test_names_of_other_things(marker: str) -> None:
    adata, _ = stained(n=4, marker=marker + " x")
    assert viability_channels(adata) == []


def test_a_detector_named_after_a_dye_is_not_the_dye() -> None:
    var = pd.DataFrame({"channel": ["7-AAD-A", "DAPI-A"], "marker": ["CD8", ""], "kind": "fluorescence"})
    assert viability_channels(anndata.AnnData(shape=(0, 2), var=var.set_index("channel", drop=False))) == []
    assert viability_channels(
        anndata.AnnData(shape=(0, 2), var=var.assign(marker="").set_index("channel", drop=False))
    ) == ["7-AAD-A", "DAPI-A"]


def test_one_hill_has_no_valley_whatever_its_shape() -> None:
    rng = np.random.default_rng(1)
    shapes = (
        rng.standard_normal,
        lambda n: rng.standard_t(3, n),
        lambda n: rng.gamma(2, 1, n),
        rng.standard_exponential,
    )
    found = [find_valley(shape(n)) for shape in shapes for n in (200, 2_000, 20_000) for _ in range(20)]
    assert np.isfinite(found).sum() <= 2


def test_the_valley_lies_between_the_hills() -> None:
    rng = np.random.default_rng(2)
    cut = find_valley(np.r_[rng.normal(0, 1, 5_000), rng.normal(6, 1, 5_000)])
    assert cut == pytest.approx(3, abs=0.5)
    assert np.isnan(find_valley(np.r_[rng.normal(0, 1, 500), rng.normal(6, 1, 500)], apart=8))
    assert np.isnan(find_valley(np.zeros(1_000)))
    assert np.isnan(find_valley(np.full(1_000, np.nan)))


def test_a_named_height_stains_the_dead_where_its_area_has_no_marker() -> None:
    names = ["FL3-H", "FL3-A", "FL1-H"]
    var = pd.DataFrame({"channel": names, "marker": ["7-AAD", "", "CD4"], "kind": "fluorescence"}, index=names)
    assert viability_channels(anndata.AnnData(shape=(0, 3), var=var)) == ["FL3-H"]

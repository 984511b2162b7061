from __future__ import annotations

import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import nnls

from cellprec.cytometry.mass.spillover import Isotope, compensate_mass, estimate_mass_spillover, may_spill
from cellprec.errors import InputError
from cellprec.notes import get_notes

DATA = Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[4] / "shared" / "data")) / "cytometry" / "catalyst"
CHANNELS = ["La139Di", "Ce140Di", "Pr141Di", "Nd142Di", "Nd143Di", "Nd144Di", "Gd155Di", "Gd156Di", "Tb159Di"]
ISOTOPES = [name.removesuffix("Di") for name in CHANNELS]


def truth(*, seed: int, largest: float = 0.06) -> np.ndarray:
    rng = np.random.default_rng(seed)
    parts = [Isotope(name[:2], int(name[2:])) for name in ISOTOPES]
    allowed = np.array([[may_spill(one, into=other) for other in parts] for one in parts])
    return np.eye(len(parts)) + allowed * rng.uniform(0, largest, allowed.shape)


def table(counts: np.ndarray, channels: list[str] = CHANNELS) -> anndata.AnnData:
    var = pd.DataFrame({"channel": channels, "marker": "", "kind": "mass"}, index=channels)
    return anndata.AnnData(counts.astype("float32"), var=var)


def bead_counts(
    matrix: np.ndarray,
    *,
    seed: int,
    each: int = 300,
    level: float = 500,
    background: float = 0.3,
    doublets: float = 0.03,
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    kind = np.repeat(np.arange(len(matrix)), each)
    amount = np.zeros((len(kind), len(matrix)))
    amount[np.arange(len(kind)), kind] = level * rng.lognormal(0, 0.3, len(kind))
    double = np.flatnonzero(rng.random(len(kind)) < doublets)
    amount[double, rng.integers(len(matrix), size=len(double))] = level * rng.lognormal(0, 0.3, len(double))
    return rng.poisson(amount @ matrix + background).astype(float), kind


@pytest.mark.parametrize(
    ("seed", "level", "background", "doublets"), [(0, 500, 0.3, 0.03), (1, 150, 0, 0), (2, 2000, 2, 0.1)]
)
def test_the_matrix_is_recovered(seed, level, background, doublets):
    matrix = truth(seed=seed)
    counts, _ = bead_counts(matrix, seed=seed, level=level, background=background, doublets=doublets)
    found = estimate_mass_spillover(table(counts))
    assert list(found.index) == list(found.columns) == ISOTOPES
    # 300 beads: counting noise of the smallest is sqrt(0.06 * 300 * level) / (300 * level)
    error = np.abs(found.to_numpy() - matrix)
    assert error.max() < max(0.002, 5 * np.sqrt(0.06 / (300 * level)))
    assert (found.to_numpy()[matrix == 0] == 0).all()


def test_files_of_one_metal_each_give_the_same_as_the_pool():
    matrix = truth(seed=3)
    counts, kind = bead_counts(matrix, seed=3, doublets=0)
    tubes = {CHANNELS[i]: table(counts[kind == i]) for i in range(len(CHANNELS))}
    pd.testing.assert_frame_equal(estimate_mass_spillover(tubes), estimate_mass_spillover(table(counts)))


@pytest.mark.parametrize(
    ("one", "other", "may"),
    [
        (("Nd", 143), ("Nd", 142), True),
        (("Nd", 143), ("Pr", 141), False),
        (("Tb", 159), ("Gd", 158), True),
        (("Tb", 159), ("Dy", 160), True),
        (("Pr", 141), ("Gd", 157), True),
        (("Pr", 141), ("Gd", 156), False),
        (("Nd", 142), ("Nd", 150), True),
        (("Nd", 142), ("Sm", 149), False),
        (("Tb", 159), ("Tb", 159), False),
    ],
)
def test_what_physics_allows(one, other, may):
    assert may_spill(Isotope(*one), into=Isotope(*other)) is may


def test_noise_and_background_are_no_spillover():
    counts, _ = bead_counts(np.eye(len(ISOTOPES)), seed=5, level=100, background=8, doublets=0)
    found = estimate_mass_spillover(table(counts)).to_numpy()
    allowed = (truth(seed=5) > 0) & ~np.eye(len(found), dtype=bool)
    assert (found[allowed] == 0).mean() >= 0.85
    assert np.abs(found - np.eye(len(found))).max() < 0.015


def test_what_no_bead_carries_is_told_and_not_guessed():
    matrix = truth(seed=4)
    counts, kind = bead_counts(matrix, seed=4)
    found = estimate_mass_spillover(table(counts[kind != 1]))
    assert (found.loc["Ce140"].drop("Ce140") == 0).all()
    assert "cannot tell what Ce140 spill" in found.attrs["notes"][0]
    # the others still spill into it
    assert found.loc["La139", "Ce140"] == pytest.approx(matrix[0, 1], abs=0.002)


def test_the_order_of_beads_and_channels_does_not_matter():
    counts, _ = bead_counts(truth(seed=5), seed=5)
    order = np.random.default_rng(0).permutation(len(counts))
    columns = [4, 2, 0, 8, 6, 1, 3, 5, 7]
    mixed = estimate_mass_spillover(table(counts[order][:, columns], channels=[CHANNELS[i] for i in columns]))
    pd.testing.assert_frame_equal(
        mixed.loc[ISOTOPES, ISOTOPES], estimate_mass_spillover(table(counts)), check_exact=False, atol=1e-9
    )


def test_cells_get_their_counts_back_and_none_is_negative():
    rng = np.random.default_rng(6)
    matrix = truth(seed=6)
    true = rng.gamma(0.5, 300, (500, len(CHANNELS))) * (rng.random((500, len(CHANNELS))) < 0.4)
    cells = table(rng.poisson(true @ matrix))
    raw = cells.X.copy()
    compensate_mass(cells, spillover=pd.DataFrame(matrix, index=ISOTOPES, columns=ISOTOPES))
    assert cells.X.min() >= 0
    assert np.abs(cells.X - true).mean() < 0.7 * np.abs(raw - true).mean()
    expected = np.array([nnls(matrix.T, row)[0] for row in raw.astype(float)])
    np.testing.assert_allclose(cells.X, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(cells.layers["raw"], raw)
    np.testing.assert_array_equal(cells.layers["compensated"], cells.X)
    once = cells.X.copy()
    compensate_mass(cells, spillover=pd.DataFrame(matrix, index=ISOTOPES, columns=ISOTOPES))
    np.testing.assert_array_equal(cells.X, once)


def test_a_matrix_of_another_panel_is_used_where_it_fits_and_the_rest_is_told():
    cells = table(np.array([[100.0, 10, 5]]), channels=["La139Di", "Ce140Di", "Bi209Di"])
    frame = pd.DataFrame([[1, 0.1, 0.1], [0, 1, 0], [0, 0, 1]], index=["La139Di", "140Ce", "Gd155"])
    frame.columns = frame.index
    compensate_mass(cells, spillover=frame)
    np.testing.assert_allclose(cells.X, [[100, 0, 5]], atol=1e-4)
    notes = {note.code: note.text for note in get_notes(cells)}
    assert notes["mass.no_spillover"].startswith("Bi209")
    assert notes["mass.not_measured"].startswith("Gd155")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame(np.eye(2), index=["CD3", "CD4"], columns=["CD3", "CD4"]), "no isotope"),
        (pd.DataFrame(np.eye(2), index=["La139", "La139"], columns=["La139", "Ce140"]), "rows"),
        (pd.DataFrame([[1, -0.1], [0, 1]], index=["La139", "Ce140"], columns=["La139", "Ce140"]), "negative"),
        (pd.DataFrame(100 * np.eye(2), index=["La139", "Ce140"], columns=["La139", "Ce140"]), "diagonal"),
        (pd.DataFrame(np.eye(1), index=["Bi209"], columns=["Bi209"]), "no mass channel"),
    ],
)
def test_a_matrix_that_cannot_be_meant_is_refused_and_nothing_changes(frame, message):
    cells = table(np.ones((3, len(CHANNELS))))
    with pytest.raises(InputError, match=message):
        compensate_mass(cells, spillover=frame)
    assert not cells.layers


def test_files_that_are_no_single_stained_beads_are_refused():
    with pytest.raises(InputError, match="isotope"):
        estimate_mass_spillover(table(np.ones((5, 2)), channels=["FITC-A", "PE-A"]))
    with pytest.raises(InputError, match="no group of beads"):
        estimate_mass_spillover(table(np.random.default_rng(0).poisson(50, (500, len(CHANNELS)))))
    with pytest.raises(InputError, match="Lu175"):
        estimate_mass_spillover(table(np.ones((5, len(CHANNELS)))), stained=["Lu175Di"])


@pytest.mark.real
@pytest.mark.skipif(not (DATA / "ss_exp.csv.gz").is_file(), reason="the real data sets are not there")
def test_real_beads_show_which_metals_were_used_and_free_the_cells_of_spillover():
    beads, cells = (_read(name) for name in ("ss_exp", "mp_cells"))
    found = estimate_mass_spillover(beads)
    used = {int(name[2:]) for name, n in found.attrs["beads"].items() if n >= 30}
    assert used == {139, *range(141, 157), *range(158, 177)}
    apart = found.to_numpy()[~np.eye(len(found), dtype=bool)]
    assert 0.03 < apart.max() < 0.06
    before = np.arcsinh(cells.X / 5)
    compensate_mass(cells, spillover=found)
    assert cells.X.min() >= 0
    after = np.arcsinh(cells.X / 5)
    # Gd157 carries no antibody: all that it shows is spilled
    i = cells.var_names.get_loc("Gd157Di")
    assert after[:, i].mean() < 0.5 * before[:, i].mean()
    pairs = [
        np.unravel_index(k, found.shape) for k in np.argsort(-(found.to_numpy() - np.eye(len(found))), axis=None)[:25]
    ]
    falls = [
        np.corrcoef(before[:, a], before[:, b])[0, 1] - np.corrcoef(after[:, a], after[:, b])[0, 1] for a, b in pairs
    ]
    assert np.mean(falls) > 0.1
    assert np.mean(np.array(falls) > 0) > 0.8


def _read(name: str) -> anndata.AnnData:
    frame = pd.read_csv(DATA / f"{name}.csv.gz")
    return table(frame.to_numpy(), channels=[column.split("|")[0] for column in frame.columns])

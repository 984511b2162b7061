from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from flowutils.compensate import compensate as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from cellprec.cytometry.compensation.compensate import compensate
from cellprec.errors import InputError, UsageError
from cellprec.notes import get_notes

SPILL = np.array([[1, 0.2, 0.01], [0.05, 1, 0.3], [0, 0.1, 1]])


def events(n: int = 200, *, matrix: np.ndarray | None = None, kind: str = "fluorescence") -> anndata.AnnData:
    rng = np.random.default_rng(0)
    var = pd.DataFrame(
        {
            "channel": ["FSC-A", "FITC-A", "PE-A", "APC-A", "Time"],
            "marker": ["", "CD3", "CD4", "CD8", ""],
            "kind": ["scatter", kind, kind, kind, "time"],
            "range": 262144.0,
        },
        index=["FSC-A", "CD3", "CD4", "CD8", "Time"],
    )
    obs = pd.DataFrame({"sample_id": "P1"}, index=[f"P1:{i}" for i in range(n)])
    adata = anndata.AnnData(rng.gamma(2, 500, (n, 5)).astype("float32"), obs=obs, var=var)
    if matrix is not None:
        full = np.eye(5)
        full[1:4, 1:4] = matrix
        adata.varp["spillover"] = full
    return adata


def codes(adata: anndata.AnnData) -> list[str]:
    return [note.code for note in get_notes(adata)]


def test_the_matrix_of_the_file_gives_what_flowutils_gives() -> None:
    adata = events(matrix=SPILL)
    raw = adata.X.copy()
    compensate(adata)
    expected = oracle(raw.astype(float), SPILL, fluoro_indices=[1, 2, 3])
    np.testing.assert_allclose(adata.X, expected, rtol=1e-5, atol=1e-2)
    np.testing.assert_array_equal(adata.layers["raw"], raw)
    np.testing.assert_array_equal(adata.layers["compensated"], adata.X)
    np.testing.assert_array_equal(adata.X[:, [0, 4]], raw[:, [0, 4]])
    assert adata.X.dtype == np.float32
    assert not np.shares_memory(adata.X, adata.layers["compensated"])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 0.25), min_size=6, max_size=6))
def test_what_spilled_comes_back(spills: list[float]) -> None:
    matrix = np.eye(3)
    matrix[~np.eye(3, dtype=bool)] = spills
    adata = events(50, matrix=matrix)
    true = adata.X.copy()
    adata.X[:, 1:4] = true[:, 1:4] @ matrix
    compensate(adata)
    np.testing.assert_allclose(adata.X, true, rtol=1e-3, atol=0.1)


def test_twice_is_once() -> None:
    adata = events(matrix=SPILL)
    compensate(adata)
    once = adata.X.copy()
    compensate(adata)
    np.testing.assert_array_equal(adata.X, once)


def test_a_given_matrix_overrides_by_channel_or_marker_in_any_order() -> None:
    adata, other = events(matrix=np.array([[1, 0.4, 0], [0, 1, 0], [0, 0, 1.0]])), events(matrix=SPILL)
    order = [2, 0, 1]
    frame = pd.DataFrame(
        SPILL[np.ix_(order, order)], index=["CD8", "CD3", "CD4"], columns=["APC-A :: CD8", "FITC-A", "PE-A"]
    )
    compensate(adata, spillover=frame)
    compensate(other)
    np.testing.assert_allclose(adata.X, other.X, rtol=1e-5)


def test_rows_and_columns_in_different_order_still_mean_the_same() -> None:
    adata, other = events(), events(matrix=SPILL)
    frame = pd.DataFrame(SPILL, index=["CD3", "CD4", "CD8"], columns=["CD3", "CD4", "CD8"])
    compensate(adata, spillover=frame[["CD8", "CD3", "CD4"]])
    compensate(other)
    np.testing.assert_allclose(adata.X, other.X, rtol=1e-5)


def test_percent_are_fractions_with_a_note() -> None:
    adata, other = events(), events(matrix=SPILL)
    compensate(adata, spillover=pd.DataFrame(SPILL * 100, index=["CD3", "CD4", "CD8"], columns=["CD3", "CD4", "CD8"]))
    compensate(other)
    np.testing.assert_allclose(adata.X, other.X, rtol=1e-5)
    assert codes(adata) == ["events.spillover_percent"]


def test_an_unknown_name_is_told_with_what_comes_near() -> None:
    names = ["FTIC-A", "PE-A"]
    with pytest.raises(InputError, match="FTIC-A") as caught:
        compensate(events(), spillover=pd.DataFrame(np.eye(2), index=names, columns=names))
    assert "FITC-A" in caught.value.fix


@pytest.mark.parametrize(
    "matrix",
    [
        np.ones((3, 3)),
        np.array([[1, 0.5, 0], [1, 0.5, 0], [0, 0, 1.0]]),
        np.array([[1, 0.99999, 0], [0.99999, 1, 0], [0, 0, 1.0]]),
        np.array([[1, np.nan, 0], [0, 1, 0], [0, 0, 1.0]]),
    ],
)
def test_a_matrix_that_cannot_be_inverted_is_refused_and_nothing_is_changed(matrix: np.ndarray) -> None:
    adata = events(matrix=matrix)
    before = adata.X.copy()
    with pytest.raises(InputError, match=r"cannot be inverted|missing or infinite") as caught:
        compensate(adata)
    assert "P1" in caught.value.where
    if "inverted" in str(caught.value):
        assert "CD3 and CD4" in caught.value.why
    np.testing.assert_array_equal(adata.X, before)
    assert "raw" not in adata.layers


def test_not_square_not_numbers_or_scatter_is_refused() -> None:
    with pytest.raises(InputError, match="same channels"):
        compensate(events(), spillover=pd.DataFrame(SPILL[:2], index=["CD3", "CD4"], columns=["CD3", "CD4", "CD8"]))
    with pytest.raises(InputError, match="same channels"):
        compensate(events(), spillover=pd.DataFrame(np.eye(2), index=["CD3", "FITC-A"], columns=["CD3", "CD4"]))
    with pytest.raises(InputError, match="not a number"):
        compensate(events(), spillover=pd.DataFrame([[1, "x"], [0, 1]], index=["CD3", "CD4"], columns=["CD3", "CD4"]))
    names = ["FSC-A", "CD4"]
    with pytest.raises(InputError, match="FSC-A"):
        compensate(events(), spillover=pd.DataFrame([[1, 0.1], [0, 1]], index=names, columns=names))


def test_without_a_matrix_fluorescence_is_noted_and_mass_is_not() -> None:
    fluorescence, mass = events(), events(kind="mass")
    for adata in (fluorescence, mass):
        before = adata.X.copy()
        compensate(adata)
        np.testing.assert_array_equal(adata.layers["compensated"], before)
    assert codes(fluorescence) == ["events.no_spillover"]
    assert codes(mass) == []


def test_an_identity_matrix_is_noted() -> None:
    adata = events(matrix=np.eye(3))
    compensate(adata)
    assert codes(adata) == ["events.identity_spillover"]


def test_channels_missing_from_the_matrix_stay_as_they_are() -> None:
    adata = events(matrix=SPILL)
    adata.varp["spillover"][[0, 4]] = np.nan
    adata.varp["spillover"][:, [0, 4]] = np.nan
    raw = adata.X.copy()
    compensate(adata)
    np.testing.assert_allclose(adata.X, oracle(raw.astype(float), SPILL, fluoro_indices=[1, 2, 3]), rtol=1e-4, atol=0.1)


def test_many_blocks_and_scattered_channels_give_what_flowutils_gives() -> None:
    rng = np.random.default_rng(1)
    n, names = 10_001, [f"B{i}-A" for i in range(7)]
    var = pd.DataFrame({"channel": names, "kind": ["fluorescence"] * 7}, index=names)
    raw = rng.normal(500, 300, (n, 7)).astype("float32")
    raw[:, 3] = np.nan
    used = [0, 2, 5, 6]
    matrix = np.eye(4) + 0.2 * rng.random((4, 4)) * ~np.eye(4, dtype=bool)
    adata = anndata.AnnData(raw.copy(), var=var)
    compensate(adata, spillover=pd.DataFrame(matrix, index=np.array(names)[used], columns=np.array(names)[used]))
    expected = oracle(raw.astype(float), matrix, fluoro_indices=used)
    np.testing.assert_allclose(adata.X[:, used], expected[:, used], rtol=1e-6, atol=1e-4)
    np.testing.assert_array_equal(adata.X[:, [1, 3, 4]], raw[:, [1, 3, 4]])


def test_the_events_are_held_three_times_and_no_array_twice() -> None:
    adata = events(matrix=SPILL)
    before = adata.X
    compensate(adata)
    assert np.shares_memory(adata.layers["raw"], before)
    for one, other in ((adata.X, adata.layers["raw"]), (adata.layers["compensated"], adata.layers["raw"])):
        assert not np.shares_memory(one, other)
    kept = adata.layers["compensated"].copy()
    adata.X[:] = 0
    np.testing.assert_array_equal(adata.layers["compensated"], kept)


def test_a_view_becomes_events_of_its_own() -> None:
    whole = events(matrix=SPILL)
    part = whole[10:20]
    raw = whole.X.copy()
    compensate(part)
    np.testing.assert_array_equal(whole.X, raw)
    np.testing.assert_array_equal(part.layers["raw"], raw[10:20])


def test_mass_channels_are_compensated_only_where_this_is_meant() -> None:
    adata = events(matrix=SPILL, kind="mass")
    raw = adata.X.copy()
    with pytest.raises(InputError, match="mass channel") as caught:
        compensate(adata)
    assert "compensate_mass" in caught.value.fix
    np.testing.assert_array_equal(adata.X, raw)
    assert "raw" not in adata.layers
    compensate(adata, mass=True)
    np.testing.assert_allclose(adata.X, oracle(raw.astype(float), SPILL, fluoro_indices=[1, 2, 3]), rtol=1e-4, atol=0.1)


def test_what_was_assumed_of_a_matrix_travels_with_the_events() -> None:
    adata = events()
    frame = pd.DataFrame(SPILL, index=["CD3", "CD4", "CD8"], columns=["CD3", "CD4", "CD8"])
    frame.attrs["notes"] = ["no control was given for B9-A: outside the matrix"]
    compensate(adata, spillover=frame)
    (note,) = get_notes(adata)
    assert (note.code, note.sample) == ("events.spillover_source", "P1")
    assert "B9-A" in note.text


def test_a_given_identity_takes_nothing_out_and_is_noted() -> None:
    adata = events()
    raw = adata.X.copy()
    compensate(adata, spillover=pd.DataFrame(np.eye(2), ["CD3", "CD4"], ["CD3", "CD4"]))
    np.testing.assert_array_equal(adata.layers["compensated"], raw)
    assert "events.identity_spillover" in codes(adata)


@pytest.mark.parametrize("matrix", [[[1, 0], [0, 0]], [[0, 1], [1, 0]], [[1, 0.1], [0, -1]]])
def test_a_diagonal_that_is_not_above_zero_is_refused(matrix: list[list[float]]) -> None:
    with pytest.raises(InputError, match="not above zero"):
        compensate(events(), spillover=pd.DataFrame(matrix, ["CD3", "CD4"], ["CD3", "CD4"]))


def _pair(first: float, second: float) -> tuple[anndata.AnnData, pd.DataFrame]:
    names = ["B-A", "Y-A"]
    var = pd.DataFrame({"channel": names, "kind": "fluorescence"}, index=names)
    adata = anndata.AnnData(np.array([[100, 20], [0, 50]], dtype="float32"), var=var)
    return adata, pd.DataFrame([[1, first], [second, 1]], index=names, columns=names)


def test_percentages_beside_a_diagonal_of_ones_are_refused_and_one_large_coefficient_is_noted() -> None:
    adata, matrix = _pair(10.0, 2.0)
    with pytest.raises(InputError, match="2 of 2 coefficients"):
        compensate(adata, spillover=matrix)
    assert not adata.layers
    adata, matrix = _pair(1.3, 0.1)
    compensate(adata, spillover=matrix)
    assert [note.code for note in get_notes(adata)] == ["events.spillover_large"]


@pytest.mark.parametrize("given", ["matrix.csv", np.eye(2)])
def test_a_matrix_that_is_no_frame_is_refused_with_what_to_do(given: object) -> None:
    adata, _ = _pair(0.1, 0.1)
    with pytest.raises(UsageError) as said:
        compensate(adata, spillover=given)  # type: ignore[arg-type]
    assert "read_compensation" in said.value.fix

from __future__ import annotations

import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import nnls

from cellprec.cytometry.compensation.spectra import reference_spectra
from cellprec.cytometry.compensation.unmix import unmix
from cellprec.errors import InputError, UsageError
from cellprec.io.fcs import read_fcs
from cellprec.notes import get_notes
from cellprec.simulate.spectral import SpectralPanel, simulate_spectral

AURORA = (
    Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[4] / "shared" / "data")) / "cytometry" / "aurora_5l"
)


def r_squared(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    return 1 - ((found - true) ** 2).sum(axis=0) / ((true - true.mean(axis=0)) ** 2).sum(axis=0)


def light(panel: SpectralPanel) -> np.ndarray:
    return panel.stained[:, list(panel.spectra.columns)].X.astype(np.float64)


def oracle(panel: SpectralPanel) -> np.ndarray:
    """Nobody can do better without bias: weighted least squares with the true spectra and the true noise."""
    spectra = panel.spectra.to_numpy()
    clean = panel.abundances.to_numpy() @ spectra
    weights = 1 / np.sqrt(panel.noise["gain"] * clean + panel.noise["floor"])
    fits = [np.linalg.lstsq((spectra * w).T, y * w, rcond=None)[0] for y, w in zip(light(panel), weights, strict=True)]
    return np.array(fits)


@pytest.mark.parametrize("noise", ["photon", "constant"])
@pytest.mark.parametrize(("n_dyes", "seed"), [(20, 1), (30, 2)])
def test_abundances_at_30_db(n_dyes, seed, noise):
    panel = simulate_spectral(n_dyes=n_dyes, noise=noise, seed=seed, n_events=1200, n_control_events=800)
    true = panel.abundances.to_numpy()[:, :n_dyes]
    spectra = reference_spectra(panel.controls, unstained=panel.unstained)
    best = r_squared(oracle(panel)[:, :n_dyes], true)
    for method in ("ols", "weighted", "nnls"):
        found = unmix(panel.stained, spectra=spectra, method=method).X[:, :n_dyes]
        each = r_squared(found, true)
        pooled = r_squared(found.reshape(-1, 1), true.reshape(-1, 1))[0]
        assert pooled >= 0.99
        assert np.median(each) >= 0.99
        if best.min() >= 0.993:
            assert each.min() >= 0.99
        if method != "ols":
            # what dyes that look alike lose, they lose to the noise
            assert (each >= best - 0.004).all()


def test_weights_help_where_noise_is_of_photons_and_do_no_harm_elsewhere():
    for noise in ("photon", "constant"):
        panel = simulate_spectral(n_dyes=24, noise=noise, seed=2, n_events=3000, n_control_events=10)
        true = panel.abundances.to_numpy()
        error = {
            method: ((unmix(panel.stained, spectra=panel.spectra, method=method).X[:, :25] - true) ** 2).sum()
            for method in ("ols", "weighted")
        }
        assert error["weighted"] < {"photon": 0.9, "constant": 1.01}[noise] * error["ols"]


def test_each_method_is_what_its_oracle_gives_and_carries_the_rest_along():
    panel = simulate_spectral(n_dyes=6, n_detectors=20, n_events=300, n_control_events=10, seed=1)
    values, spectra = light(panel), panel.spectra.to_numpy()
    ols = unmix(panel.stained, spectra=panel.spectra, method="ols")
    np.testing.assert_allclose(ols.X[:, :7], np.linalg.lstsq(spectra.T, values.T, rcond=None)[0].T, rtol=1e-4, atol=0.1)
    positive = unmix(panel.stained, spectra=panel.spectra, method="nnls")
    expected = np.array([nnls(spectra.T, row)[0] for row in values])
    np.testing.assert_allclose(positive.X[:, :7], expected, rtol=1e-4, atol=0.1)
    missed = np.linalg.norm(values - expected @ spectra, axis=1) / np.linalg.norm(values, axis=1)
    np.testing.assert_allclose(positive.obs["unmixing_residual"], missed, rtol=1e-3)
    assert list(ols.var["channel"]) == [*panel.spectra.index, "Time", "FSC-A", "SSC-A"]
    assert list(ols.var["kind"]) == ["fluorescence"] * 7 + ["time", "scatter", "scatter"]
    np.testing.assert_array_equal(ols.X[:, 7:], panel.stained.X[:, :3])
    np.testing.assert_array_equal(ols.layers["compensated"], ols.X)
    assert ols.X.dtype == np.float32
    assert list(ols.obs_names) == list(panel.stained.obs_names)
    np.testing.assert_allclose(ols.varm["spectra"][:7], spectra)


def test_light_that_is_exactly_mixed_is_exactly_unmixed():
    panel = simulate_spectral(n_dyes=10, n_detectors=40, n_events=400, n_control_events=10, snr_db=140)
    for method in ("ols", "weighted", "nnls"):
        found = unmix(panel.stained, spectra=panel.spectra, method=method)
        np.testing.assert_allclose(found.X[:, :11], panel.abundances, rtol=1e-3, atol=5)
        assert found.obs["unmixing_residual"].max() < 1e-3
        assert not [note for note in get_notes(found) if note.code == "unmix.poor_fit"]


def test_each_cell_takes_its_own_color_of_autofluorescence():
    panel = simulate_spectral(n_dyes=16, n_autofluorescence=3, seed=5, snr_db=45, n_events=2000, n_control_events=1500)
    true = panel.abundances.to_numpy()[:, :16]
    several = reference_spectra(panel.controls, unstained=panel.unstained, autofluorescence=3)
    one = reference_spectra(panel.controls, unstained=panel.unstained)
    found = unmix(panel.stained, spectra=several)
    assert list(found.var_names[:17]) == [*panel.controls, "AF"]
    every = unmix(panel.stained, spectra=several, autofluorescence="all")
    assert list(every.var_names[16:19]) == ["AF1", "AF2", "AF3"]
    assert set(found.obs["autofluorescence"].cat.categories) == {"AF1", "AF2", "AF3"}
    lost = [((u.X[:, :16] - true) ** 2).sum() for u in (found, unmix(panel.stained, spectra=one))]
    assert lost[0] < 0.7 * lost[1]


def test_a_dye_that_is_not_in_the_spectra_and_saturation_are_noticed():
    panel = simulate_spectral(n_dyes=8, n_detectors=32, n_events=1000, n_control_events=10)
    assert not get_notes(unmix(panel.stained, spectra=panel.spectra))
    short = unmix(panel.stained, spectra=panel.spectra.drop(index="Dye03"))
    poor = next(note for note in get_notes(short) if note.code == "unmix.poor_fit")
    carried = (panel.abundances["Dye03"] > 0).sum()
    assert 0.3 * carried < poor.count <= 1.2 * carried
    assert poor.sample == "stained"
    panel.stained.X[:3, 5] = 4_194_304
    (note,) = [n for n in get_notes(unmix(panel.stained, spectra=panel.spectra)) if n.code == "unmix.saturated"]
    assert note.count == 3


@pytest.mark.parametrize("seed", [0, 2])
def test_the_noise_that_is_learned_is_that_of_the_detectors(seed):
    panel = simulate_spectral(n_dyes=8, n_detectors=12, n_events=3000, n_control_events=10, seed=seed)
    learned = unmix(panel.stained, spectra=panel.spectra).uns["unmixing"]
    assert 0.7 < np.median(learned["noise_gain"]) / panel.noise["gain"] < 1.3
    assert 0.7 < np.median(learned["noise_floor"]) / panel.noise["floor"] < 1.3


def test_the_range_of_a_dye_is_that_of_its_brightest_detector():
    panel = simulate_spectral(n_dyes=3, n_detectors=16, n_events=30, n_control_events=10)
    panel.stained.var["range"] = 1e6 + np.arange(panel.stained.n_vars)
    found = unmix(panel.stained, spectra=panel.spectra)
    brightest = list(panel.spectra.idxmax(axis=1))
    tops = panel.stained.var.set_index("channel")["range"]
    assert list(found.var["range"]) == list(tops[[*brightest, *found.var["channel"][4:]]])


def test_the_raw_events_are_unmixed_whatever_was_made_of_them():
    panel = simulate_spectral(n_dyes=3, n_detectors=16, n_events=300, n_control_events=10)
    expected = unmix(panel.stained, spectra=panel.spectra).X
    scaled = panel.stained.copy()
    scaled.layers["raw"] = panel.stained.X.copy()
    scaled.X = np.arcsinh(scaled.X / 150)
    np.testing.assert_array_equal(unmix(scaled, spectra=panel.spectra).X, expected)


def test_markers_name_the_dyes_and_the_result_can_be_written(tmp_path):
    panel = simulate_spectral(n_dyes=3, n_detectors=16, n_events=30, n_control_events=10)
    found = unmix(panel.stained, spectra=panel.spectra, markers={"Dye01": "CD3", "Dye02": "CD4", "Dye03": "CD4"})
    assert list(found.var_names[:4]) == ["CD3", "Dye02", "Dye03", "AF"]
    assert list(found.var["marker"][:4]) == ["CD3", "CD4", "CD4", ""]
    found.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(again.X, found.X)
    assert list(again.uns["unmixing"]["detectors"]) == list(panel.spectra.columns)


def test_events_that_are_missing_stay_missing_and_blocks_do_not_matter():
    panel = simulate_spectral(n_dyes=3, n_detectors=16, n_events=25_000, n_control_events=10)
    panel.stained.X[7, 6] = np.nan
    for method in ("ols", "weighted", "nnls"):
        found = unmix(panel.stained, spectra=panel.spectra, method=method)
        assert np.isnan(found.X[7, :3]).all()
        assert np.isfinite(np.delete(found.X, 7, axis=0)).all()
        if method != "weighted":
            few = unmix(panel.stained[19_990:20_010].copy(), spectra=panel.spectra, method=method)
            np.testing.assert_allclose(found.X[19_990:20_010], few.X, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_files_of_no_light_or_of_no_number_are_unmixed_to_the_same(value):
    panel = simulate_spectral(n_dyes=2, n_detectors=5, n_events=300, seed=1)
    panel.stained.X[:] = value
    unmixed = unmix(panel.stained, spectra=panel.spectra)
    np.testing.assert_array_equal(unmixed.X[:, :2], np.float32(value))


def test_what_cannot_be_unmixed_is_refused():
    panel = simulate_spectral(n_dyes=3, n_detectors=16, n_events=20, n_control_events=10)
    spectra, stained = panel.spectra, panel.stained
    with pytest.raises(UsageError, match="poisson"):
        unmix(stained, spectra=spectra, method="poisson")
    with pytest.raises(UsageError, match="some"):
        unmix(stained, spectra=spectra, autofluorescence="some")
    with pytest.raises(InputError, match="X9-A"):
        unmix(stained, spectra=spectra.rename(columns={"B1-A": "X9-A"}))
    with pytest.raises(InputError, match="told apart") as caught:
        unmix(stained, spectra=pd.concat([spectra, spectra.loc[["Dye02"]].rename(index={"Dye02": "again"})]))
    assert "Dye02" in caught.value.why
    assert "again" in caught.value.why
    with pytest.raises(InputError, match="one row per dye"):
        unmix(stained, spectra=pd.concat([spectra, spectra]))
    with pytest.raises(InputError, match="missing values"):
        unmix(stained, spectra=spectra.replace(spectra.iloc[0, 0], np.nan))
    with pytest.raises(InputError, match="FITC"):
        unmix(stained, spectra=spectra, markers={"FITC": "CD3"})
    done = stained.copy()
    done.layers["raw"], done.layers["compensated"] = stained.X.copy(), 2 * stained.X
    with pytest.raises(InputError, match="compensated already"):
        unmix(done, spectra=spectra)


@pytest.mark.real
@pytest.mark.skipif(not AURORA.is_dir(), reason="the real data sets are not there")
def test_dyes_added_to_real_cells_are_found_again():
    first, second = (_dim_cells(read_fcs(path)) for path in sorted(AURORA.glob("*09_0[12].fcs"))[:2])
    rng = np.random.default_rng(0)
    detectors = [name for name in first.var["channel"] if name.endswith("-A") and name[:3] not in ("FSC", "SSC")]
    assert len(detectors) == 64
    panel = simulate_spectral(n_dyes=12, n_events=5, n_control_events=5, seed=3)
    dyes = panel.spectra.drop(index="AF").set_axis(detectors, axis=1)
    # the cells as they are stand for the unstained ones; each control adds one dye to half of the first sample
    at = first.var_names.get_indexer(detectors)
    controls = {}
    for name in dyes.index:
        control = first.copy()
        amount = (rng.random(first.n_obs) < 0.5) * 2e5 * rng.lognormal(0, 0.3, first.n_obs)
        control.X[:, at] += rng.poisson(amount[:, None] * dyes.loc[name].to_numpy())
        controls[name] = control
    spectra = reference_spectra(controls, unstained=first, autofluorescence=4)
    assert np.abs(spectra.loc[dyes.index] - dyes).to_numpy().max() < 0.02
    amounts = (rng.random((second.n_obs, 12)) < 0.3) * 2e5 * rng.lognormal(0, 0.3, (second.n_obs, 12))
    stained = second.copy()
    stained.X[:, at] += rng.poisson(amounts @ dyes.to_numpy())
    found = unmix(stained, spectra=spectra)
    assert np.median(r_squared(found.X[:, :12], amounts)) > 0.95


def _dim_cells(adata: anndata.AnnData) -> anndata.AnnData:
    """The cells that carry least of the two dyes of the real sample."""
    peak = adata[:, "YG1-A"].X.ravel()
    return adata[peak < np.quantile(peak, 0.4)].copy()


def test_the_spectra_of_another_panel_are_refused_and_unknown_detectors_named() -> None:
    panel = simulate_spectral(n_dyes=5, n_detectors=24, n_events=1500, n_control_events=600, seed=1)
    spectra = panel.spectra
    shuffled = spectra.copy()
    shuffled.loc[:, :] = np.roll(spectra.to_numpy(), 11, axis=1)
    with pytest.raises(InputError, match="unexplained") as caught:
        unmix(panel.stained, spectra=shuffled, method="ols")
    assert "other dyes" in caught.value.why
    few = spectra.iloc[:, :20]
    unmixed = unmix(panel.stained, spectra=few, method="ols")
    (told,) = [note for note in get_notes(unmixed) if note.code == "unmix.detectors"]
    assert told.count == 4
    assert all(name in told.text for name in spectra.columns[20:])
    assert not [n for n in get_notes(unmix(panel.stained, spectra=spectra)) if n.code == "unmix.detectors"]

from __future__ import annotations

import json

import anndata
import numpy as np
import pandas as pd
import pytest

from cellprec.cytometry.compensation.detectors import detector_names
from cellprec.cytometry.compensation.spectra import reference_spectra, spectra_pairs
from cellprec.cytometry.compensation.spectral_control import Events
from cellprec.errors import InputError, StudyError
from cellprec.simulate.spectral import SpectralPanel, simulate_spectral


@pytest.fixture(scope="module")
def panel() -> SpectralPanel:
    return simulate_spectral(n_dyes=8, n_detectors=32, n_events=50, n_control_events=1500, seed=1)


def worst(found: pd.DataFrame, true: pd.DataFrame) -> float:
    return float(np.abs(found.loc[true.index] - true).to_numpy().max())


@pytest.mark.parametrize(("noise", "seed"), [("photon", 0), ("constant", 1)])
def test_spectra_of_a_large_panel_are_recovered_within_a_percent(noise, seed):
    large = simulate_spectral(n_dyes=24, noise=noise, seed=seed, n_events=50, n_control_events=1500)
    dyes = large.spectra.drop(index="AF")
    found = reference_spectra(large.controls, unstained=large.unstained)
    assert worst(found, dyes) < 0.012
    assert (found.max(axis=1) == 1).all()
    assert worst(found, large.spectra.loc[["AF"]]) < 0.08
    assert worst(reference_spectra(large.controls), dyes) < 0.015


def test_dead_cells_and_saturated_events_do_not_bend_a_spectrum(panel):
    rng = np.random.default_rng(0)
    controls = {name: control.copy() for name, control in panel.controls.items()}
    true = panel.spectra.drop(index="AF")
    for control in controls.values():
        bad = rng.random(control.n_obs) < 0.05
        glow = 30_000 * rng.lognormal(0, 0.5, (int(bad.sum()), 1)) * panel.spectra.loc["AF"].to_numpy()
        control.X[bad, 3:] += glow.astype("float32")
        top = np.quantile(control.X[:, 3:], 0.95, axis=0).max()
        control.X = np.minimum(control.X, top)
        control.var["range"] = float(top)
    found = reference_spectra(controls, unstained=panel.unstained)
    assert worst(found, true) < 0.03
    assert {note["code"] for note in found.attrs["notes"]} == {"spectra.saturated"}


def test_beads_are_compared_with_their_own_negatives_and_not_with_cells(panel):
    # beads glow otherwise than cells and scatter elsewhere
    controls = {name: control.copy() for name, control in panel.controls.items()}
    glow = np.linspace(0, 8000, 32).astype("float32")
    for control in controls.values():
        control.X[:, 3:] += glow
        control.X[:, 1:3] += 200_000
    found = reference_spectra(controls, unstained=panel.unstained)
    assert worst(found, panel.spectra.drop(index="AF")) < 0.015
    assert all(record["background"].startswith("own") for record in found.attrs["controls"])


def test_a_control_in_which_all_events_are_stained_needs_an_unstained_sample(panel):
    stained = panel.controls["Dye01"]
    i = stained.var_names.get_loc(panel.spectra.loc["Dye01"].idxmax())
    bright = stained[stained.X[:, i] > 0.3 * np.quantile(stained.X[:, i], 0.99)].copy()
    found = reference_spectra({"Dye01": bright}, unstained=panel.unstained)
    assert worst(found, panel.spectra.loc[["Dye01"]]) < 0.015
    with pytest.raises(StudyError, match="unstained"):
        reference_spectra({"Dye01": bright})


@pytest.mark.parametrize("share", [0.05, 0.97])
def test_few_stained_or_few_unstained_events_do(panel, share):
    rng = np.random.default_rng(0)
    control = panel.controls["Dye02"]
    i = control.var_names.get_loc(panel.spectra.loc["Dye02"].idxmax())
    high = control.X[:, i] > 0.2 * np.quantile(control.X[:, i], 0.99)
    rows = np.concatenate(
        [
            rng.choice(np.flatnonzero(high), int(2000 * share)),
            rng.choice(np.flatnonzero(~high), int(2000 * (1 - share))),
        ]
    )
    found = reference_spectra({"Dye02": control[np.unique(rows)].copy()}, unstained=panel.unstained)
    assert worst(found, panel.spectra.loc[["Dye02"]]) < 0.02


def test_all_that_is_wrong_is_told_at_once(panel):
    first, second = panel.controls["Dye01"], panel.controls["Dye02"]
    controls = {
        "good": first,
        "twice": first.copy(),
        "blank": panel.unstained.copy(),
        "few": second[:20].copy(),
        "other": second[:, :20].copy(),
    }
    with pytest.raises(StudyError) as caught:
        reference_spectra(controls, unstained=panel.unstained)
    told = {problem.sample: problem.what for problem in caught.value.problems}
    assert set(told) >= {"twice", "blank", "few", "other"} - {"blank"}
    assert "same spectrum" in told["twice"]
    assert "20 usable events" in told["few"]
    assert "other detectors" in told["other"]
    assert "stained" in told["blank"]
    assert "good" not in told


def test_dim_alike_and_unmatched_controls_are_notes(panel):
    rng = np.random.default_rng(0)
    spectra = panel.spectra.to_numpy()
    near = 0.88 * spectra[0] + 0.12 * spectra[1]
    controls = {"Dye01": panel.controls["Dye01"]}
    for name, color, level in (("near", near / near.max(), 50_000), ("dim", spectra[2], 2000)):
        control = panel.controls["Dye01"].copy()
        stained = np.arange(control.n_obs) % 2 == 0
        amount = stained * level * rng.lognormal(0, 0.3, control.n_obs)
        blank = panel.unstained.X[rng.integers(panel.unstained.n_obs, size=control.n_obs), 3:]
        control.X[:, 3:] = amount[:, None] * color + blank
        controls[name] = control
    found = reference_spectra(controls, unstained=panel.unstained)
    told = {(note["code"], note["sample"]) for note in found.attrs["notes"]}
    assert ("spectra.dim_control", "dim") in told
    assert any(code == "spectra.alike" for code, _ in told)
    assert "spectra.no_unstained" in {note["code"] for note in reference_spectra(panel.controls).attrs["notes"]}
    with pytest.raises(InputError, match="no single-stain"):
        reference_spectra({})


def test_several_colors_of_autofluorescence_are_found():
    glowing = simulate_spectral(n_dyes=2, n_autofluorescence=3, n_events=50, n_control_events=3000, seed=3, snr_db=40)
    found = reference_spectra(glowing.controls, unstained=glowing.unstained, autofluorescence=3)
    assert list(found.index) == ["Dye01", "Dye02", "AF1", "AF2", "AF3"]
    true, ours = (frame.iloc[2:].to_numpy() for frame in (glowing.spectra, found))
    cosine = (ours @ true.T) / np.outer(np.linalg.norm(ours, axis=1), np.linalg.norm(true, axis=1))
    assert (cosine.max(axis=0) > 0.98).all()
    assert set(cosine.argmax(axis=0)) == {0, 1, 2}


def test_a_control_at_another_voltage_is_a_note(panel):
    controls = {name: panel.controls[name].copy() for name in ("Dye01", "Dye02")}
    unstained = panel.unstained.copy()
    channels = list(unstained.var["channel"])
    for volts, control in zip((400, 450, 400), (*controls.values(), unstained), strict=True):
        keywords = {f"$P{i}N": name for i, name in enumerate(channels, 1)}
        keywords |= {f"$P{i}V": "400" for i in range(1, len(channels) + 1)} | {"$P9V": str(volts)}
        control.uns["fcs"] = {"keywords": json.dumps(keywords)}
    found = reference_spectra(controls, unstained=unstained)
    notes = [note for note in found.attrs["notes"] if note["code"] == "spectra.voltages"]
    assert [(note["sample"], note["count"]) for note in notes] == [("Dye02", 1)]
    assert channels[8] in notes[0]["text"]


def test_more_dyes_than_detectors_are_refused(panel):
    names = ["Dye01", "Dye04", "Dye08"]
    peaks = sorted({panel.spectra.loc[name].idxmax() for name in names})[:2]
    wanted = [name for name in panel.unstained.var["channel"] if name in (*peaks, "FSC-A", "SSC-A")]
    few = {name: panel.controls[name][:, wanted].copy() for name in names}
    with pytest.raises(StudyError) as caught:
        reference_spectra(few, unstained=panel.unstained[:, wanted].copy())
    assert any("cannot be told apart by 2 detectors" in problem.what for problem in caught.value.problems)


def test_only_kept_whole_and_unsaturated_raw_events_are_used():
    channels = ["FSC-A", "SSC-A", "B1-A", "B2-A"]
    held = np.arange(40.0).reshape(10, 4)
    held[2, 3], held[4, 2], held[5, 0], held[6, 2] = 1024, 1024, np.nan, 1024
    var = pd.DataFrame({"channel": channels, "range": 1024.0}, index=channels)
    adata = anndata.AnnData(np.full((10, 4), 7.0), var=var, layers={"raw": held})
    adata.obs["keep"] = np.arange(10) != 4
    sample = Events(adata, detectors=["B2-A", "B1-A"])
    used = [0, 1, 3, 7, 8, 9]
    np.testing.assert_array_equal(sample.values, held[used][:, [3, 2]])
    np.testing.assert_array_equal(sample.scatter, held[used][:, :2])
    assert sample.n_saturated == 2


def test_detectors_are_the_areas_of_fluorescence():
    channels = ["Time", "FSC-A", "UV1-A", "UV1-H", "V1-H", "R8-A"]
    kinds = ["time", "scatter", *["fluorescence"] * 4]
    var = pd.DataFrame({"channel": channels, "kind": kinds}, index=channels)
    assert detector_names(anndata.AnnData(shape=(0, 6), var=var)) == ["UV1-A", "V1-H", "R8-A"]


def test_spread_is_what_photon_noise_does():
    rng = np.random.default_rng(0)
    spectra = pd.DataFrame(
        np.exp(-0.5 * ((np.arange(12) - np.array([[2.0], [3.5], [8.0]])) / 1.5) ** 2), index=["a", "b", "c"]
    )
    spectra = spectra.div(spectra.max(axis=1), axis=0)
    counts = rng.poisson(np.tile([100.0, 0, 0], (40_000, 1)) @ spectra.to_numpy())
    amounts = counts @ np.linalg.pinv(spectra.to_numpy())
    pairs = spectra_pairs(spectra).set_index(["dye", "other"])
    assert pairs.loc[("a", "b"), "spread"] == pytest.approx(amounts[:, 1].std(), rel=0.02)
    assert pairs.loc[("a", "c"), "spread"] == pytest.approx(amounts[:, 2].std(), rel=0.02)
    assert pairs.index[0] == ("a", "b")
    assert pairs["cosine"].is_monotonic_decreasing

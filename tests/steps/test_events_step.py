"""The events of one file: the settings hold on every way through the step, and the user's matrix goes first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

import cellprec as cp
from cellprec.io import write_fcs
from cellprec.simulate import simulate_spectral
from cellprec.steps.contract import Sample
from cellprec.steps.events import events

ALL_OFF = {"margins": False, "acquisition": False, "doublets": False, "dead": False}


def sample(path: Path) -> Sample:
    return Sample("S1", "cytometry", path, sheet={})


def packed(matrix: pd.DataFrame, *, unmixing: str) -> anndata.AnnData:
    adata = anndata.AnnData(
        matrix.to_numpy(float), obs=pd.DataFrame(index=matrix.index), var=pd.DataFrame(index=matrix.columns)
    )
    adata.uns["unmixing"] = unmixing
    return adata


@pytest.fixture(scope="module")
def spectral(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, anndata.AnnData, np.ndarray]:
    """A spectral file with 20 saturated events, the spectra of its dyes, and which events took up the dead stain."""
    panel = simulate_spectral(n_dyes=4, n_detectors=16, n_events=1500, n_control_events=10, seed=3)
    dead = panel.spectra.index[0]
    held = panel.stained.X.copy()
    place = list(panel.stained.var["channel"]).index(panel.spectra.loc[dead].idxmin())
    held[:20, place] = panel.stained.var["range"].iloc[place]
    path = tmp_path_factory.mktemp("spectral") / "S1.fcs"
    write_fcs(path, held, channels=list(panel.stained.var["channel"]), ranges=list(panel.stained.var["range"]))
    matrix = packed(panel.spectra.rename(index={dead: "Live/Dead"}), unmixing="ols")
    return path, matrix, panel.abundances[dead].to_numpy() > 0


@pytest.mark.parametrize("check", ["margins", "acquisition", "doublets", "dead", ""])
def test_each_check_of_a_spectral_file_can_be_asked_for_alone(spectral, check):
    path, matrix, dead = spectral
    cells = events.run(sample(path), matrix, **ALL_OFF | ({check: True} if check else {}))
    marked = pd.DataFrame(cells.obsm["drop_reasons"], columns=cells.uns["drop_reasons"])
    if check == "margins":
        assert marked["margin"][:20].all()
    if check == "dead":
        assert marked["dead"][dead].mean() > 0.9
        assert marked["dead"][~dead].mean() < 0.02
    own = {"margins": ["margin", "floor"], "dead": ["dead"], "acquisition": ["anomaly"]}
    others = marked.drop(columns=own.get(check, list(marked) if check else []))
    if check == "doublets":
        others = marked[["margin", "floor", "anomaly", "dead"]]
    assert not others.to_numpy().any()
    assert ("acquisition" in cells.uns) == (check == "acquisition")


def test_the_matrix_of_the_user_goes_before_that_of_the_controls(tmp_path):
    dyes = ["FITC-A", "PE-A"]
    light = np.random.default_rng(0).lognormal(6, 1, (300, 2))
    write_fcs(tmp_path / "S1.fcs", light, channels=dyes, ranges=[262_144] * 2)
    given = pd.DataFrame([[1, 0.2], [0.1, 1]], index=dyes, columns=dyes)
    given.to_csv(tmp_path / "matrix.csv")
    for unmixing in ("", "ols"):
        controls = packed(pd.DataFrame([[1, 0.5], [0.4, 1]], index=dyes, columns=dyes), unmixing=unmixing)
        cells = events.run(sample(tmp_path / "S1.fcs"), controls, spillover=tmp_path / "matrix.csv", **ALL_OFF)
        assert "unmixing_residual" not in cells.obs
        np.testing.assert_allclose(cells.layers["compensated"] @ given.to_numpy(), light, rtol=1e-3, atol=0.05)


def test_gates_drawn_for_the_file_go_before_the_template_which_takes_the_seed_of_the_sample(tmp_path, monkeypatch):
    write_fcs(tmp_path / "S1.fcs", np.ones((9, 1)), channels=["FITC-A"], ranges=[1024])
    calls = []
    monkeypatch.setattr(cp.io, "read_template", lambda path: path)
    monkeypatch.setattr(cp.io, "apply_gates", lambda _, *, gates: calls.append(gates.name))
    monkeypatch.setattr(cp.cytometry, "gate", lambda _, *, rules, seed: calls.append((rules.name, seed)))
    drawn = Sample("S1", "cytometry", tmp_path / "S1.fcs", sheet={}, seed=7, gates=Path("drawn.wsp"))
    for one in (drawn, replace(drawn, gates=None)):
        events.run(one, None, template=Path("rules.yaml"), **ALL_OFF)
    assert calls == ["drawn.wsp", ("rules.yaml", 7)]

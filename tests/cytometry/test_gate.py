"""Gates placed by the data, on events of which it is known where they belong."""

from __future__ import annotations

import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from cellprec.cytometry.compensation.compensate import compensate
from cellprec.cytometry.gate import gate
from cellprec.errors import StudyError
from cellprec.io.fcs import read_fcs
from cellprec.io.gates import gate_counts, label_populations
from cellprec.io.template import GateRule
from cellprec.notes import get_notes

DATA = Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[3] / "shared" / "data")) / "cytometry"


def events(seed: int = 0, *, size: int = 4000) -> anndata.AnnData:
    """B, CD4 T, CD8 T and debris: linear fluorescence with negatives around zero."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(["B", "CD4 T", "CD8 T", "debris"], size=size, p=[0.2, 0.35, 0.25, 0.2])
    values = rng.normal(0, 120, (size, 5))
    for column, positive in ((2, ["CD4 T", "CD8 T"]), (3, ["CD4 T"]), (4, ["CD8 T"])):
        rows = np.isin(truth, positive)
        values[rows, column] += rng.lognormal(np.log(8000), 0.35, rows.sum())
    debris = truth == "debris"
    values[:, 0] = np.where(debris, rng.normal(15_000, 3_000, size), rng.normal(80_000, 8_000, size))
    values[:, 1] = np.where(debris, rng.normal(5_000, 1_500, size), rng.normal(30_000, 5_000, size))
    var = pd.DataFrame(
        {
            "channel": ["FSC-A", "SSC-A", "B530-A", "V450-A", "R670-A"],
            "marker": ["", "", "CD3", "CD4", "CD8"],
            "kind": ["scatter"] * 2 + ["fluorescence"] * 3,
            "range": 262_144.0,
        },
        index=["FSC-A", "SSC-A", "CD3", "CD4", "CD8"],
    )
    obs = pd.DataFrame({"sample_id": pd.Categorical(["P01"] * size), "truth": pd.Categorical(truth)})
    obs.index = obs.index.astype(str)
    return anndata.AnnData(values.astype(np.float32), obs=obs, var=var)


def f1(adata: anndata.AnnData, name: str, truth: np.ndarray) -> float:
    found = adata.obsm["gates"][:, list(adata.uns["gates"]["name"]).index(name)]
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


TREE = [
    GateRule(name="Cells", channels=("FSC-A", "SSC-A"), method="ellipse", share=0.99),
    GateRule(name="T", parent="Cells", channels="CD3", method="valley"),
    GateRule(name="CD4 T", parent="T", channels=("CD4", "CD8"), method="valley", side=("above", "below")),
    GateRule(name="CD8 T", parent="T", channels=("CD4", "CD8"), method="mindensity", side=("below", "above")),
]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_hierarchy_finds_the_populations(seed):
    adata = events(seed)
    before = adata.X.copy()
    gate(adata, rules=TREE)
    truth = adata.obs["truth"].to_numpy()
    assert f1(adata, "Cells", truth != "debris") > 0.98
    assert f1(adata, "CD4 T", truth == "CD4 T") > 0.97
    assert f1(adata, "CD8 T", truth == "CD8 T") > 0.97
    np.testing.assert_array_equal(adata.X, before)
    assert list(gate_counts(adata)["path"]) == ["Cells", "Cells > T", "Cells > T > CD4 T", "Cells > T > CD8 T"]
    label_populations(adata)
    assert (adata.obs["population"].astype(str) == truth)[np.isin(truth, ["CD4 T", "CD8 T"])].mean() > 0.96
    inside = adata.obsm["gates"]
    assert not (inside[:, 1:] & ~inside[:, :1]).any()


def test_dropped_events_are_in_no_gate_and_move_no_limit():
    adata = events()
    rng = np.random.default_rng(1)
    bad = rng.random(adata.n_obs) < 0.3
    spoiled = adata.copy()
    spoiled.X[bad, 2] = 2_000  # right in the valley
    spoiled.obs["keep"] = ~bad
    gate(spoiled, rules=[GateRule(name="T", channels="CD3", method="valley")])
    assert not spoiled.obsm["gates"][bad].any()
    good = adata[~bad].copy()
    gate(good, rules=[GateRule(name="T", channels="CD3", method="valley")])
    np.testing.assert_array_equal(spoiled.obsm["gates"][~bad], good.obsm["gates"])


def test_numbers_are_on_the_linear_scale():
    adata = events()
    rules = [
        GateRule(name="fixed", channels="CD3", method="fixed", value=3000.0),
        GateRule(name="below", channels="CD3", method="fixed", value=3000.0, side="below"),
        GateRule(name="top", channels="CD3", method="quantile", quantile=0.9),
        GateRule(name="between", channels="CD3", method="mindensity", between=(900.0, 1000.0)),
    ]
    gate(adata, rules=rules)
    cd3 = adata.X[:, 2]
    for name, expected in (("fixed", cd3 >= 3000), ("below", cd3 < 3000), ("top", cd3 >= np.quantile(cd3, 0.9))):
        found = adata.obsm["gates"][:, list(adata.uns["gates"]["name"]).index(name)]
        assert (found != expected).mean() < 0.0005
    how = dict(zip(adata.uns["gates"]["name"], adata.uns["gates"]["how"], strict=True))
    assert how["fixed"] == "CD3 ≥ 3000 (fixed)"
    assert 900 <= float(how["between"].split()[2]) <= 1000


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_an_ellipse_holds_its_share_of_one_cloud_whatever_stands_beside_it(share):
    rng = np.random.default_rng(5)
    cloud = rng.multivariate_normal([50_000, 20_000], [[6e7, 2e7], [2e7, 2e7]], 6000)
    other = rng.multivariate_normal([120_000, 80_000], [[4e7, 0], [0, 4e7]], 3000)
    far = rng.uniform(0, 250_000, (200, 2))
    adata = events(size=9200)
    adata.X[:, :2] = np.vstack([cloud, other, far])
    gate(adata, rules=[GateRule(name="big", channels=("FSC-A", "SSC-A"), method="ellipse", share=share)])
    inside = adata.obsm["gates"][:, 0]
    assert inside[:6000].mean() == pytest.approx(share, abs=0.02)
    assert inside[6000:9000].mean() < 0.005
    near = GateRule(name="s", channels=("FSC-A", "SSC-A"), method="ellipse", share=share, near=(110_000.0, 90_000.0))
    gate(adata, rules=[near])
    inside = adata.obsm["gates"][:, 0]
    assert inside[6000:9000].mean() == pytest.approx(share, abs=0.03)
    assert inside[:6000].mean() < 0.005


def test_one_hill_has_no_valley_and_what_hangs_on_it_has_no_place():
    adata = events()
    adata.X[:, 2] = np.random.default_rng(3).normal(0, 100, adata.n_obs)
    gate(adata, rules=TREE)
    assert list(adata.uns["gates"]["name"]) == ["Cells"]
    told = [note.text for note in get_notes(adata) if note.code == "gates.cannot_tell"]
    assert told[0] == "T: the density of CD3 has no clear valley; it was not placed"
    assert [text.split(":")[0] for text in told] == ["T", "CD4 T", "CD8 T"]


def test_too_few_events_or_constant_channels_place_nothing():
    for adata in (events(size=60), events()):
        adata.X[:, 3] = 7
        rules = [GateRule(name=method, channels="CD4", method=method) for method in ("valley", "mindensity")]
        gate(adata, rules=[*rules, GateRule(name="e", channels=("CD4", "CD8"), method="ellipse")])
        assert adata.obsm["gates"].shape == (adata.n_obs, 0)
        assert len(get_notes(adata)) == 3


def test_every_channel_that_is_not_there_is_named():
    rules = [GateRule(name=name, channels=name, method="valley") for name in ("CD3", "CD44", "CD88")]
    with pytest.raises(StudyError) as caught:
        gate(events(), rules=rules)
    assert [p.what.split("'")[1] for p in caught.value.problems] == ["CD44", "CD88"]


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason="the real data sets are not there")
def test_manual_lymphocytes_of_a_mouse_spleen():
    """Populations by a template against those a person gated in the same file, F1 of the events."""
    folder = DATA / "flowsom_68983"
    adata = read_fcs(folder / "68983.fcs")
    compensate(adata)
    rules = [
        GateRule(name="B", channels=("CD3", "CD19"), method="valley", side=("below", "above")),
        GateRule(name="ab T", channels=("TCRb", "TCRyd"), method="valley", side=("above", "below")),
        GateRule(name="CD4 T", parent="ab T", channels=("CD4", "CD8"), method="valley", side=("above", "below")),
        GateRule(name="CD8 T", parent="ab T", channels=("CD4", "CD8"), method="valley", side=("below", "above")),
    ]
    gate(adata, rules=rules)
    labels = pd.read_csv(folder / "gatingResult.csv.gz", header=None)[0].str.strip('"').to_numpy()
    scores = {name: f1(adata, name, labels == f"{name} cells") for name in ("B", "CD4 T", "CD8 T")}
    assert min(scores.values()) > 0.9, scores


def test_an_event_at_a_fixed_value_is_above_and_not_below_it() -> None:
    adata = events(size=300)
    adata.X[:3, 2] = [999, 1000, 1001]
    sides = [
        GateRule(name=side, channels="CD3", method="fixed", value=1000.0, side=side) for side in ("above", "below")
    ]
    gate(adata, rules=sides)
    np.testing.assert_array_equal(adata.obsm["gates"][:3], [[False, True], [True, False], [True, False]])

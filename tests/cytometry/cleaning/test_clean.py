from __future__ import annotations

import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from cellprec.cytometry.cleaning.clean import clean
from cellprec.cytometry.cleaning.ions import find_odd_clouds
from cellprec.io.fcs import read_fcs
from cellprec.notes import get_notes

TOP = 262144.0
DATA = Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[4] / "shared" / "data"))


def flow(n: int = 2000, *, doublets: int = 0, sample: str = "s", seed: int = 0) -> anndata.AnnData:
    """Singlets of one area per height, then doublets of twice the area at the same height."""
    rng = np.random.default_rng(seed)
    height = rng.normal(60_000, 8_000, n + doublets)
    area = height * rng.normal(1.1, 0.02, n + doublets)
    area[n:] *= rng.uniform(1.5, 2.0, doublets)
    values = np.column_stack([area, height, rng.normal(3e4, 2e3, n + doublets), rng.gamma(1, 2000, n + doublets)])
    names = ["FSC-A", "FSC-H", "SSC-A", "CD3"]
    var = pd.DataFrame({"channel": names, "kind": ["scatter"] * 3 + ["fluorescence"], "range": TOP}, index=names)
    obs = pd.DataFrame({"sample_id": sample}, index=[f"{sample}:{i}" for i in range(n + doublets)])
    return anndata.AnnData(values.astype("float32"), obs=obs, var=var)


def mass(singlets: int, doublets: int, debris: int) -> anndata.AnnData:
    rng = np.random.default_rng(1)
    dna = np.r_[rng.normal(500, 60, singlets), rng.normal(1100, 90, doublets), rng.gamma(1, 4, debris)].clip(0)
    values = np.column_stack([dna, dna * 1.8, rng.gamma(1, 30, len(dna))])
    var = pd.DataFrame(
        {
            "channel": ["Ir191Di", "Ir193Di", "Nd145Di"],
            "marker": ["191Ir_DNA1", "193Ir_DNA2", "145Nd_CD4"],
            "kind": "mass",
        },
        index=["191Ir_DNA1", "193Ir_DNA2", "145Nd_CD4"],
    ).assign(range=1e6)
    return anndata.AnnData(values.astype("float32"), var=var, obs=pd.DataFrame(index=[str(i) for i in range(len(dna))]))


def put(adata: anndata.AnnData, row: int, channel: str, value: float) -> None:
    adata.X[row, adata.var_names.get_loc(channel)] = value


def notes(adata: anndata.AnnData) -> dict[str, int | None]:
    return {note.code: note.count for note in get_notes(adata)}


def test_planted_doublets_are_found_and_singlets_stay() -> None:
    adata = flow(doublets=200)
    clean(adata)
    reason = adata.obs["drop_reason"].to_numpy()
    assert np.mean(reason[2000:] == "doublet") > 0.98
    assert np.mean(reason[:2000] == "") > 0.99
    assert adata.n_obs == 2200
    assert notes(adata)["events.doublet"] == (reason == "doublet").sum()
    assert (adata.obs["keep"].to_numpy() == (reason == "")).all()


def test_width_serves_where_there_is_no_height() -> None:
    adata = flow(doublets=200)
    adata.X[:, 1] = np.asarray(adata.X[:, 0]) / np.asarray(adata.X[:, 1]) * 50_000
    adata.var_names = ["FSC-A", "FSC-W", "SSC-A", "CD3"]
    adata.var["channel"] = list(adata.var_names)
    clean(adata, margins=False)
    assert np.mean(adata.obs["drop_reason"][2000:] == "doublet") > 0.98


@pytest.mark.parametrize(
    ("value", "expected"), [(TOP, "margin"), (TOP - 1, "margin"), (TOP + 50, "margin"), (TOP - 9, "")]
)
@pytest.mark.parametrize("channel", ["CD3", "SSC-A"])
def test_the_edge_of_a_detector_is_range_minus_one(value: float, expected: str, channel: str) -> None:
    adata = flow()
    put(adata, 5, channel, value)
    clean(adata, doublets=False)
    assert adata.obs["drop_reason"].iloc[5] == expected
    assert (adata.obs["drop_reason"] != "").sum() == (expected != "")


def test_ten_bit_data_saturate_at_1023() -> None:
    adata = flow()
    adata.var["range"] = 1024.0
    adata.X = (np.asarray(adata.X) / 400).clip(0, 1000).round()
    put(adata, 0, "CD3", 1023)
    put(adata, 1, "CD3", 1022)
    clean(adata, doublets=False)
    assert adata.obs["drop_reason"].iloc[:2].tolist() == ["margin", ""]


def test_no_scatter_is_the_floor_but_negative_fluorescence_is_fine() -> None:
    adata = flow()
    put(adata, 0, "SSC-A", 0)
    put(adata, 1, "FSC-A", -20)
    put(adata, 2, "CD3", -200)
    clean(adata, doublets=False, acquisition=False, dead=False)
    assert adata.obs["drop_reason"].iloc[:3].tolist() == ["floor", "floor", ""]
    assert notes(adata) == {"events.floor": 2}


def test_compensated_values_do_not_hide_the_edge() -> None:
    adata = flow()
    adata.layers["raw"] = adata.X.copy()
    adata.layers["raw"][7, 3] = TOP
    clean(adata)
    assert adata.obs["drop_reason"].iloc[7] == "margin"


def test_every_check_can_be_left_out() -> None:
    adata = flow(doublets=100)
    put(adata, 0, "CD3", TOP)
    clean(adata, margins=False, doublets=False, acquisition=False, dead=False)
    assert adata.obs["keep"].all()
    assert notes(adata) == {}


def test_samples_are_judged_apart() -> None:
    first, second = flow(doublets=100, sample="a"), flow(doublets=100, sample="b", seed=3)
    second.X[:, 1] /= 3
    both = anndata.concat([first, second], merge="same")
    clean(both)
    clean(first)
    clean(second)
    apart = pd.concat([first.obs["drop_reason"], second.obs["drop_reason"]]).astype(str)
    assert (both.obs["drop_reason"].astype(str) == apart).all()
    assert {note.sample for note in get_notes(both)} == {"a", "b"}


def test_mass_doublets_and_debris_by_dna() -> None:
    adata = mass(3000, 200, 600)
    clean(adata)
    reason = adata.obs["drop_reason"].to_numpy()
    assert np.mean(reason[:3000] == "") > 0.97
    assert np.mean(reason[3000:3200] == "doublet") > 0.95
    assert np.mean(reason[3200:] == "debris") > 0.99


def test_where_nothing_can_be_checked_a_note_says_so() -> None:
    adata = mass(500, 0, 0)[:, ["145Nd_CD4"]].copy()
    del adata.var["range"]
    clean(adata)
    assert adata.obs["keep"].all()
    assert set(notes(adata)) == {
        "events.no_time",
        "events.no_range",
        "events.no_bead_check",
        "events.no_cloud_check",
        "events.no_doublet_check",
        "events.no_dead_check",
    }


def test_a_sample_that_loses_more_than_half_is_named() -> None:
    adata = flow()
    adata.X[:1100, 2] = -1
    clean(adata, doublets=False, acquisition=False, dead=False)
    assert notes(adata) == {"events.floor": 1100, "events.heavy_loss": 1100}


def test_a_wrong_range_does_not_throw_the_sample_away() -> None:
    adata = flow()
    adata.var["range"] = [TOP, TOP, 1024.0, TOP]
    clean(adata)
    assert adata.obs["keep"].mean() > 0.99
    assert "events.range_wrong" in notes(adata)


def test_few_or_no_events_and_constant_channels_do_not_fail() -> None:
    for n in (0, 3):
        adata = flow(n)
        clean(adata)
        assert adata.obs["keep"].shape == (n,)
    adata = flow(100)
    adata.X[:, 1] = np.asarray(adata.X[:, 0])
    clean(adata)
    assert adata.obs["keep"].all()


@pytest.mark.real
@pytest.mark.skipif(not (DATA / "cytometry" / "flowsom_68983").exists(), reason="the real data are not here")
def test_a_real_spleen_sample_keeps_most_of_its_events() -> None:
    adata = read_fcs(DATA / "cytometry" / "flowsom_68983" / "68983.fcs", sample_id="spleen")
    clean(adata)
    assert 0.8 < adata.obs["keep"].mean() < 1


def test_every_reason_of_an_event_is_kept() -> None:
    adata = flow(doublets=200)
    put(adata, 2100, "CD3", TOP)
    put(adata, 2101, "SSC-A", 0)
    clean(adata)
    reasons = pd.DataFrame(adata.obsm["drop_reasons"], columns=list(adata.uns["drop_reasons"]))
    assert adata.obs["drop_reason"].iloc[[2100, 2101]].tolist() == ["margin", "floor"]
    assert reasons.loc[[2100, 2101], "doublet"].all()
    assert (reasons.any(axis=1).to_numpy() == ~adata.obs["keep"].to_numpy()).all()


def test_the_result_can_be_written_and_read(tmp_path: Path) -> None:
    adata = flow(doublets=50)
    adata.obs.index = adata.obs.index.astype(str)
    clean(adata)
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert (back.obsm["drop_reasons"] == adata.obsm["drop_reasons"]).all()
    assert list(back.uns["drop_reasons"]) == list(adata.uns["drop_reasons"])
    assert list(back.uns["acquisition"].columns) == list(adata.uns["acquisition"].columns)


def blood(*, small: int, stained: bool, ratio: float) -> anndata.AnnData:
    """Large cells, and small ones that scatter less by ``ratio``, stained for CD3 or not."""
    rng = np.random.default_rng(4)
    n = 4000
    is_small = np.arange(n) < small
    forward = rng.lognormal(11, 0.2, n) * np.where(is_small, ratio, 1)
    side = rng.lognormal(10, 0.3, n) * np.where(is_small, ratio, 1)
    cd3 = rng.lognormal(5, 0.4, n) * np.where(is_small & stained, 50, 1)
    cd4 = rng.lognormal(5, 0.4, n) * np.where(~is_small & (np.arange(n) % 2 == 0), 50, 1)
    names = ["FSC-A", "SSC-A", "CD3", "CD4"]
    var = pd.DataFrame({"channel": ["FSC-A", "SSC-A", "B1-A", "B2-A"], "marker": ["", "", "CD3", "CD4"]}, index=names)
    var["kind"] = ["scatter"] * 2 + ["fluorescence"] * 2
    return anndata.AnnData(np.column_stack([forward, side, cd3, cd4]).astype("float32"), var=var)


@pytest.mark.parametrize(
    ("stained", "ratio", "dropped"), [(False, 0.1, True), (True, 0.1, False), (False, 0.4, False), (True, 0.4, False)]
)
def test_debris_goes_but_no_small_cells(stained: bool, ratio: float, dropped: bool) -> None:
    adata = blood(small=800, stained=stained, ratio=ratio)
    clean(adata)
    reason = adata.obs["drop_reason"].to_numpy()
    assert np.mean(reason[:800] == "debris") == (pytest.approx(1, abs=0.02) if dropped else 0)
    assert np.mean(reason[800:] == "debris") < 0.01
    assert ("events.no_debris_check" in notes(adata)) != dropped


def test_ratios_of_several_kinds_of_pulse_are_not_believed() -> None:
    adata = flow()
    adata.X[:700, 0] *= 2
    clean(adata)
    assert (adata.obs["drop_reason"] != "doublet").all()
    assert "events.no_doublet_check" in notes(adata)


def helios(n: int = 3000, *, beads: int = 0, odd: int = 0) -> anndata.AnnData:
    """Cells, then beads of four elements, then cells whose ion cloud came out wrong."""
    rng = np.random.default_rng(6)
    total = n + beads + odd
    is_bead = (np.arange(total) >= n) & (np.arange(total) < n + beads)
    metals = ["Ce140Di", "Eu151Di", "Eu153Di", "Ho165Di", "Lu175Di"]
    values = {m: np.where(is_bead, rng.normal(900, 60, total), rng.gamma(1, 15, total)) for m in metals}
    values |= {m: np.where(is_bead, rng.gamma(1, 3, total), rng.normal(400, 40, total)) for m in ("Ir191Di", "Ir193Di")}
    values["Event_length"] = rng.normal(25, 3, total).round()
    values["Residual"] = rng.lognormal(4, 0.4, total)
    values["Offset"] = np.zeros(total)
    values["Residual"][n + beads :] *= 50
    values["Event_length"][n + beads :] = 90
    kinds = ["mass"] * 7 + ["other"] * 3
    var = pd.DataFrame({"channel": list(values), "kind": kinds}, index=list(values))
    return anndata.AnnData(np.column_stack(list(values.values())).astype("float32"), var=var)


def test_beads_and_odd_clouds_of_a_mass_cytometer() -> None:
    adata = helios(beads=150, odd=100)
    clean(adata)
    reason = adata.obs["drop_reason"].to_numpy()
    assert np.mean(reason[3000:3150] == "bead") >= 0.98
    assert np.mean(reason[3150:] == "cloud") == 1
    assert np.mean(reason[:3000] == "") >= 0.98


def test_a_bead_is_no_debris_though_it_holds_no_dna() -> None:
    adata = helios(beads=150)
    adata.X[:300, 5:7] = np.random.default_rng(0).gamma(1, 3, (300, 2))
    clean(adata)
    found = pd.DataFrame(adata.obsm["drop_reasons"], columns=adata.uns["drop_reasons"])
    assert found["debris"][:300].mean() >= 0.98
    beads = found["bead"].to_numpy()
    assert beads[3000:].mean() >= 0.98
    assert not found["debris"][beads].any()


def test_clouds_may_be_too_short_as_well_as_too_long() -> None:
    adata = helios()
    adata.X[:2, 7] = [2, 60]
    odd, judged = find_odd_clouds(adata, values=adata.X, usable=np.ones(adata.n_obs, dtype=bool))
    assert "Event_length" in judged
    assert odd[:2].all()


def test_small_particles_that_scatter_more_to_the_side_are_not_called_debris() -> None:
    adata = blood(small=800, stained=False, ratio=0.1)
    adata.X[:800, 1] *= 40
    clean(adata)
    assert (adata.obs["drop_reason"] != "debris").all()
    assert "events.no_debris_check" in notes(adata)


def test_an_already_clean_mass_file_stays() -> None:
    adata = helios()
    clean(adata)
    assert adata.obs["keep"].mean() >= 0.98


@pytest.mark.real
@pytest.mark.skipif(not (DATA / "cytometry" / "cytonorm_ptlg").exists(), reason="the real data are not here")
def test_gated_mass_files_stay() -> None:
    for path in sorted((DATA / "cytometry" / "cytonorm_ptlg" / "input").glob("*.fcs")):
        adata = read_fcs(path)
        clean(adata)
        assert adata.obs["keep"].mean() >= 0.97, path.name

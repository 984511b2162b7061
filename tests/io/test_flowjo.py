"""Events with results, written for FlowJo, as three readers see them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import flowio
import flowkit
import numpy as np
import pandas as pd
import pytest

from cellprec.errors import InputError, UsageError
from cellprec.io.export import write_fcs
from cellprec.io.fcs import read_fcs, read_fcs_header
from cellprec.io.flowjo import export_fcs, flowjo_files

DATA = Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[3] / "shared" / "data")) / "cytometry"
KEYWORDS = {"$CYT": "Aria", "$FIL": "P01.fcs", "TUBE NAME": "a/b", "$OP": "µ|\f", "$P2V": "512", "$P3L": "488"}


@pytest.fixture
def events(tmp_path):
    rng = np.random.default_rng(0)
    names = ["FSC-A", "PE-A", "Time"]
    labels = {f"$P{n}N": name for n, name in enumerate(names, start=1)}
    spillover = np.eye(3)
    spillover[1, 0] = 0.25
    values = rng.normal(100, 50, (20, 3)).astype(np.float32)
    path = write_fcs(
        tmp_path / "P01.fcs",
        values,
        channels=names,
        markers=["", "CAR", ""],
        spillover=spillover,
        keywords=KEYWORDS | labels,
    )
    adata = read_fcs(path)
    adata.obs["population"] = pd.Categorical(["CD4 T"] * 8 + ["NK"] * 9 + [None] * 3, categories=["CD4 T", "B", "NK"])
    adata.obs["score"] = np.linspace(-1, 1, 20)
    adata.obsm["X_umap"] = rng.normal(size=(20, 2)).astype(np.float32)
    return adata


def test_three_readers_see_the_same(events, tmp_path):
    path = export_fcs(events, path=tmp_path / "out.fcs", columns=["population", "score"], maps=["X_umap"])
    added = [events.obs["population"].cat.codes + 1, events.obs["score"], *events.obsm["X_umap"].T]
    expected = np.column_stack([events.X, *added]).astype(np.float32)
    names = ["FSC-A", "PE-A", "Time", "cellprec_population", "cellprec_score", "cellprec_umap_1", "cellprec_umap_2"]
    ours, other = read_fcs(path), flowio.FlowData(str(path))
    third = flowkit.Sample(str(path))
    for values in (ours.X, other.as_array(preprocess=True), third.get_events(source="raw")):
        np.testing.assert_array_equal(values, expected)
    assert list(ours.var["channel"]) == other.pnn_labels == third.pnn_labels == names
    assert list(ours.var["marker"])[:3] == other.pns_labels[:3] == ["", "CAR", ""]
    np.testing.assert_array_equal(ours.varp["spillover"][:3, :3], events.varp["spillover"])
    assert ours.varp["spillover"][3:].tolist() == np.eye(7)[3:].tolist()


def test_every_keyword_comes_back_and_says_what_the_numbers_mean(events, tmp_path):
    path = export_fcs(events, path=tmp_path / "out.fcs", columns=["population"])
    stored = read_fcs_header(path).keywords
    assert {key: stored[key] for key in KEYWORDS} == KEYWORDS
    assert [stored[f"cellprec_population {n}"] for n in (1, 2, 3)] == ["CD4 T", "B", "NK"]
    # written once more, nothing is lost and nothing moves
    again = export_fcs(read_fcs(path), path=tmp_path / "again.fcs")
    assert read_fcs_header(again).keywords == stored
    assert again.read_bytes() == path.read_bytes()


def test_the_voltage_follows_its_channel(events, tmp_path):
    path = export_fcs(events[:, ["Time", "CAR"]].copy(), path=tmp_path / "out.fcs")
    stored = read_fcs_header(path).keywords
    assert (stored["$P1N"], stored["$P1L"], stored["$P2N"], stored["$P2V"]) == ("Time", "488", "PE-A", "512")
    assert not {"$P2L", "$P1V", "$P3L"} & set(stored)


def test_raw_values_are_written_where_x_is_transformed(events, tmp_path):
    events.var["transform"] = "logicle"
    with pytest.raises(UsageError, match="linear"):
        export_fcs(events, path=tmp_path / "out.fcs")
    events.layers["raw"] = events.X.copy()
    events.X = events.X / 1000
    np.testing.assert_array_equal(read_fcs(export_fcs(events, path=tmp_path / "out.fcs")).X, events.layers["raw"])


def test_what_is_not_there_is_named_and_nothing_is_written(events, tmp_path):
    with pytest.raises(InputError, match=r"no obs\['cluster'\] and no obsm\['X_tsne'\]"):
        export_fcs(events, path=tmp_path / "out.fcs", columns=["population", "cluster"], maps=["X_tsne"])
    assert not (tmp_path / "out.fcs").exists()


def test_results_of_some_events_keep_the_order_of_all(events, tmp_path):
    joint = events[[17, 3, 9]].copy()
    joint.obs_names = events.obs_names[[17, 3, 9]]
    joint.obs["sample_id"] = "P01"
    joint.obs["population"] = pd.Categorical(["NK", "CD4 T", "NK"])
    joint.obs["cluster"] = pd.Categorical(["1", "2", "1"])
    for name, write in flowjo_files(events, joint, sample_id="P01").items():
        write(tmp_path / Path(name).name)
    back = read_fcs(tmp_path / "P01.fcs").to_df()
    np.testing.assert_array_equal(back.to_numpy()[:, :3], events.X)
    assert back["cellprec_population"].to_numpy().nonzero()[0].tolist() == [3, 9, 17]
    assert back["cellprec_population"].iloc[[3, 9, 17]].tolist() == [1, 2, 2]
    assert back["cellprec_umap_1"].iloc[0] == -100
    np.testing.assert_array_equal(back["cellprec_umap_2"].iloc[[17, 3, 9]], joint.obsm["X_umap"][:, 1])
    words = pd.read_csv(tmp_path / "P01.csv", keep_default_na=False)
    assert words["population"].iloc[[0, 3, 9, 17]].tolist() == ["", "CD4 T", "NK", "NK"]
    assert json.loads(events.uns["fcs"]["keywords"])["$CYT"] == "Aria"


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason="the real data sets are not there")
@pytest.mark.parametrize(
    "file",
    [
        "instruments/fcsparser_LSRII_Fortessa_Diva.fcs",
        "instruments/fcsparser_MACSQuant_duplicate_names.fcs",
        "instruments/fcsparser_Navios_bitmask.lmd",
        "flowkit_wsp/test_comp_example.fcs",
        "aurora_5l/CellCounts5L_AB_01-ND050-01.fcs",
        "catalyst/bcr_xl/PBMC_patient1_Ref.fcs",
    ],
)
def test_files_of_instruments_survive(tmp_path, file):
    events = read_fcs(DATA / file)
    path = export_fcs(events, path=tmp_path / "out.fcs")
    back = read_fcs(path)
    np.testing.assert_array_equal(back.X, events.X)
    np.testing.assert_array_equal(flowio.FlowData(str(path)).as_array(preprocess=True), events.X)
    np.testing.assert_array_equal(flowkit.Sample(str(path)).get_events(source="raw"), events.X)
    assert list(back.var["marker"]) == list(events.var["marker"])
    assert ("spillover" in back.varp) == ("spillover" in events.varp)
    if "spillover" in events.varp:
        np.testing.assert_array_equal(back.varp["spillover"], events.varp["spillover"])
    again = export_fcs(back, path=tmp_path / "again.fcs")
    assert again.read_bytes() == path.read_bytes()

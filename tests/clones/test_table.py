"""Joining clone counts, flagging shallow libraries, summing PCR replicates."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st

from cellprec.clones.table import collapse, table
from cellprec.errors import InputError, JoinError
from cellprec.notes import get_notes


def one(counts: dict[str, float], unit: str = "reads") -> AnnData:
    var = pd.DataFrame(index=list(counts))
    return AnnData(np.array([list(counts.values())], dtype=np.float32), var=var, uns={"cellprec": {"unit": unit}})


def sheet(names: list[str], **columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"sample_id": names, **columns})


def test_counts_land_on_their_own_clone_and_sample():
    joined = table({"a": one({"y": 5, "x": 7}), "b": one({"z": 11, "x": 13})}, sheet=sheet(["b", "a"]), min_total=0)
    assert joined.to_df().to_dict("index") == {"a": {"x": 7, "y": 5, "z": 0}, "b": {"x": 13, "y": 0, "z": 11}}
    assert joined.layers["frequency"].sum(axis=1) == pytest.approx([1, 1])


def test_rare_clones_are_dropped_with_a_note_that_counts_them():
    joined = table({"a": one({"x": 100, "y": 4, "z": 5}), "b": one({"y": 5, "z": 5})}, sheet=sheet(["a", "b"]))
    assert list(joined.var_names) == ["x", "z"]
    assert next((note.code, note.count) for note in get_notes(joined)) == ("clones.rare", 1)


def test_a_shallow_library_is_flagged_and_kept():
    samples = {f"s{i}": one({"x": 1000 + 10 * i, "y": 900}) for i in range(5)} | {"bad": one({"x": 9, "y": 3})}
    joined = table(samples, sheet=sheet(list(samples)))
    assert joined.obs.index[joined.obs["low_depth"]].tolist() == ["bad"]
    assert ("clones.low_depth", "bad") in [(note.code, note.sample) for note in get_notes(joined)]


@pytest.mark.parametrize(
    ("samples", "error"),
    [
        ({"stranger": one({"x": 20})}, JoinError),
        ({"a": one({"x": 20}), "b": one({"x": 20}, "cells")}, InputError),
        ({"a": one({"x": -1})}, InputError),
        ({"a": one({"x": float("nan")})}, InputError),
        ({}, InputError),
    ],
)
def test_what_cannot_be_joined_is_refused(samples, error):
    with pytest.raises(error):
        table(samples, sheet=sheet(["a", "b"]))


def test_the_table_survives_h5ad(tmp_path):
    joined = table({"a": one({"x": 20, "y": 30})}, sheet=sheet(["a"], arm=["drug"], extra=["1"]))
    joined = collapse(joined)
    joined.write_h5ad(tmp_path / "clones.h5ad")
    again = anndata.read_h5ad(tmp_path / "clones.h5ad")
    assert again.to_df().equals(joined.to_df())
    assert again.obs["arm"].dtype == "category"


def pcr_design() -> tuple[dict[str, AnnData], pd.DataFrame]:
    rng = np.random.default_rng(0)
    share = rng.lognormal(0, 1, 200)
    names, columns = [], {"arm": [], "replicate": [], "pcr_replicate": []}
    samples = {}
    for arm in ("drug", "vehicle"):
        for replicate in "12":
            for pcr in "ab":
                name = f"{arm}{replicate}{pcr}"
                # one PCR of drug 2 went wrong: its clones are shuffled
                means = rng.permutation(share) if name == "drug2b" else share
                samples[name] = one(dict(zip(map(str, range(200)), rng.poisson(50 * means), strict=True)))
                names.append(name)
                for column, value in zip(columns, (arm, replicate, pcr), strict=True):
                    columns[column].append(value)
    return samples, sheet(names, **columns)


def test_pcr_replicates_are_summed_and_a_bad_one_is_noted():
    samples, rows = pcr_design()
    both = collapse(table(samples, sheet=rows, min_total=0))
    assert both.n_obs == 4
    assert both.obs["n_pcr"].tolist() == [2, 2, 2, 2]
    total = samples["drug1a"].to_df().iloc[0] + samples["drug1b"].to_df().iloc[0]
    assert both["drug_1"].to_df().iloc[0].to_dict() == total.to_dict()
    assert [note.sample for note in get_notes(both) if note.code == "clones.pcr"] == ["drug_2"]
    assert both.obs["pcr_r"].drop("drug_2").min() > 0.9


def test_libraries_that_cannot_be_told_apart_are_refused_with_the_column_that_differs():
    rows = sheet(["a", "b"], arm=["x", "x"], replicate=["1", "1"], pcr_replicate=["1", "1"], dose=["lo", "hi"])
    joined = table({"a": one({"c": 20}), "b": one({"c": 20})}, sheet=rows)
    with pytest.raises(InputError, match="dose"):
        collapse(joined)
    assert collapse(joined, by=["dose"]).n_obs == 2


def test_without_a_replicate_number_the_pcr_replicates_of_an_arm_are_one_culture():
    names = ["a1", "a2", "b1", "b2"]
    samples = {name: one({"x": 100 + i, "y": 30, "z": 20 * (i + 1)}) for i, name in enumerate(names)}
    rows = sheet(names, arm=["A", "A", "B", "B"], timepoint=["d1"] * 4, pcr_replicate=["1", "2", "1", "2"])
    both = collapse(table(samples, sheet=rows, min_total=0))
    assert both.to_df()["x"].to_dict() == {"A_d1": 201, "B_d1": 205}
    assert both.obs["libraries"].tolist() == ["a1;a2", "b1;b2"]
    twins = rows.assign(pcr_replicate=["1", "1", "", ""])
    with pytest.raises(InputError, match="Number them in replicate or pcr_replicate"):
        collapse(table(samples, sheet=twins, min_total=0))


@pytest.mark.parametrize("pcr", [["1", "2", "1", "2"], ["", "", "1", "2"]])
def test_libraries_without_any_design_are_never_summed(pcr):
    names = ["plasmid", "test", "b1", "b2"]
    samples = {name: one({"x": 100 + i, "y": 30}) for i, name in enumerate(names)}
    rows = sheet(names, arm=["", "", "B", "B"], replicate=["", "", "1", "1"], pcr_replicate=pcr)
    summed = collapse(table(samples, sheet=rows, min_total=0)).to_df()["x"].to_dict()
    assert summed == {"plasmid": 100, "test": 101, "B_1": 205}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("12"), st.sampled_from("ab")), min_size=1, max_size=4, unique=True))
def test_summing_keeps_every_read(design):
    names = [f"s{i}" for i in range(len(design))]
    samples = {name: one({"x": 10 + i, "y": 3 * i}) for i, name in enumerate(names)}
    rows = sheet(names, replicate=[r for r, _ in design], pcr_replicate=[p for _, p in design])
    joined = table(samples, sheet=rows, min_total=0)
    assert np.asarray(collapse(joined).X).sum() == np.asarray(joined.X).sum()

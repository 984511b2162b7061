"""What the clone plots show, read back from the artists."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from cellprec.errors import UsageError
from cellprec.pl.clones import enrichment_map, rank_abundance, replicate_overlap, short_names, trajectories


def counts(n_clones: int, seed: int = 0) -> AnnData:
    rng = np.random.default_rng(seed)
    obs = pd.DataFrame({"timepoint": ["d0", "d2", "d10", "d10"], "arm": list("AABB")}, index=list("abcd"))
    var = pd.DataFrame(index=[f"barcode_of_some_length_{i:05d}" for i in range(n_clones)])
    return AnnData(rng.poisson(rng.lognormal(1, 2, (4, n_clones))).astype(np.float32), obs=obs, var=var)


@pytest.mark.parametrize("n_clones", [3, 10_000])
def test_bands_stack_to_one_in_the_order_given(n_clones):
    ax = trajectories(counts(n_clones), order=["d0", "d2", "d10"], top=12)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["d0", "d2", "d10"]
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(names) == min(n_clones, 12) + 1
    assert names[-1] == f"{max(n_clones - 12, 0):,} others"
    assert max(len(name) for name in names) <= 18
    top = np.max([path.vertices[:, 1].max() for band in ax.collections for path in band.get_paths()])
    assert top == pytest.approx(1)
    ax.figure.canvas.draw()


def test_replicates_are_averaged_and_chosen_clones_drawn():
    adata = counts(5)
    share = np.asarray(adata.X) / np.asarray(adata.X).sum(axis=1, keepdims=True)
    clone = adata.var_names[2]
    ax = trajectories(adata, clones=[clone], kind="lines", order=["d0", "d2", "d10"])
    line = next(line for line in ax.lines if not line.get_label().startswith("_"))
    assert line.get_ydata()[2] == pytest.approx(share[2:, 2].mean())


def test_one_timepoint_is_a_bar_and_an_unknown_column_is_named():
    ax = trajectories(counts(4)[:1].copy())
    ax.figure.canvas.draw()
    assert len(ax.collections) == 5
    with pytest.raises(UsageError, match="week"):
        trajectories(counts(4), group="week")


def test_ranks_fall_and_each_arm_is_named_once():
    ax = rank_abundance(counts(500), color="arm")
    assert len(ax.lines) == 4
    assert all(np.all(np.diff(line.get_ydata()) <= 0) for line in ax.lines)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["A", "B"]


def test_the_control_stands_beside_every_pair():
    pairs = pd.DataFrame(
        {"arm": ["A", "v"], "timepoint": "d7", "top_overlap": [0.9, 0.7], "control_overlap": [0.7, 0.7]}
    )
    ax = replicate_overlap(pairs)
    control, drug = (np.asarray(mark.get_offsets())[:, 0].tolist() for mark in ax.collections[1:])
    assert (control, drug) == ([0.7, 0.7], [0.9, 0.7])
    replicate_overlap(pairs.assign(control_overlap=np.nan)).figure.canvas.draw()


def test_called_clones_come_first_and_infinite_folds_do_not_break_the_map():
    clones = [f"c{i}" for i in range(100)]
    first = pd.DataFrame({"clone": clones, "log2fc": np.linspace(-9, 9, 100), "call": "none"})
    first.loc[[0, 99], "call"] = ["depleted", "enriched"]
    second = first.assign(call="none", log2fc=np.inf)
    second.loc[99, "call"] = "enriched"
    ax = enrichment_map({"one": first, "two": second})
    assert [label.get_text() for label in ax.get_yticklabels()] == ["c99", "c0"]
    ax.figure.canvas.draw()
    nothing = enrichment_map({"one": first.assign(call="none")})
    assert nothing.texts[0].get_text() == "no clone was called"


def test_clonotypes_of_one_patient_and_one_segment_have_different_names():
    ends = [f"P23:TRA:TGTGCCAATACC;TRB:TGTGCCAGCAGT{middle}AATCAGCCTCAACATTTC" for middle in ("AAGGT", "CCTTA")]
    names = list(short_names([*ends, "x" * 30 + "a" + "y" * 30, "x" * 30 + "b" + "y" * 30]).values())
    assert len(set(names)) == 4
    assert all(name.startswith("P23 TRB ") for name in names[:2])
    assert max(map(len, names)) <= 18


def test_cells_are_not_called_a_library_and_long_groups_are_turned():
    adata = counts(5)
    adata.uns["cellprec"] = {"unit": "cells"}
    assert trajectories(adata).get_ylabel() == "share of cells"
    assert rank_abundance(counts(5)).get_ylabel() == "share of library"
    assert trajectories(adata).get_xticklabels()[0].get_rotation() == 0
    adata.obs["group"] = [f"a long name of a group {i}" for i in range(4)]
    assert trajectories(adata, group="group").get_xticklabels()[0].get_rotation() == 45

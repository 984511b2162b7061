"""Samples of one panel come together; the odd file stands aside and is named."""

from __future__ import annotations

from collections.abc import Sequence

import anndata
import numpy as np
import pandas as pd
import pytest

from cellprec.cytometry.embed import embed
from cellprec.cytometry.gated import name_by_gates
from cellprec.cytometry.join import join
from cellprec.errors import InputError, JoinError
from cellprec.notes import get_notes

PANEL = ["CD3", "CD4", "CD8", "CD19"]
FOREIGN = ["Red", "Blue", "Green"]


def sample(name: str, markers: Sequence[str] = PANEL, *, n: int = 20, keep: int | None = None) -> anndata.AnnData:
    """Events whose every value is the number of their row, so that what was taken can be told."""
    names = [*markers, "FSC-A", "Time"]
    kinds = ["fluorescence"] * len(markers) + ["scatter", "time"]
    obs = pd.DataFrame({"sample_id": name, "keep": np.arange(n) < (n if keep is None else keep)})
    obs.index = [f"{name}:{i}" for i in range(n)]
    var = pd.DataFrame({"kind": pd.Categorical(kinds)}, index=names)
    return anndata.AnnData(np.tile(np.arange(n, dtype="f4")[:, None], len(names)), obs=obs, var=var)


def joined(*samples: anndata.AnnData) -> anndata.AnnData:
    named = {adata.obs["sample_id"].iloc[0] if adata.n_obs else "empty": adata for adata in samples}
    return join(named, sheet=pd.DataFrame({"sample_id": list(named), "batch": "b1"}))


def test_a_smaller_panel_within_a_larger_one_is_what_both_have() -> None:
    cells = joined(sample("large", [*PANEL, *(f"m{i}" for i in range(6))]), sample("small"), sample("odd", FOREIGN))
    assert list(cells.var_names) == [*PANEL, "FSC-A", "Time"]
    assert list(noted(cells, "cytometry.set_aside")) == ["odd"]


def test_a_panel_between_two_does_not_decide_between_them() -> None:
    between = [*PANEL[:2], *FOREIGN[:2]]
    with pytest.raises(JoinError):
        joined(sample("a"), sample("b"), sample("h", between), sample("x", FOREIGN), sample("y", FOREIGN))


def gated(adata: anndata.AnnData) -> anndata.AnnData:
    adata.obsm["gates"] = np.arange(adata.n_obs)[:, None] < 5
    adata.uns["gates"] = {"name": ["T"], "path": ["T"], "parent": [""], "count": [5]}
    return adata


def noted(adata: anndata.AnnData, code: str) -> dict[str, str]:
    return {note.sample: note.text for note in get_notes(adata) if note.code == code}


@pytest.mark.parametrize("place", [0, 1, 3])
def test_one_foreign_file_costs_the_others_nothing(place: int) -> None:
    samples = [sample("a"), sample("b"), sample("c")]
    samples.insert(place, sample("odd", FOREIGN))
    cells = joined(*samples)
    assert list(cells.var_names) == [*PANEL, "FSC-A", "Time"]
    assert cells.obs["sample_id"].value_counts().to_dict() == {"a": 20, "b": 20, "c": 20}
    text = noted(cells, "cytometry.set_aside")
    assert list(text) == ["odd"]
    assert "0 of their 4 channels; its own are Blue, Green, Red" in text["odd"]
    assert not noted(cells, "cytometry.panel")


def test_half_of_the_panel_is_enough_and_less_is_not() -> None:
    cells = joined(sample("a"), sample("b"), sample("half", ["CD3", "CD19", "Red"]), sample("one", ["CD3", *FOREIGN]))
    assert set(noted(cells, "cytometry.set_aside")) == {"one"}
    assert set(cells.obs["sample_id"]) == {"a", "b", "half"}
    assert list(cells.var_names) == ["CD3", "CD19", "FSC-A", "Time"]
    assert noted(cells, "cytometry.panel")["half"].endswith("were left out: Red")


def test_panels_that_differ_a_little_everywhere_still_come_together() -> None:
    cells = joined(*(sample(name, [*PANEL, f"own_{name}"]) for name in "abc"))
    assert list(cells.var_names) == [*PANEL, "FSC-A", "Time"]
    assert cells.obs["sample_id"].nunique() == 3


@pytest.mark.parametrize("odd", [1, 2])
def test_without_a_majority_the_files_and_their_channels_are_told(odd: int) -> None:
    """One against one and two against two: which panel the study is about is not for us to say."""
    first = [sample(name) for name in "ab"[:odd]]
    second = [sample(name, FOREIGN) for name in "xy"[:odd]]
    with pytest.raises(JoinError, match="share a panel") as caught:
        joined(*first, *second)
    assert f"{', '.join('ab'[:odd])}: CD19, CD3, CD4, CD8" in caught.value.where
    assert f"{', '.join('xy'[:odd])}: Blue, Green, Red" in caught.value.where


def test_identical_files_are_told_once() -> None:
    with pytest.raises(JoinError) as caught:
        joined(*(sample(name, ["CD3"]) for name in "abcde"))
    assert caught.value.where == "a, b, c and 2 more: CD3"


def test_halves_that_share_nothing_with_each_other_are_told() -> None:
    with pytest.raises(JoinError) as caught:
        joined(sample("a"), sample("b"), sample("left", PANEL[:2]), sample("right", PANEL[2:]))
    assert "left: CD3, CD4" in caught.value.where
    assert "right: CD19, CD8" in caught.value.where


def test_a_sample_without_a_kept_event_is_told_and_has_no_say() -> None:
    cells = joined(sample("a"), sample("gone", FOREIGN, keep=0), sample("empty", FOREIGN, n=0))
    assert set(cells.obs["sample_id"]) == {"a"}
    assert list(noted(cells, "cytometry.empty")) == ["gone", "empty"]
    assert "none of its 20 events" in noted(cells, "cytometry.empty")["gone"]


def test_no_kept_event_in_any_sample_is_an_error_that_says_so() -> None:
    with pytest.raises(InputError, match="no cytometry sample has an event left") as caught:
        joined(sample("a", keep=0), sample("b", keep=0))
    assert "a (20 events in the file)" in caught.value.where


@pytest.mark.parametrize("kept", [1, 3, 4])
def test_a_handful_of_events_has_a_map_or_none(kept: int) -> None:
    cells = joined(sample("a", keep=kept))
    embed(cells)
    assert cells.obsm["X_umap"].shape == (kept, 2)


def test_a_sample_set_aside_is_not_asked_for_gates() -> None:
    samples = {"a": sample("a"), "b": sample("b"), "odd": sample("odd", FOREIGN)}
    for name in "ab":
        samples[name] = gated(samples[name])
    cells = join(samples, sheet=pd.DataFrame({"sample_id": list(samples)}))
    assert name_by_gates(cells, samples=samples)
    assert (cells.obs["population"] == "T").sum() == 10

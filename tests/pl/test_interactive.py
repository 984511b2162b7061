from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from cellprec.errors import UsageError
from cellprec.pl.interactive import clone_trajectories, embedding


def cells(n: int = 100) -> ad.AnnData:
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"population": ["B", "unassigned"] * (n // 2), "sample_id": [f"s{i}" for i in range(n)]})
    made = ad.AnnData(obs=obs.set_index(obs["sample_id"] + ":x"))
    made.obsm["X_umap"] = rng.normal(size=(n, 2))
    return made


def test_every_cell_stands_where_its_embedding_says() -> None:
    adata = cells()
    drawn = {trace.name: trace for trace in embedding(adata).data}
    own = (adata.obs["population"] == "B").to_numpy()
    np.testing.assert_allclose(drawn["B"].x, adata.obsm["X_umap"][own, 0].astype("float32"))
    np.testing.assert_allclose(drawn["B"].y, adata.obsm["X_umap"][own, 1].astype("float32"))
    assert drawn["B"].text[1] == "population: B<br>sample_id: s2"
    assert drawn["unassigned"].marker.color == "#BBBBBB"


def test_cells_that_were_not_embedded_are_left_out_and_counted() -> None:
    adata = cells()
    adata.obsm["X_umap"][:40] = np.nan
    figure = embedding(adata)
    assert sum(len(trace.x) for trace in figure.data) == 60
    assert figure.layout.title.text == "60 of 100 cells"


def test_a_subsample_is_fixed_by_the_seed_and_said() -> None:
    adata = cells()
    one, two, other = (embedding(adata, max_points=20, seed=seed) for seed in (1, 1, 2))
    assert one.to_json() == two.to_json() != other.to_json()
    assert sum(len(trace.x) for trace in one.data) == 20
    assert one.layout.title.text == "20 of 100 cells, chosen at random"


def test_never_more_points_than_a_browser_bears() -> None:
    figure = embedding(cells(20_100), max_points=10**9)
    assert sum(len(trace.x) for trace in figure.data) == 20_000


def test_names_are_not_markup() -> None:
    adata = cells()
    adata.obs["population"] = "<a href='https://example.org'>B</a>"
    assert embedding(adata).data[0].name.startswith("&lt;a href=")
    assert "<a" not in embedding(adata).data[0].text[0]


@pytest.mark.parametrize(("change", "said"), [("obsm", "X_umap"), ("obs", "population"), ("nan", "no cell")])
def test_what_is_missing_is_named(change: str, said: str) -> None:
    adata = cells()
    if change == "obsm":
        del adata.obsm["X_umap"]
    elif change == "obs":
        del adata.obs["population"]
    else:
        adata.obsm["X_umap"][:] = np.nan
    with pytest.raises(UsageError, match=said):
        embedding(adata)


def clones() -> ad.AnnData:
    obs = pd.DataFrame({"arm": ["drug", "vehicle", "drug", "drug"], "timepoint": ["d7", "d7", "d7", "d0"]})
    obs.index = obs.index.map("s{}".format)
    counts = np.array([[8, 2, 0], [1, 9, 0], [6, 4, 0], [0, 5, 5]], dtype="float32")
    return ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=["a", "b", "c"]))


def test_replicates_are_averaged_and_time_is_in_order() -> None:
    figure = clone_trajectories(clones(), order=("d0", "d7"))
    drawn = {trace.name: trace for trace in figure.data}
    assert drawn["a"].x == ("d0", "d7"), "the arm with several timepoints is followed"
    np.testing.assert_allclose(drawn["a"].y, [np.nan, 0.7], rtol=1e-6)
    np.testing.assert_allclose(drawn["c"].y, [0.5, np.nan])


def test_arms_at_one_timepoint_stand_side_by_side() -> None:
    figure = clone_trajectories(clones()[:3])
    drawn = {trace.name: trace for trace in figure.data}
    assert drawn["a"].x == ("drug d7", "vehicle d7")
    np.testing.assert_allclose(drawn["a"].y, [0.7, 0.1], rtol=1e-6)
    assert not figure.layout.updatemenus


def test_the_largest_anywhere_come_first() -> None:
    assert [trace.name for trace in clone_trajectories(clones()[:3], top=2).data] == ["b", "a"]
    assert [trace.name for trace in clone_trajectories(clones(), clones=["c"]).data] == ["c"]
    with pytest.raises(UsageError, match="zzz"):
        clone_trajectories(clones(), clones=["zzz"])


def test_patients_are_chosen_from_a_menu_and_never_averaged() -> None:
    obs = pd.DataFrame({"patient_id": ["P1", "P1", "P2", "P2"], "timepoint": ["d0", "d7"] * 2})
    obs.index = obs.index.map("s{}".format)
    counts = np.array([[2, 8, 0], [5, 5, 0], [0, 0, 7], [0, 0, 7]], dtype="float32")
    adata = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=["P1:x", "P1:y", "P2:z"]))
    figure = clone_trajectories(adata, order=("d0", "d7"))
    drawn = [(trace.name, np.round(trace.y, 3).tolist(), trace.visible) for trace in figure.data]
    assert drawn == [("P1:y", [0.8, 0.5], True), ("P1:x", [0.2, 0.5], True), ("P2:z", [1.0, 1.0], False)]
    (menu,) = figure.layout.updatemenus
    assert [(button.label, list(button.args[1])) for button in menu.buttons] == [
        ("P1", [True, True, False]),
        ("P2", [False, False, True]),
    ]

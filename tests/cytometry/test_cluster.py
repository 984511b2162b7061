from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from cellprec.cytometry.cluster import cluster
from cellprec.errors import InputError, UsageError
from cellprec.notes import get_notes

MARKERS = ["CD3", "CD4", "CD8", "CD19", "CD14", "CD56"]
TYPES = {
    "CD4 T": (4, 4, 0, 0, 0, 0),
    "CD8 T": (4, 0, 4, 0, 0, 0),
    "B": (0, 0, 0, 4, 0, 0),
    "monocytes": (0, 1.5, 0, 0, 4, 0),
    "NK": (0, 0, 1, 0, 0, 4),
    "rare": (4, 0, 0, 0, 0, 4),
}


def planted(sizes: dict[str, int], *, seed: int = 0, sample: str = "s", noise: float = 0.5) -> anndata.AnnData:
    rng = np.random.default_rng(seed)
    truth = np.repeat(list(sizes), list(sizes.values()))
    means = np.array([TYPES[name] for name in truth], dtype=float).reshape(-1, len(MARKERS))
    values = means + rng.normal(0, noise, means.shape)
    extra = rng.uniform(0, 50, (len(truth), 3))
    var = pd.DataFrame(
        {
            "channel": [*(f"Nd{140 + i}Di" for i in range(6)), "FSC-A", "Ir191Di", "Time"],
            "marker": [*MARKERS, "", "191Ir_DNA1", ""],
            "kind": ["mass"] * 6 + ["scatter", "mass", "time"],
        },
        index=[*MARKERS, "FSC-A", "191Ir_DNA1", "Time"],
    )
    obs = pd.DataFrame({"sample_id": sample, "truth": truth}, index=[f"{sample}:{i}" for i in range(len(truth))])
    adata = anndata.AnnData(np.hstack([values, extra]).astype("float32"), obs=obs, var=var)
    return adata[rng.permutation(len(truth))].copy()


COMMON = {"CD4 T": 4000, "CD8 T": 2500, "B": 1500, "monocytes": 1500, "NK": 450, "rare": 50}


def test_planted_populations_come_back_the_rare_half_percent_too() -> None:
    adata = planted(COMMON)
    cluster(adata, n_clusters=6)
    assert adjusted_rand_score(adata.obs["truth"], adata.obs["cluster"]) > 0.98
    rare = adata.obs.loc[adata.obs["truth"] == "rare", "cluster"]
    home = rare.mode()[0]
    assert (rare == home).mean() > 0.95
    assert (adata.obs.loc[adata.obs["cluster"] == home, "truth"] == "rare").mean() > 0.9


@pytest.mark.parametrize("seed", range(5))
def test_the_rare_population_is_found_whatever_the_seed_and_with_more_clusters_than_types(seed: int) -> None:
    adata = planted(COMMON, seed=seed)
    cluster(adata, n_clusters=20, seed=seed)
    purity = adata.obs.groupby("cluster", observed=True)["truth"].agg(lambda t: (t == "rare").mean())
    pure = purity.index[purity > 0.9]
    assert adata.obs.loc[adata.obs["truth"] == "rare", "cluster"].isin(pure).mean() > 0.9


def test_the_same_seed_gives_the_same_clusters_on_any_number_of_threads() -> None:
    first, second = planted(COMMON), planted(COMMON)
    with threadpool_limits(1):
        cluster(first, seed=3)
    with threadpool_limits(2):
        cluster(second, seed=3)
    assert (first.obs["cluster"] == second.obs["cluster"]).all()


def test_labels_are_categories_the_largest_first() -> None:
    adata = planted(COMMON)
    cluster(adata, n_clusters=7)
    categories = adata.obs["cluster"].cat.categories.tolist()
    assert categories == [str(i) for i in range(1, 8)]
    sizes = adata.obs["cluster"].value_counts().loc[categories].tolist()
    assert sizes == sorted(sizes, reverse=True)


def test_scatter_time_and_dna_do_not_decide() -> None:
    adata, other = planted(COMMON), planted(COMMON)
    other.X[:, 6:] = np.random.default_rng(9).normal(0, 1000, (other.n_obs, 3))
    cluster(adata)
    cluster(other)
    assert (adata.obs["cluster"].to_numpy() == other.obs["cluster"].to_numpy()).all()


def test_a_large_sample_does_not_drown_a_population_of_a_small_one() -> None:
    large = planted({"CD4 T": 30_000, "CD8 T": 10_000}, sample="large")
    small = planted({"CD4 T": 300, "rare": 60}, sample="small", seed=1)
    both = anndata.concat([large, small], merge="same")
    cluster(both, n_clusters=5)
    rare = both.obs.loc[both.obs["truth"] == "rare", "cluster"]
    home = rare.mode()[0]
    assert (rare == home).mean() > 0.9
    assert (both.obs.loc[both.obs["cluster"] == home, "truth"] == "rare").mean() > 0.9


def test_channels_can_be_chosen_by_marker_or_channel() -> None:
    adata = planted(COMMON)
    cluster(adata, n_clusters=2, channels=["CD3", "Nd140Di"])
    high = adata.obs["cluster"] == adata.obs.loc[adata.X[:, 0].argmax() == np.arange(adata.n_obs), "cluster"].iloc[0]
    assert adjusted_rand_score(high, adata.X[:, 0] > 2) > 0.95
    with pytest.raises(InputError, match="CD33") as caught:
        cluster(adata, channels=["CD33"])
    assert "CD3" in caught.value.fix


def test_dropped_events_do_not_shape_the_clusters_but_get_one() -> None:
    adata = planted(COMMON)
    adata.obs["keep"] = adata.obs["truth"] != "rare"
    cluster(adata, n_clusters=5)
    kept = adata.obs[adata.obs["keep"]]
    assert adjusted_rand_score(kept["truth"], kept["cluster"]) > 0.98
    assert adata.obs["cluster"].notna().all()


def test_fewer_distinct_events_than_clusters_are_noted() -> None:
    adata = planted({"CD4 T": 3, "B": 3}, noise=0)
    cluster(adata, n_clusters=20)
    assert adjusted_rand_score(adata.obs["truth"], adata.obs["cluster"]) == 1
    assert [note.code for note in get_notes(adata)] == ["events.few_clusters"]
    one = planted({"B": 1})
    cluster(one)
    assert one.obs["cluster"].tolist() == ["1"]


def test_what_cannot_be_clustered_is_refused() -> None:
    adata = planted(COMMON)
    adata.X[5, 2] = np.nan
    with pytest.raises(InputError, match="CD8"):
        cluster(adata)
    with pytest.raises(InputError, match="no events"):
        cluster(adata[:0].copy())
    with pytest.raises(InputError, match="no marker"):
        cluster(adata[:, ["FSC-A", "Time"]].copy())
    with pytest.raises(UsageError, match="prototypes"):
        cluster(adata, n_clusters=50, grid=20)

from __future__ import annotations

import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from cellprec.cytometry.annotate import annotate, cluster_table, default_signs, population_table, read_signs
from cellprec.cytometry.cluster import cluster
from cellprec.errors import InputError, UsageError
from cellprec.io.fcs import read_fcs
from cellprec.notes import get_notes

DATA = Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[3] / "shared" / "data"))
MARKERS = ["CD3", "CD4", "CD8", "CD19", "CD14", "CD56", "CD45RA", "CCR7"]
TYPES = {
    "CD4 T naive": "CD3 CD4 CD45RA CCR7",
    "CD4 T central memory": "CD3 CD4 CCR7",
    "CD4 T effector memory": "CD3 CD4",
    "CD8 T naive": "CD3 CD8 CD45RA CCR7",
    "CD8 T TEMRA": "CD3 CD8 CD45RA",
    "B cells": "CD19 CD45RA",
    "NK cells": "CD56 CD45RA",
    "Classical monocytes": "CD14",
}


def events(
    sizes: dict[str, int], *, markers: list[str] | None = None, noise: float = 0.6, seed: int = 0, sample: str = "s"
) -> anndata.AnnData:
    rng = np.random.default_rng(seed)
    markers = MARKERS if markers is None else markers
    truth = np.repeat(list(sizes), list(sizes.values()))
    means = np.array([[4.0 if marker in TYPES[name].split() else 0.0 for marker in markers] for name in truth])
    values = np.abs(means + rng.normal(0, noise, means.shape))
    obs = pd.DataFrame({"sample_id": sample, "truth": truth}, index=[f"{sample}:{i}" for i in range(len(truth))])
    var = pd.DataFrame({"channel": markers, "kind": "mass"}, index=markers)
    adata = anndata.AnnData(values.astype("float32"), obs=obs, var=var)
    adata.obs["cluster"] = pd.Categorical(truth)
    return adata


EVEN = dict.fromkeys(TYPES, 300)


def notes(adata: anndata.AnnData) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for note in get_notes(adata):
        found.setdefault(note.code, []).append(note.text)
    return found


def named(adata: anndata.AnnData) -> dict[str, str]:
    return adata.obs.groupby("truth")["population"].agg(lambda column: column.mode()[0]).to_dict()


def test_every_cluster_gets_its_own_name() -> None:
    adata = events(EVEN)
    annotate(adata, signs=default_signs())
    assert named(adata) == {name: name for name in TYPES}
    assert adata.obs["population_confidence"].between(0.5, 1).all()
    assert adata.var["threshold"].between(1, 3.5).all()


def test_from_events_to_names_with_clusters_that_were_found() -> None:
    sizes = EVEN | {"CD4 T naive": 4000, "NK cells": 60}
    adata = events(sizes)
    cluster(adata, n_clusters=20)
    annotate(adata)
    right = adata.obs["population"].astype(str) == adata.obs["truth"]
    assert right.groupby(adata.obs["truth"]).mean().min() > 0.9


def test_a_cluster_that_is_none_of_the_table_stays_unassigned() -> None:
    TYPES["odd"] = "CD3 CD19 CD14"
    try:
        adata = events(EVEN | {"odd": 200})
    finally:
        del TYPES["odd"]
    annotate(adata)
    odd = adata.obs[adata.obs["truth"] == "odd"]
    assert (odd["population"] == "unassigned").all()
    assert (odd["population_confidence"] == 0).all()
    assert named(adata)["B cells"] == "B cells"


def test_what_cannot_be_told_further_gets_the_name_that_is_sure() -> None:
    adata = events(EVEN)
    mixed = adata.obs["truth"].isin(["CD4 T naive", "CD4 T effector memory"]).to_numpy()
    adata.obs["cluster"] = pd.Categorical(np.where(mixed, "mixed", adata.obs["truth"]))
    annotate(adata)
    assert set(adata.obs.loc[mixed, "population"]) == {"CD4 T cells"}


def test_without_memory_markers_the_parents_are_named() -> None:
    adata = events(EVEN, markers=MARKERS[:6])
    annotate(adata)
    expected = {name: "CD4 T cells" if "CD4" in name else "CD8 T cells" if "CD8" in name else name for name in TYPES}
    assert named(adata) == expected
    left_out = notes(adata)["events.population_left_out"]
    assert "not looked for, as the panel has no CD45RA, CCR7: CD4 T naive, CD8 T naive" in left_out
    told = "not looked for, as it cannot be told from CD4 T naive without CD45RA, CCR7: CD4 T effector memory"
    assert told in left_out


def test_a_population_is_not_named_when_its_double_cannot_be_excluded() -> None:
    signs = pd.DataFrame(
        {"HLA-DR": [1, 1], "CD16": [1, -1], "CD3": [-1, -1]}, index=["Non-classical monocytes", "Dendritic cells"]
    )
    signs.loc["T cells", "CD3"] = 1
    adata = events({"CD4 T naive": 200, "Classical monocytes": 200}, markers=["CD3", "CD14"])
    adata.var_names = ["CD3", "HLA-DR"]
    adata.var["channel"] = ["CD3", "HLA-DR"]
    annotate(adata, signs=signs)
    assert named(adata) == {"CD4 T naive": "T cells", "Classical monocytes": "unassigned"}


def test_in_sorted_t_cells_no_b_cell_is_named() -> None:
    adata = events({name: 400 for name in TYPES if " T " in name})
    adata.var["transform"] = "arcsinh"
    annotate(adata)
    assert named(adata) == {name: name for name in TYPES if " T " in name}
    thresholds = adata.uns["populations"]["thresholds"].set_index("marker")["how"]
    assert thresholds["CD19"] == "scale"


def test_a_marker_with_one_hill_names_nothing_that_hangs_on_it() -> None:
    adata = events(EVEN)
    adata.X[:, MARKERS.index("CD45RA")] = np.random.default_rng(0).normal(1.2, 0.6, adata.n_obs)
    annotate(adata)
    assert any("CD45RA" in text for text in notes(adata)["events.no_valley"])
    assert np.isnan(adata.var["threshold"]["CD45RA"])
    expected = {name: "CD4 T cells" if "CD4" in name else "CD8 T cells" if "CD8" in name else name for name in TYPES}
    assert named(adata) == expected


def test_a_marker_that_every_cell_carries_does_no_harm() -> None:
    adata = events(EVEN)
    adata.X[:, MARKERS.index("CCR7")] = np.random.default_rng(0).normal(4, 0.6, adata.n_obs)
    adata.var_names = [*MARKERS[:7], "CD45"]
    adata.var["channel"], adata.var["kind"] = list(adata.var_names), "fluorescence"
    signs = default_signs().drop(columns=["CCR7", "CD45RA"]).drop_duplicates()
    signs["CD45"] = 1
    annotate(adata, signs=signs)
    assert named(adata)["B cells"] == "B cells"
    assert named(adata)["CD4 T naive"] == "CD4 T cells"


def test_populations_with_the_same_signs_are_not_named_by_their_order() -> None:
    signs = pd.DataFrame({"CD3": [1, 1, -1], "CD19": [-1, -1, 1]}, index=["T", "also T", "B cells"])
    adata = events(EVEN)
    annotate(adata, signs=signs)
    assert named(adata)["B cells"] == "B cells"
    assert named(adata)["CD4 T naive"] == "unassigned"
    assert any("same as for also T: T" in text for text in notes(adata)["events.population_left_out"])


def test_two_columns_for_one_channel_are_refused() -> None:
    with pytest.raises(InputError, match="one channel"):
        annotate(events(EVEN), signs=pd.DataFrame({"CD3": [1], "CD3e": [1]}, index=["T"]))


def test_dropped_events_do_not_count() -> None:
    adata = events(EVEN)
    other = events(EVEN)
    adata.obs["keep"] = np.arange(adata.n_obs) % 3 > 0
    adata.X[~adata.obs["keep"].to_numpy()] = 0
    annotate(adata)
    annotate(other)
    assert (adata.obs["population"] == other.obs["population"]).all()


def test_the_order_of_signs_and_markers_does_not_matter() -> None:
    adata, other = events(EVEN), events(EVEN)
    signs = default_signs()
    annotate(adata, signs=signs)
    annotate(other, signs=signs.iloc[::-1, ::-1])
    assert (adata.obs["population"].astype(str) == other.obs["population"].astype(str)).all()


def test_markers_are_found_under_other_spellings() -> None:
    adata = events(EVEN)
    adata.var_names = ["170Er_CD3", "145Nd_CD4", "146Nd_CD8a", "CD19 PE", "CD14", "CD56_NCAM", "CD45RA", "CD197"]
    annotate(adata)
    assert named(adata) == {name: name for name in TYPES}


def test_bad_tables_and_bare_events_are_refused() -> None:
    adata = events(EVEN)
    with pytest.raises(InputError, match="neither") as caught:
        annotate(adata, signs=pd.DataFrame({"CD3": [2.0]}, index=["T"]))
    assert "CD3" in caught.value.where
    with pytest.raises(InputError, match="twice"):
        annotate(adata, signs=pd.DataFrame({"CD3": [1, 1]}, index=["T", "T"]))
    with pytest.raises(InputError, match="no population") as caught:
        annotate(adata, signs=pd.DataFrame({"CD99": [1]}, index=["T"]))
    assert "CD99" in caught.value.why
    assert caught.value.fix.endswith("as the panel does: CD3, CD4, CD8, CD19, CD14, CD56, CD45RA, CCR7")
    assert "settings.cytometry.populations" in caught.value.fix
    del adata.obs["cluster"]
    with pytest.raises(UsageError, match="clusters"):
        annotate(adata)


@pytest.mark.parametrize("signs", [None, default_signs()])
def test_a_panel_the_default_table_does_not_know_keeps_its_clusters(signs: pd.DataFrame | None) -> None:
    adata = events(EVEN)[:, :2].copy()
    adata.var_names = ["Red", "Blue"]
    adata.var["channel"] = ["Red", "Blue"]
    before = adata.obs["cluster"].copy()
    annotate(adata, signs=signs)
    assert set(adata.obs["population"]) == {"unassigned"}
    assert (adata.obs["population_confidence"] == 0).all()
    assert adata.obs["cluster"].equals(before)
    (text,) = notes(adata)["events.no_population"]
    assert "(Red, Blue)" in text
    assert "settings.cytometry.populations" in text
    assert cluster_table(adata)["population"].eq("unassigned").all()
    assert population_table(adata)[["n", "fraction"]].values.tolist() == [[2400, 1.0]]


def test_without_a_marker_that_tells_only_a_table_given_is_an_error() -> None:
    adata = events(EVEN, markers=MARKERS[:6])
    adata.var["kind"] = "fluorescence"
    adata.X[:] = np.random.default_rng(0).normal(2, 0.6, adata.shape)
    given = pd.DataFrame({"CD3": [1, -1], "CD19": [-1, 1]}, index=["T cells", "B cells"])
    with pytest.raises(InputError, match="no population") as caught:
        annotate(adata.copy(), signs=given)
    assert caught.value.why.startswith("as positive cannot be told from negative for CD3; as positive cannot")
    annotate(adata)
    assert set(adata.obs["population"]) == {"unassigned"}
    assert "events.no_population" in notes(adata)


def test_everything_can_be_written_and_read_again(tmp_path: Path) -> None:
    adata = events(EVEN)
    annotate(adata)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert again.obs["population"].tolist() == adata.obs["population"].tolist()
    pd.testing.assert_frame_equal(
        again.uns["populations"]["thresholds"], adata.uns["populations"]["thresholds"], check_index_type=False
    )


def test_the_tables_add_up() -> None:
    both = anndata.concat([events(EVEN, sample="a"), events({"B cells": 50}, sample="b")], merge="same")
    both.obs["keep"] = np.r_[np.zeros(100, bool), np.ones(both.n_obs - 100, bool)]
    annotate(both)
    table = population_table(both)
    assert list(table.columns) == ["sample_id", "population", "n", "fraction"]
    assert table.groupby("sample_id")["n"].sum().to_dict() == {"a": 2300, "b": 50}
    assert table.groupby("sample_id")["fraction"].sum().tolist() == pytest.approx([1, 1])
    assert len(table) == 2 * both.obs["population"].nunique()
    only_b = table[(table["sample_id"] == "b") & (table["n"] > 0)]
    assert only_b[["population", "fraction"]].values.tolist() == [["B cells", 1.0]]
    clusters = cluster_table(both).set_index("cluster")
    assert clusters["n"].sum() == 2350
    assert clusters.loc["B cells", "population"] == "B cells"
    inside = (both.obs["cluster"] == "B cells").to_numpy()
    assert clusters.loc["B cells", "CD19"] == pytest.approx(np.median(both.X[inside, MARKERS.index("CD19")]))


def test_a_cluster_of_events_with_different_names_is_described_by_most_of_them() -> None:
    adata = events({"B cells": 10})
    adata.obs["population"] = pd.Categorical(["other"] * 3 + ["B cells"] * 7)
    adata.obs["population_confidence"] = 1.0
    row = cluster_table(adata).iloc[0]
    assert row["population"] == "B cells"
    assert row["confidence"] == pytest.approx(0.7)


def test_a_sample_without_kept_events_has_no_fractions() -> None:
    both = anndata.concat([events(EVEN, sample="a"), events({"B cells": 50}, sample="b")], merge="same")
    both.obs["keep"] = (both.obs["sample_id"] == "a").to_numpy()
    annotate(both)
    table = population_table(both)
    assert table.loc[table["sample_id"] == "b", "fraction"].isna().all()


@pytest.mark.real
@pytest.mark.skipif(not (DATA / "cytometry" / "huimm_pbmc_cytof").exists(), reason="the real data are not here")
def test_manually_gated_blood_is_named_right_three_times_in_four() -> None:
    folder = DATA / "cytometry" / "huimm_pbmc_cytof"
    adata = read_fcs(folder / "downsample_20000.fcs", sample_id="pbmc")
    truth = pd.read_csv(folder / "labels_half.csv.gz", keep_default_na=False)["label"].to_numpy()
    signs = read_signs(folder / "sign_table.csv")
    same = {
        "naive b cells": "naive b", "memory b cells": "memory b", "early nks": "early nk", "late nks": "late nk",
        "cd4 terminal memory": "cd4 terminal effector", "cd4-cd8-gd t cells": "cd4-cd8- gd t",
    }  # fmt: skip
    cluster(adata, n_clusters=60)
    annotate(adata, signs=signs)
    found = adata.obs["population"].astype(str).replace(same).to_numpy()
    labelled = ~np.isin(truth, ["NA", "Unassigned"])
    right = found[labelled] == pd.Series(truth[labelled]).str.lower().to_numpy()
    print(f"accuracy {right.mean():.3f}")
    assert right.mean() >= 0.75

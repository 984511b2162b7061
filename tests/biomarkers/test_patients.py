from __future__ import annotations

import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from cellprec.biomarkers.associate import associate
from cellprec.biomarkers.confounding import confounding
from cellprec.biomarkers.headline import headline
from cellprec.biomarkers.patients import patients
from cellprec.biomarkers.predict import predict
from cellprec.errors import InputError, JoinError
from cellprec.notes import get_notes

DATA = Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


def cells(counts: dict[str, dict[str, int]], **columns: dict[str, list]) -> anndata.AnnData:
    """Cells × 0 with so many cells of each population per sample."""
    rows = [(sample, pop) for sample, pops in counts.items() for pop, n in pops.items() for _ in range(n)]
    obs = pd.DataFrame(rows, columns=["sample_id", "population"]).astype("category")
    obs.index = [f"{s}:{i}" for i, s in enumerate(obs["sample_id"])]
    for name, by_sample in columns.items():
        obs[name] = [value for sample in counts for value in by_sample[sample]]
    return anndata.AnnData(obs=obs)


def sheet(*rows: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["sample_id", "modality", "patient_id", "timepoint", "batch"])


CLINICAL = pd.DataFrame({"response": ["CR", "PD", "CR"], "age": ["60", "", "71"]}, index=["P1", "P2", "P3"])
FLOW = sheet(
    ("a", "cytometry", "P1", "d0", "b1"), ("b", "cytometry", "P2", "d0", "b1"), ("c", "cytometry", "P3", "d0", "b2")
)


def codes(adata: anndata.AnnData) -> set[str]:
    return {note.code for note in get_notes(adata)}


def test_fractions_are_centred_log_ratios_zeros_counted_and_unassigned_outside():
    counts = {"a": {"B": 30, "T": 70, "unassigned": 50}, "b": {"T": 100}, "c": {"B": 10, "T": 40, "NK": 50}}
    adata = patients(sheet=FLOW, clinical=CLINICAL, cytometry=cells(counts))
    frame = adata.to_df()
    # NK is seen in one patient of three, so it does not enter the centre; B in two
    log = np.log(np.array([30, 70]) + 0.5)
    assert frame.loc["P1", "cytometry:fraction:B@d0"] == pytest.approx(log[0] - log.mean(), rel=1e-5)
    assert frame.loc["P1", "cytometry:fraction:NK@d0"] == pytest.approx(np.log(0.5) - log.mean(), rel=1e-5)
    assert frame.loc["P2", "cytometry:fraction:B@d0"] == pytest.approx((np.log(0.5) - np.log(100.5)) / 2, rel=1e-5)
    assert not any("unassigned" in name for name in adata.var_names)
    assert adata.layers["missing"].sum() == 0
    row = adata.var.loc["cytometry:fraction:B@d0"]
    assert row[["modality", "timepoint", "family", "unit", "n_missing"]].tolist() == [
        "cytometry",
        "d0",
        "fractions",
        "clr",
        0,
    ]


def test_unmeasured_is_missing_and_not_zero():
    counts = {"a": {"B": 30, "T": 70}, "b": {"B": 5, "T": 6}, "c": {"T": 100}}
    adata = patients(sheet=FLOW, clinical=CLINICAL, cytometry=cells(counts), min_cells=20)
    column = adata.to_df()["cytometry:fraction:B@d0"]
    assert np.isnan(column["P2"])  # 11 cells are no measurement
    assert np.isfinite(column["P3"])  # looked for in 100 cells and not seen
    assert adata.layers["missing"][:, list(adata.var_names).index(column.name)].tolist() == [0, 1, 0]
    assert adata.var["n_missing"].tolist() == [1, 1]
    assert "biomarkers.cytometry_few_cells" in codes(adata)


def test_dropped_events_do_not_count():
    kept = cells({"a": {"B": 40, "T": 40}, "b": {"B": 40, "T": 40}})
    kept.obs["keep"] = ~((kept.obs["sample_id"] == "a") & (np.arange(160) % 2 == 0) & (kept.obs["population"] == "B"))
    with_drop = patients(sheet=FLOW, clinical=CLINICAL, cytometry=kept).to_df()
    clean = patients(
        sheet=FLOW, clinical=CLINICAL, cytometry=cells({"a": {"B": 20, "T": 40}, "b": {"B": 40, "T": 40}})
    ).to_df()
    pd.testing.assert_frame_equal(with_drop, clean)


def test_samples_of_one_patient_and_timepoint_are_pooled_by_cells():
    twice = sheet(("a", "rna", "P1", "d0", ""), ("a2", "rna", "P1", "d0", ""), ("b", "rna", "P2", "d0", ""))
    apart = cells({"a": {"B": 10, "T": 90}, "a2": {"B": 50, "T": 50}, "b": {"B": 30, "T": 70}})
    whole = cells({"a": {"B": 60, "T": 140}, "b": {"B": 30, "T": 70}})
    pooled = patients(sheet=twice, clinical=CLINICAL, rna=apart)
    pd.testing.assert_frame_equal(pooled.to_df(), patients(sheet=twice, clinical=CLINICAL, rna=whole).to_df())
    assert "biomarkers.rna_pooled" in codes(pooled)


def test_scores_and_car_are_means_over_cells():
    rna = cells(
        {"a": {"T": 20}, "b": {"T": 40}},
        signature_exhaustion={"a": [1.0] * 10 + [3.0] * 10, "b": [0.5] * 40},
        car_detected={"a": [True] * 5 + [False] * 15, "b": [False] * 40},
    )
    rows = sheet(("a", "rna", "P1", "d14", ""), ("b", "rna", "P2", "d14", ""))
    frame = patients(sheet=rows, clinical=CLINICAL, rna=rna).to_df()
    assert frame["rna:signature:exhaustion@d14"].tolist() == [2.0, 0.5]
    assert frame["rna:car:fraction@d14"].tolist() == [0.25, 0.0]


def clones(counts: list[list[float]], samples: list[str], *, wide: bool = True) -> anndata.AnnData:
    X = np.array(counts, dtype="f4")
    adata = anndata.AnnData(sparse.csr_matrix(X) if wide else X)
    adata.obs_names = samples
    return adata


ROWS = sheet(("s", "counts", "P1", "d0", ""), ("t", "counts", "P2", "d0", ""), ("u", "counts", "P2", "d0", ""))


@pytest.mark.parametrize("wide", [True, False])
def test_diversity_is_exact_where_depths_are_equal(wide):
    adata = clones([[25, 25, 25, 25], [97, 1, 0, 0], [0, 0, 1, 1]], ["s", "t", "u"], wide=wide)
    frame = patients(sheet=ROWS, clinical=CLINICAL, clones=adata).to_df()
    shares = np.array([0.97, 0.01, 0.01, 0.01])
    entropy = -(shares * np.log(shares)).sum()
    assert frame.loc["P1"].tolist() == pytest.approx([0, np.log(4)], abs=1e-6)
    assert frame.loc["P2"].tolist() == pytest.approx([1 - entropy / np.log(4), entropy], rel=1e-5)


def test_diversity_does_not_rise_with_sequencing_depth():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(500, 0.5))
    counts = [rng.multinomial(300, shares), rng.multinomial(30_000, shares), np.zeros(500)]
    frame = patients(sheet=ROWS, clinical=CLINICAL, clones=clones(counts, ["s", "t", "u"])).to_df()
    assert frame.loc["P1"].to_numpy() == pytest.approx(frame.loc["P2"].to_numpy(), abs=0.1)


def table(names: list[str], **columns: list[float]) -> anndata.AnnData:
    adata = anndata.AnnData(np.array(list(columns.values()), dtype="f4").T)
    adata.obs_names, adata.var_names = names, list(columns)
    return adata


def test_tables_join_by_patient_and_keep_their_units():
    labs = table(["P3", "P1", "P9"], ferritin=[5.0, np.nan, 7.0])
    labs.var["unit"] = ["ug_per_l"]
    rows = FLOW.assign(path="").iloc[:2]
    rows.loc[9] = ["labs", "table", "", "d0", "", "sub/plasma.v2.csv"]
    adata = patients(sheet=rows, clinical=CLINICAL, tables={"labs": labs})
    assert adata.obs_names.tolist() == ["P1", "P2", "P3"]
    assert adata.var_names.tolist() == ["table:plasma:ferritin@d0"]
    assert adata.var["unit"].tolist() == ["ug_per_l"]
    assert adata.to_df().iloc[:, 0].isna().tolist() == [True, True, False]
    assert any(n.code == "biomarkers.no_clinical" and "P9" in n.text and n.count == 1 for n in get_notes(adata))


def test_nothing_measured_after_the_landmark_enters():
    rows = FLOW.copy()
    rows.loc[2] = ["late", "cytometry", "P1", "d14", "b1"]
    rows.loc[3] = ["labs", "table", "", "", ""]
    both = {"a": {"B": 30, "T": 70}, "b": {"B": 20, "T": 80}, "late": {"B": 90, "T": 10}}
    labs = table(["P1", "P2"], undated=[1.0, 2.0])
    everything = patients(sheet=rows, clinical=CLINICAL, cytometry=cells(both), tables={"labs": labs})
    early = patients(sheet=rows, clinical=CLINICAL, cytometry=cells(both), tables={"labs": labs}, until=("d0",))
    assert everything.n_vars == 5
    assert early.var_names.tolist() == ["cytometry:fraction:B@d0", "cytometry:fraction:T@d0"]
    assert [n.count for n in get_notes(early) if n.code == "biomarkers.landmark"] == [3]


def test_batches_are_kept_per_patient_and_per_file():
    rows = FLOW.copy()
    rows.loc[3] = ["late", "cytometry", "P1", "d14", "b2"]
    adata = patients(sheet=rows, clinical=CLINICAL, cytometry=cells({"a": {"T": 50}, "b": {"T": 50}, "c": {"T": 50}}))
    assert adata.obs["batch"].tolist() == ["b1+b2", "b1", "b2"]
    assert adata.uns["batches"]["cytometry@d0"].tolist() == ["b1", "b1", "b2"]
    assert adata.uns["batches"]["cytometry@d14"].tolist() == ["b2", "", ""]


def test_everything_survives_a_file(tmp_path):
    clinical = CLINICAL.assign(**{"ldh_u/l": [1.5, None, 2.0]}, relapse=[True, False, True])
    labs = table(["P1", "P2"], **{"a/b": [1.0, np.nan]})
    rows = FLOW.copy()
    rows.loc[3] = ["labs", "table", "", "d0/pre", "x"]
    flow = cells({"a": {"B/T": 50}, "b": {"B/T": 50}, "c": {"T": 50}})
    adata = patients(sheet=rows, clinical=clinical, cytometry=flow, tables={"labs": labs})
    adata.write_h5ad(tmp_path / "patients.h5ad")
    back = anndata.read_h5ad(tmp_path / "patients.h5ad")
    pd.testing.assert_frame_equal(back.to_df(), adata.to_df())
    assert adata.X.dtype == np.float32
    assert back.obs["age"].tolist()[::2] == [60, 71]
    assert back.obs["response"].tolist() == ["CR", "PD", "CR"]
    assert "ldh_u|l" in back.obs
    assert get_notes(back) == get_notes(adata)
    assert back.uns["batches"].equals(adata.uns["batches"])


def test_patients_of_one_side_only_are_said_and_left_out():
    adata = patients(
        sheet=FLOW,
        clinical=pd.DataFrame({"response": ["CR", "PD", "SD"]}, index=["P1", "P2", "P8"]),
        cytometry=cells({"a": {"T": 50}, "b": {"T": 50}, "c": {"T": 50}}),
    )
    assert adata.obs_names.tolist() == ["P1", "P2"]
    said = {note.code: note.text for note in get_notes(adata)}
    assert "P3" in said["biomarkers.no_clinical"]
    assert "P8" in said["biomarkers.no_sample"]


def test_patients_that_do_not_meet_are_an_error_with_both_sides():
    with pytest.raises(JoinError) as caught:
        patients(sheet=FLOW, clinical=CLINICAL.rename(lambda p: f"pat-{p}"))
    assert "P1" in caught.value.where
    assert "pat-P1" in caught.value.where


def test_samples_that_do_not_meet_are_an_error_with_both_sides():
    with pytest.raises(JoinError, match="no rna sample") as caught:
        patients(sheet=FLOW, clinical=CLINICAL, rna=cells({"a": {"T": 50}}))
    assert "data: a" in caught.value.where


@pytest.mark.parametrize(
    ("bad_sheet", "clinical", "what"),
    [
        (FLOW, pd.concat([CLINICAL, CLINICAL.iloc[:1]]), "stand twice.*P1"),
        (FLOW.drop(columns="modality"), CLINICAL, "no column modality"),
    ],
)
def test_broken_sheets_are_refused(bad_sheet, clinical, what):
    with pytest.raises(InputError, match=what):
        patients(sheet=bad_sheet, clinical=clinical)


def test_samples_without_a_patient_or_a_row_are_noted():
    rows = FLOW.copy()
    rows.loc[2, "patient_id"] = ""
    flow = cells({"a": {"T": 50}, "b": {"T": 50}, "c": {"T": 50}, "ghost": {"T": 50}})
    adata = patients(sheet=rows, clinical=CLINICAL, cytometry=flow)
    assert {"biomarkers.cytometry_no_patient", "biomarkers.cytometry_not_in_sheet"} <= codes(adata)
    assert adata.obs_names.tolist() == ["P1", "P2"]


@pytest.mark.real
@pytest.mark.skipif(not (DATA / "clinical" / "jackson_2022").exists(), reason="real data not beside the checkout")
def test_published_cohort_with_two_non_responders_gives_no_claim():
    sizes = pd.read_csv(DATA / "clinical" / "jackson_2022" / "cluster_sizes_by_sample.csv.gz")
    sizes["population"] = sizes["cd4_cd8"] + " " + sizes["seurat_clusters"].astype(str)
    sizes = sizes.drop_duplicates(["orig.ident", "population"])
    counts = {s: dict(zip(g["population"], g["N"], strict=True)) for s, g in sizes.groupby("orig.ident")}
    samples = sizes.drop_duplicates("orig.ident")
    rows = pd.DataFrame(
        {
            "sample_id": samples["orig.ident"],
            "modality": "rna",
            "patient_id": samples["patid"],
            "timepoint": samples["tpoint"],
            "batch": samples["orig.ident"].str.split(".").str[1],
        }
    )
    clinical = sizes.groupby("patid")[["resp"]].first()
    adata = patients(sheet=rows, clinical=clinical, rna=cells(counts))
    outcome = (clinical["resp"] == "R").rename("response")
    assert outcome.sum() == 11
    assert (~outcome).sum() == 2
    table = associate(adata, outcome=outcome, name="response", batch=adata.uns["batches"])
    assert table["verdict"].str.startswith("cannot tell").all()
    prediction = predict(adata, outcome=outcome, name="response", covariates=[])
    assert prediction.table["verdict"].str.startswith("cannot tell").all()
    assert "cannot be told" in headline(table, prediction, name="response")
    assert len(confounding(outcome, adata.obs[["batch"]])) == 1

from __future__ import annotations

import pandas as pd

from cellprec.report.sections.samples import complete_table, merged


def sheet(**columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"sample_id": [f"s{i}" for i in range(len(columns["state"]))], **columns})


def test_tubes_by_kind_of_data_in_the_order_of_time() -> None:
    table = complete_table(
        sheet(
            patient_id=["P2", "P1", "P1", "P1"],
            timepoint=["d7", "d7", "d0", "d0"],
            modality=["rna", "rna", "rna", "cytometry"],
            state=["present", "failed", "present", "present"],
        ),
        timepoints=("d0", "d7"),
    )
    assert table.index.tolist() == ["P1 d0", "P1 d7", "P2 d7"]
    assert table.columns.tolist() == ["cytometry", "rna"]
    assert table.to_numpy().tolist() == [["present", "present"], ["absent", "failed"], ["absent", "present"]]


def test_one_kind_of_file_is_shown_over_time_and_the_worst_of_several_files_counts() -> None:
    table = complete_table(
        sheet(
            arm=["drug", "drug", "drug", "vehicle"],
            replicate=["1", "1", "1", "1"],
            timepoint=["TP1", "TP2", "TP2", "TP1"],
            modality=["counts"] * 4,
            state=["present", "present", "failed", "present"],
        ),
        across="timepoint",
    )
    assert table.index.tolist() == ["drug", "vehicle"]
    assert table.loc["drug"].tolist() == ["present", "failed"]
    assert table.loc["vehicle"].tolist() == ["present", "absent"]


def test_without_a_design_each_file_is_a_row() -> None:
    assert complete_table(sheet(modality=["rna"], state=["absent"])).index.tolist() == ["s0"]


def test_a_long_list_keeps_every_failure_in_its_place() -> None:
    states = ["present"] * 9 + ["failed"] + ["present"] * 10
    table = merged(pd.DataFrame({"rna": states, "vdj": "absent"}, index=[f"P{i:02d}" for i in range(20)]))
    assert table.index.tolist() == ["P00 to P08 (9)", "P09", "P10 to P19 (10)"]
    assert table["rna"].tolist() == ["present", "failed", "present"]
    assert table["vdj"].tolist() == ["absent"] * 3

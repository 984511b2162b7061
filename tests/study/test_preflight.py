"""One study with many mistakes: every one is named at once, with file, row, column and fix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from tests.conftest import MARKERS, write_events

from cellprec.errors import StudyError
from cellprec.study.load import load_study
from cellprec.study.preflight import preflight


def test_a_sound_study_has_no_problem(make_study: Callable[..., Path]) -> None:
    study, problems = preflight(make_study())
    assert problems == []
    assert study is not None
    assert len(study.samples) == 5
    assert study.design.outcomes[0].yes["P00"] == 1
    assert study.design.outcomes[0].yes["P01"] == 0


@pytest.fixture
def broken(make_study: Callable[..., Path]) -> Path:
    """A study with at least fifteen different mistakes."""
    path = make_study()
    root = path.parent
    sheet = pd.read_csv(root / "samples.csv", dtype=str, keep_default_na=False)
    (root / "P01.fcs").write_bytes((root / "P01.fcs").read_bytes()[:3000])
    write_events(root / "P02.fcs", seed=2, markers=tuple("CD4a" if m == "CD4" else m for m in MARKERS))
    sheet.loc[len(sheet)] = ["P03_baseline", "cytometry", "P03.fcs", "P03", "baseline", "1"]  # row 7: duplicate id
    sheet.loc[len(sheet)] = ["P05", "cytometry", "P5.fcs", "P05", "baseline", "1"]  # row 8: no such file
    sheet.loc[len(sheet)] = ["P06", "cytometrie", "P00.fcs", "P06", "baseline", "1"]  # row 9: modality
    sheet.loc[len(sheet)] = ["P07", "cytometry", "P00.fcs", "P77", "baseline", "1"]  # row 10: patient
    sheet.loc[len(sheet)] = ["P08", "cytometry", "P00.fcs", "P08", "basline", "1"]  # row 11: timepoint
    sheet.loc[len(sheet)] = ["P09/x", "cytometry", "P00.fcs", "P09", "baseline", "1"]  # row 12: name
    sheet = sheet.rename(columns={"batch": "bacth"})
    sheet.to_csv(root / "samples.csv", index=False)
    clinical = pd.read_csv(root / "patients.csv", dtype=str)
    clinical["hemoglobin_g_per_l"] = "12.1"
    clinical["ferritin_mg_per_l_"] = "400"
    clinical.loc[3, "age_years"] = "sixty"
    clinical.loc[len(clinical)] = clinical.loc[0]
    clinical["creatinine_umol_per_l"] = "80,5"
    clinical.to_csv(root / "patients.csv", sep=";", index=False, encoding="utf-8-sig", lineterminator="\r\n")
    text = path.read_text()
    text = text.replace("covariates: [age_years]", "covariates: [age_year]").replace("n_clusters: 4", "n_cluster: 4")
    text = text.replace("repeats: 1", "repeats: many").replace("seed: 3", "sed: 3")
    text += "  citometry: {}\n  events: {spillover: comp.csv}\n"
    path.write_text(text)
    return path


EXPECTED = {
    # code, file, row, column, in the fix
    ("study.unknown", "study.yaml", 2, "sed", "'seed'"),
    ("study.unknown", "study.yaml", 9, "settings.cytometry.n_cluster", "'n_clusters'"),
    ("study.value", "study.yaml", 10, "settings.biomarkers.repeats", ""),
    ("study.unknown", "study.yaml", 11, "settings.citometry", "'cytometry'"),
    ("study.missing_file", "study.yaml", None, "settings.events.spillover", "relative to study.yaml"),
    ("study.no_column", "study.yaml", None, "covariates[0]", "'age_years'"),
    ("samples.duplicate", "samples.csv", 7, "sample_id", "its own sample_id"),
    ("samples.missing_file", "samples.csv", 8, "path", "P05.fcs"),
    ("samples.modality", "samples.csv", 9, "modality", "'cytometry'"),
    ("samples.patient", "samples.csv", 10, "patient_id", "Did you mean"),
    ("samples.timepoint", "samples.csv", 11, "timepoint", "'baseline'"),
    ("samples.name", "samples.csv", 12, "sample_id", "no blanks or slashes"),
    ("sheet.odd_column", "samples.csv", 1, "bacth", "'batch'"),
    ("patients.unit", "patients.csv", 1, "hemoglobin_g_per_l", "hemoglobin_g_per_dl"),
    ("patients.unit", "patients.csv", 1, "ferritin_mg_per_l_", "ferritin_ug_per_l"),
    ("patients.number", "patients.csv", 5, "age_years", "plain number"),
    ("patients.duplicate", "patients.csv", 26, "patient_id", "one row per patient"),
    ("samples.same_file", "samples.csv", 7, "path", "Name each file once"),
    ("sheet.export", "patients.csv", 1, "", "save as CSV"),
    ("file.unreadable", "samples.csv", 4, "path", ""),
    ("file.panel", "samples.csv", 5, "path", "'CD4a' looks like 'CD4'"),
}


def test_every_mistake_is_named_at_once(broken: Path) -> None:
    broken.with_name("P05.fcs").write_bytes(broken.with_name("P00.fcs").read_bytes())  # the near miss of P5.fcs
    _, problems = preflight(broken)
    found = {(p.code, p.file, p.row, p.column): p for p in problems}
    missing = [e[:4] for e in EXPECTED if e[:4] not in found]
    assert missing == [], "\n".join(map(str, sorted(found, key=str)))
    for code, file, row, column, words in EXPECTED:
        assert words in found[code, file, row, column].fix
    assert len({p.code for p in problems}) >= 15
    assert not [p for p in problems if not p.fix], "every problem says what to do"
    extra = {key for key in found if key not in {e[:4] for e in EXPECTED}}
    assert {key[0] for key in extra} <= {"file.unreadable", "samples.same_file"}, (
        extra
    )  # the files of the extra rows are glanced at too


def test_loading_refuses_and_carries_the_list(broken: Path) -> None:
    with pytest.raises(StudyError) as caught:
        load_study(broken)
    assert caught.value.exit_code == 3
    assert len(caught.value.problems) >= 15


@pytest.mark.parametrize(
    ("text", "code", "row"),
    [
        ("name: [", "study.yaml", None),
        ("a: 1\n\tb: 2\n", "study.yaml", 2),
        ("just words", "study.yaml", None),
        ("", "study.yaml", None),
    ],
)
def test_what_is_not_yaml_is_said_in_words(tmp_path: Path, text: str, code: str, row: int | None) -> None:
    (tmp_path / "study.yaml").write_text(text)
    _, problems = preflight(tmp_path)
    assert [p.code for p in problems] == [code]
    assert row is None or problems[0].row == row


def test_a_missing_study_suggests_the_near_one(tmp_path: Path) -> None:
    (tmp_path / "studdy.yaml").write_text("name: x")
    _, problems = preflight(tmp_path / "study.yaml")
    assert "studdy.yaml" in problems[0].fix


def test_an_outcome_that_nobody_has_is_refused(make_study: Callable[..., Path]) -> None:
    path = make_study()
    path.write_text(path.read_text().replace("[CR]", "[CRi]"))
    problems = {p.code: p for p in preflight(path)[1]}
    assert "CR, PD" in problems["study.outcome"].fix


def test_a_value_that_differs_from_yes_by_case_only_is_not_taken_for_no(make_study: Callable[..., Path]) -> None:
    path = make_study()
    clinical = path.parent / "patients.csv"
    clinical.write_text(clinical.read_text().replace("P02,CR", "P02,cr").replace("P04,CR", "P04,n.d."))
    study, problems = preflight(path)
    assert [(p.code, p.row) for p in problems] == [("patients.spelling", 4)]
    assert study is not None
    assert study.design.outcomes[0].yes["P04"] != study.design.outcomes[0].yes["P04"], "n.d. is missing, not no"


def test_a_header_without_rows_is_said(make_study: Callable[..., Path]) -> None:
    path = make_study()
    sheet = path.parent / "samples.csv"
    sheet.write_text(sheet.read_text().splitlines()[0] + "\n")
    assert "sheet.no_rows" in {p.code for p in preflight(path)[1]}


def test_an_unfilled_sheet_is_warned_about(make_study: Callable[..., Path]) -> None:
    path = make_study()
    sheet = path.parent / "samples.csv"
    frame = pd.read_csv(sheet, dtype=str)[["sample_id", "modality", "path"]]
    frame.to_csv(sheet, index=False)
    warned = [p for p in preflight(path)[1] if p.code == "samples.no_design"]
    assert [p.severity for p in warned] == ["warning"]


def edit(path: Path, name: str, old: str, new: str) -> None:
    """Change the words of a file of the study."""
    file = path.parent / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new", "code", "fix"),
    [
        ("study.yaml", "timepoints: [baseline]\n", "", "study.no_order", "[baseline, day90]"),
        (
            "study.yaml",
            "settings:\n",
            "settings:\n  patients: {until: [basline]}\n",
            "study.unknown_name",
            "'baseline'",
        ),
        ("study.yaml", "settings:\n", "settings:\n  clones: {control: DMSO}\n", "study.unknown_name", "none"),
        ("study.yaml", "[age_years]", "[age_years, response]", "study.circular", "foretells itself"),
        (
            "study.yaml",
            "{column: response, positive: [CR]}",
            "{column: response, at_least: 3}",
            "patients.grade",
            "number",
        ),
        ("study.yaml", "n_clusters: 4", "n_clusters: 0", "study.value", ""),
    ],
)
def test_what_would_mislead_is_refused(
    make_study: Callable[..., Path], name: str, old: str, new: str, code: str, fix: str
) -> None:
    path = make_study()
    edit(path, "samples.csv", "P03,baseline", "P03,day90")
    edit(path, "study.yaml", "[baseline]", "[baseline, day90]")
    old = old.replace("[baseline]", "[baseline, day90]")
    assert preflight(path)[1] == []
    edit(path, name, old, new)
    found = {p.code: p for p in preflight(path)[1]}
    assert code in found
    assert fix in found[code].fix
    assert found[code].severity == "error"


def test_a_drug_study_without_a_control_is_refused(make_study: Callable[..., Path]) -> None:
    path = make_study()
    frame = pd.read_csv(path.parent / "samples.csv", dtype=str, keep_default_na=False)
    frame["arm"] = ["", "ctl", "ctl", "drug", "drug"]
    frame.to_csv(path.parent / "samples.csv", index=False)
    assert "ctl, drug" in {p.code: p for p in preflight(path)[1]}["study.no_control"].fix
    edit(path, "samples.csv", "ctl", "DMSO")
    assert preflight(path)[1] == []


def test_a_sign_table_with_an_unknown_marker_is_named(make_study: Callable[..., Path]) -> None:
    path = make_study()
    (path.parent / "signs.csv").write_text("population,CD3,CD91\nT cells,+,\nB cells,-,+\n")
    edit(path, "study.yaml", "n_clusters: 4", "n_clusters: 4, populations: signs.csv")
    assert [(p.code, p.column, p.fix) for p in preflight(path)[1]] == [("signs.marker", "CD91", "Did you mean 'CD19'?")]


def test_reads_without_flanks_are_refused_before_the_run(make_study: Callable[..., Path]) -> None:
    path = make_study()
    (path.parent / "r.fastq").write_text("@r\nACGT\n+\nIIII\n")
    with (path.parent / "samples.csv").open("a") as handle:
        handle.write("r,fastq,r.fastq,P05,baseline,1\n")
    assert [p.code for p in preflight(path)[1]] == ["study.flanks"]


def test_another_panel_is_not_taken_for_a_spelling(make_study: Callable[..., Path]) -> None:
    path = make_study()
    write_events(path.parent / "P02.fcs", seed=2, markers=("", "", "", "CD45", "CD38", "CD138", ""))
    odd = {p.code: p for p in preflight(path)[1]}["file.panel"]
    assert "looks like" not in odd.fix


def test_channels_of_a_template_or_a_matrix_that_no_file_has_are_named_before_the_run(
    make_study: Callable[..., Path],
) -> None:
    path = make_study()
    template = "gates:\n- {name: T, channels: [CD3, CD91], method: valley, side: [above, below]}\n"
    (path.parent / "gates.yaml").write_text(template)
    (path.parent / "comp.csv").write_text(",FITC-A,PE-A,APC-B\nFITC-A,1,0.1,0\nPE-A,0,1,0\nAPC-B,0,0,1\n")
    with path.open("a") as handle:
        handle.write("  events: {template: gates.yaml, spillover: comp.csv}\n")
    found = {(p.code, p.file): (p.what, p.fix) for p in preflight(path)[1]}
    assert found.keys() == {("template.channel", "gates.yaml"), ("spillover.channel", "comp.csv")}
    what, fix = found["template.channel", "gates.yaml"]
    assert "'CD91'" in what
    assert "'CD19'" in fix
    assert "'APC-B'" in found["spillover.channel", "comp.csv"][0]
    (path.parent / "comp.csv").write_text(",FITC-A,PE-A\nFITC-A,1,x\nPE-A,0,1\n")
    assert "spillover.unreadable" in {p.code for p in preflight(path)[1]}


def test_a_step_without_settings_is_empty(make_study: Callable[..., Path]) -> None:
    path = make_study()
    with path.open("a") as handle:
        handle.write("  events:\n    # template: gates.yaml\n")
    assert preflight(path)[1] == []

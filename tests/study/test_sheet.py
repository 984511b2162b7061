"""Sheets come from many hands: what is read must be what was meant, and what was odd must be said."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellprec.study.sheet import read_sheet

PLAIN = "patient_id,age_years,response\nP1,61.5,CR\nP2,48,PD\n"
VARIANTS = {
    "plain": PLAIN.encode(),
    "bom": PLAIN.encode("utf-8-sig"),
    "crlf": PLAIN.replace("\n", "\r\n").encode(),
    "old mac": PLAIN.replace("\n", "\r").encode(),
    "tabs": PLAIN.replace(",", "\t").encode(),
    "french": PLAIN.replace(",", ";").replace("61.5", "61,5").encode("utf-8-sig"),
    "utf-16": PLAIN.encode("utf-16"),
    "stray blanks": PLAIN.replace(",", " , ").replace("P1", "\u00a0P1").encode(),
    "header case": PLAIN.replace("patient_id", "Patient ID").encode(),
    "no last newline": PLAIN.rstrip().encode(),
    "trailing separators": PLAIN.replace("\n", ",,\n").encode(),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_export_reads_as_the_plain_one(tmp_path: Path, variant: str) -> None:
    path = tmp_path / "patients.csv"
    path.write_bytes(VARIANTS[variant])
    frame = read_sheet(path, known=("patient_id",)).frame
    assert frame.to_dict("list") == {"patient_id": ["P1", "P2"], "age_years": ["61.5", "48"], "response": ["CR", "PD"]}
    assert list(frame.index) == [2, 3]


def test_thousands_and_windows_dashes_survive(tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    path.write_bytes("path;ldh\r\nP1 \u2013 d0.fcs;1\u00a0234,5\r\n".encode("cp1252"))
    assert read_sheet(path).frame.to_numpy().tolist() == [["P1 \u2013 d0.fcs", "1234.5"]]


def test_excel_reads_as_the_plain_one(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["patient_id", "age_years", "response"], ["P1", 61.5, "CR"], [None, None, None], ["P2", 48.0, "PD"]):
        book.active.append(row)
    book.save(tmp_path / "patients.xlsx")
    frame = read_sheet(tmp_path / "patients.xlsx").frame
    assert frame["age_years"].tolist() == ["61.5", "48"]
    assert list(frame.index) == [2, 4], "a row is named by the number the spreadsheet shows"


def test_row_numbers_survive_blank_rows_and_line_breaks_in_cells(tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    path.write_text('a,b\n\n,\n"two\nlines",x\nlast,y\n')
    assert list(read_sheet(path).frame.index) == [4, 6]


def test_a_decimal_comma_in_a_comma_file_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    path.write_text('name,size\nA,"1,5"\n')
    assert read_sheet(path).frame["size"].tolist() == ["1,5"]


def test_what_is_ambiguous_is_a_problem_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    path.write_text("a,b,a\n1,2,3\n1,2,3,4\n")
    problems = {(p.code, p.row, p.column) for p in read_sheet(path).problems}
    assert problems == {("sheet.duplicate_column", 1, "a"), ("sheet.long_row", 3, "")}


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    path.write_bytes(b"\xef\xbb\xbf\r\n\r\n")
    assert [p.code for p in read_sheet(path).problems if p.severity == "error"] == ["sheet.empty"]


_words = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=8)


@given(st.lists(st.tuples(_words, _words), min_size=1, max_size=6), st.sampled_from(",;\t"))
def test_cells_come_back_as_written(tmp_path_factory: pytest.TempPathFactory, rows: list, separator: str) -> None:
    path = tmp_path_factory.mktemp("sheet") / "s.csv"
    text = "\n".join(separator.join(row) for row in [("left", "right"), *rows])
    path.write_text(text, encoding="utf-8")
    assert [tuple(row) for row in read_sheet(path).frame.to_numpy()] == rows

"""Numbers of patients as they were meant, whatever the spreadsheet did to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openpyxl
import pytest

from cellprec.errors import FileFormatError, InputError
from cellprec.io.table import read_table
from cellprec.notes import get_notes

PLAIN = "patient_id,ferritin_ug_per_l,IL6\nP1,350.5,1\nP2,,2\n007,12,NA\n"
EXPECTED = np.array([[350.5, 1], [np.nan, 2], [12, np.nan]], dtype=np.float32)


def read(folder: Path, text: str, *, encoding: str = "utf-8", name: str = "t.csv", **how: str):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return read_table(path, sample_id="lab", **how)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (PLAIN, "utf-8"),
        (PLAIN, "utf-8-sig"),
        (PLAIN, "utf-16"),
        (PLAIN.replace("\n", "\r\n"), "utf-8"),
        (PLAIN.replace(",", "\t"), "utf-8"),
        (PLAIN.replace(",", ";").replace("350.5", "350,5"), "latin-1"),
        ("\n" + PLAIN.replace("P2", " P2 ") + "\n,,\n", "utf-8"),
        ("IL6,Patient ID,ferritin_ug_per_l\n1,P1,350.5\n2,P2,-\nn/a,007,12\n", "utf-8"),
    ],
)
def test_the_same_table_in_many_spellings(tmp_path: Path, text: str, encoding: str) -> None:
    adata = read(tmp_path, text, encoding=encoding, timepoint="d0")[:, ["ferritin_ug_per_l", "IL6"]]
    np.testing.assert_array_equal(adata.X, EXPECTED)
    np.testing.assert_array_equal(adata.layers["missing"], np.isnan(EXPECTED))
    assert adata.obs["patient_id"].tolist() == ["P1", "P2", "007"]
    assert adata.obs_names.tolist() == ["P1", "P2", "007"]
    assert adata.var["unit"].tolist() == ["ug_per_l", ""]
    assert adata.var["timepoint"].tolist() == ["d0", "d0"]
    adata.copy().write_h5ad(tmp_path / "s.h5ad")


def test_excel(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in [["patient_id", "crp_mg_per_l", None, "bulky"], [101, 5.5, None, "yes"], [], [102, None, None, "no"]]:
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    adata = read_table(tmp_path / "t.xlsx", sample_id="lab")
    np.testing.assert_array_equal(adata.X, np.array([[5.5, 1], [np.nan, 0]], dtype=np.float32))
    assert adata.obs_names.tolist() == ["101", "102"]
    (tmp_path / "bad.xlsx").write_bytes(b"PK\x03\x04 not a workbook")
    with pytest.raises(FileFormatError, match="workbook cannot be read"):
        read_table(tmp_path / "bad.xlsx", sample_id="lab")


def test_words(tmp_path: Path) -> None:
    text = "patient_id,sex,bulky,stage,note,il6\nP1,F,No,I,good,<5\nP2,M,YES,II,bad,7\nP3,F,,III,fair,8\n"
    adata = read(tmp_path, text + "P4,M,no,IV,good,9\n".replace("IV", "IV"))
    assert adata.var_names.tolist() == ["sex", "bulky", "il6"]
    expected = [[0, 0, np.nan], [1, 1, 7], [0, np.nan, 8], [1, 0, 9]]
    np.testing.assert_array_equal(adata.X, np.array(expected, dtype=np.float32))
    notes = [note.text for note in get_notes(adata)]
    assert "column sex was coded f = 0, m = 1" in notes
    assert "column bulky was coded no = 0, yes = 1" in notes
    told = "column il6 has 1 cell that is no number, taken as missing: it is '<5' in row 2"
    assert f"{told}; values beyond a limit are lost so" in notes
    assert "column stage was dropped: 'I' in row 2 is not a number (4 such cells)" in notes


def test_decimal_commas_only_where_semicolons_separate(tmp_path: Path) -> None:
    adata = read(tmp_path, "patient_id;a;b\nP1;1,25;3\nP2;-2,5;4\n")
    np.testing.assert_array_equal(adata[:, "a"].X.ravel(), np.array([1.25, -2.5], dtype=np.float32))
    assert {note.code: note.count for note in get_notes(adata)} == {"table.decimal_comma": 2}
    adata = read(tmp_path, 'patient_id,a,b\nP1,"1,250",3\nP2,7,4\n')
    assert adata.var_names.tolist() == ["b"]


@pytest.mark.parametrize(("numbers", "kept"), [(4, True), (3, False)])
def test_a_column_stays_while_two_thirds_of_its_cells_are_numbers(tmp_path: Path, numbers: int, kept: bool) -> None:
    cells = ["high", *(str(i) for i in range(numbers)), "hemolysed", ""]
    rows = "".join(f"P{i},{i},{cell}\n" for i, cell in enumerate(cells))
    adata = read(tmp_path, f"patient_id,a,b\n{rows}")
    (note,) = get_notes(adata)
    assert ("b" in adata.var_names) == kept
    if kept:
        values = adata[:, "b"].X.ravel()
        np.testing.assert_array_equal(values, np.array([np.nan, 0, 1, 2, 3, np.nan, np.nan], dtype=np.float32))
        assert adata[:, "b"].layers["missing"].ravel().tolist() == [1, 0, 0, 0, 0, 1, 1]
        assert (note.code, note.count) == ("table.cells", 2)
        assert note.text == ("column b has 2 cells that are no number, taken as missing: the first is 'high' in row 2")
    else:
        assert note.code == "table.dropped"
        assert note.text == "column b was dropped: 'high' in row 2 is not a number (2 such cells)"


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u202f"])
def test_blanks_between_thousands(tmp_path: Path, blank: str) -> None:
    text = f"patient_id;a\nP1;1{blank}234,5\nP2;-12{blank}345{blank}678\nP3;7,25\n"
    adata = read(tmp_path, text)
    np.testing.assert_array_equal(adata.X.ravel(), np.array([1234.5, -12345678, 7.25], dtype=np.float32))
    assert [(note.code, note.count) for note in get_notes(adata)] == [("table.decimal_comma", 3)]
    odd = read(tmp_path, f"patient_id;a;b\nP1;1{blank}23;1\nP2;12{blank}3456;2\n")
    assert odd.var_names.tolist() == ["b"]
    assert [note.code for note in get_notes(odd)] == ["table.dropped"]


def test_numbers_that_a_workbook_holds_as_text(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    rows = [["patient_id", "crp", "ferritin", "unclear"], ["P1", "4,7", "1\u00a0234,5", "1,250"]]
    rows += [["P2", "0,125", 350.5, "2,500"], ["P3", 12, "12 000", 7]]
    for row in rows:
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    adata = read_table(tmp_path / "t.xlsx", sample_id="lab")
    assert adata.var_names.tolist() == ["crp", "ferritin"]
    expected = np.array([[4.7, 1234.5], [0.125, 350.5], [12, 12000]], dtype=np.float32)
    np.testing.assert_array_equal(adata.X, expected)
    notes = {note.code: note for note in get_notes(adata)}
    assert notes["table.decimal_comma"].count == 4
    assert "'1,250' in row 2" in notes["table.dropped"].text


@pytest.mark.parametrize("bytes_", [b"", b"\x81"])
def test_bytes_that_are_not_utf8_are_those_of_windows(tmp_path: Path, bytes_: bytes) -> None:
    header = "patient_id;l’IL‑6 – dosage €;œdème\n".replace("‑", "-")
    (tmp_path / "t.csv").write_bytes(header.encode("cp1252") + b"P\xe9" + bytes_ + b";1,5;2\n")
    adata = read_table(tmp_path / "t.csv", sample_id="lab")
    assert adata.var_names.tolist() == ["l’IL-6 – dosage €", "œdème"]
    assert adata.obs_names.tolist() == ["Pé" + bytes_.decode("latin-1")]


def test_infinity_is_not_a_number(tmp_path: Path) -> None:
    assert read(tmp_path, "patient_id,a,b\nP1,inf,3\nP2,7,4\n").var_names.tolist() == ["b"]


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("ferritin_ug_per_l", "ug_per_l"),
        ("platelets_10e9_per_l", "10e9_per_l"),
        ("platelets_per_ul", "per_ul"),
        ("car_copies_per_ug", "copies_per_ug"),
        ("age_years", "years"),
        ("weight_kg", "kg"),
        ("blasts_percent", "percent"),
        ("IL6", ""),
        ("chimerism_score", ""),
    ],
)
def test_units(tmp_path: Path, name: str, unit: str) -> None:
    assert read(tmp_path, f"patient_id,{name}\nP1,1\n").var["unit"].tolist() == [unit]


def test_bad_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'P1' has several rows, and so have 1 others") as caught:
        read(tmp_path, "patient_id,a\nP1,1\nP2,2\nP1,3\nP2,4\n")
    assert caught.value.where.endswith("rows 2, 4")
    with pytest.raises(InputError, match="no patient") as caught:
        read(tmp_path, "patient_id,a\nP1,1\n,2\n")
    assert "row 3" in caught.value.where
    with pytest.raises(InputError, match="no numeric feature"):
        read(tmp_path, "patient_id,a\nP1,x\nP2,y\nP3,z\n")
    with pytest.raises(FileFormatError, match="two columns are named 'a'"):
        read(tmp_path, "patient_id,a,a\nP1,1,2\n")
    with pytest.raises(FileFormatError, match="empty"):
        read(tmp_path, "")
    with pytest.raises(InputError, match="no such file"):
        read_table(tmp_path / "absent.xlsx", sample_id="lab")

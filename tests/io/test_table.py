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
    assert adata.var_names.tolist() == ["sex", "bulky"]
    np.testing.assert_array_equal(adata.X, np.array([[0, 0], [1, 1], [0, np.nan], [1, 0]], dtype=np.float32))
    notes = [note.text for note in get_notes(adata)]
    assert "column sex was coded f = 0, m = 1" in notes
    assert "column bulky was coded no = 0, yes = 1" in notes
    assert "column il6 was dropped: '<5' in row 2 is not a number" in notes
    assert "column stage was dropped: 'I' in row 2 is not a number (4 such cells)" in notes


def test_decimal_commas_only_where_semicolons_separate(tmp_path: Path) -> None:
    adata = read(tmp_path, "patient_id;a;b\nP1;1,25;3\nP2;-2,5;4\n")
    np.testing.assert_array_equal(adata[:, "a"].X.ravel(), np.array([1.25, -2.5], dtype=np.float32))
    assert {note.code: note.count for note in get_notes(adata)} == {"table.decimal_comma": 2}
    adata = read(tmp_path, 'patient_id,a,b\nP1,"1,250",3\nP2,7,4\n')
    assert adata.var_names.tolist() == ["b"]


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

"""Clone counts from every layout in use, and no number that is not a count."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellprec.errors import FileFormatError, InputError
from cellprec.io.counts import clone_counts, read_counts
from cellprec.notes import get_notes

DATA = Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[3] / "shared" / "data")) / "barcodes"
A, B, C = "ACGTACGTAC", "TTTTACGTAC", "GGGGACGTAC"


def read(folder: Path, text: str, **how: str):
    path = folder / "counts.txt"
    path.write_text(text)
    return read_counts(path, **{"sample_id": "s1", **how})


def held(adata) -> dict[str, int]:
    return dict(zip(adata.var_names, adata.X.toarray()[0].astype(int).tolist(), strict=True))


LAYOUTS = {
    "wide": f"barcode,s1,s2\n{A},5,1\n{B},0,2\n{C},3,0\n",
    "tabs": f"barcode\ts1\ts2\n{A}\t5\t1\n{B}\t0\t2\n{C}\t3\t0\n",
    "semicolons": f"barcode;s1;s2\r\n{A};5;1\r\n{B};;2\r\n{C};3.0;0\r\n",
    "as R writes it": f"s1\ts2\n{A}\t5\t1\n{B}\t0\t2\n{C}\t3\t0\n",
    "byte order mark": f"\ufeffbarcode,s1,s2\n{A},5,1\n{B},NA,2\n\n{C},3,0\n",
    "long": f"sample,barcode,count\ns1,{A},5\ns2,{A},1\ns2,{B},2\ns1,{C},3\n",
    "long, other names": f"Read_Count;sample_name;known_barcode\n5;s1;{A}\n1;s2;{A}\n3;s1;{C}\n",
    "long, split rows": f"sample,barcode,count\ns1,{A},2\ns1,{A},3\ns1,{C},3\n",
    "one library": f"barcode,reads\n{A},5\n{B},0\n{C},3\n",
    "count first": f"read_count,barcode\n5,{A}\n3,{C}\n",
    "small letters": f"barcode,s1\n{A.lower()},5\n{C.lower()},3\n",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path: Path, layout: str) -> None:
    adata = read(tmp_path, LAYOUTS[layout])
    assert held(adata) == {A: 5, C: 3}
    assert adata.var["sequence"].tolist() == [A, C]
    assert adata.var["source"].unique().tolist() == ["barcode"]
    assert adata.obs_names.tolist() == ["s1"]
    assert adata.X.dtype == np.float32
    assert adata.uns["cellprec"]["unit"] == "reads"
    adata.write_h5ad(tmp_path / "s.h5ad")


def test_gzip_and_column(tmp_path: Path) -> None:
    path = tmp_path / "counts.csv.gz"
    path.write_bytes(gzip.compress(LAYOUTS["wide"].encode()))
    assert held(read_counts(path, sample_id="drug", column="s2")) == {B: 2, A: 1}
    assert held(read(tmp_path, LAYOUTS["long"], sample_id="x", column="s2")) == {B: 2, A: 1}


@pytest.mark.parametrize(
    "text",
    [
        "chr,integration_locus,strand,GeneName,Value\n1,1034971,-,C1orf159,4\nchrX,77,+,,2\n",
        "chr\tintegration_locus\tstrand\tGeneName\tGeneStrand\ts1\ts2\n1\t1034971\t-\tC1orf159\t-\t4\t0\nX\t77\t+\t\t\t2\tNA\n",
        "chr,integration_locus,strand,CompleteAmplificationID,seqCount\n1,1034971.0,-,s1,4\nX,77,+,s1,2\nX,77,+,s2,9\n",
    ],
)
def test_integration_sites(tmp_path: Path, text: str) -> None:
    adata = read(tmp_path, text)
    assert held(adata) == {"chr1:1034971:-": 4, "chrX:77:+": 2}
    assert adata.var["source"].unique().tolist() == ["integration site"]
    assert adata.var["sequence"].unique().tolist() == [""]


def test_named_clones_have_no_sequence(tmp_path: Path) -> None:
    adata = read(tmp_path, "clone,s1\nBFP_Barcode_12,4\n")
    assert adata.var["sequence"].tolist() == [""]
    assert adata.var["source"].tolist() == ["barcode"]


def test_a_sequence_names_a_clone_before_its_number(tmp_path: Path) -> None:
    assert held(read(tmp_path, f"cloneId,cloneCount,nSeqCDR3\n0,7,{A}\n1,5,{B}\n")) == {A: 7, B: 5}


@pytest.mark.parametrize(("name", "unit"), [("umi_count", "UMIs"), ("n_cells", "cells"), ("reads", "reads")])
def test_units(tmp_path: Path, name: str, unit: str) -> None:
    assert read(tmp_path, f"barcode,{name}\n{A},5\n").uns["cellprec"]["unit"] == unit


def test_what_was_repaired_is_noted(tmp_path: Path) -> None:
    adata = read(tmp_path, f"barcode,library_7\n{A},5\n{B},\n{A},2\n")
    assert held(adata) == {A: 7}
    assert {note.code: note.count for note in get_notes(adata)} == {
        "counts.only_library": None, "counts.absent": 1, "counts.duplicates": 1,
    }  # fmt: skip
    assert [note.code for note in get_notes(read(tmp_path, f"barcode,s1,s2\n{A},0,1\n"))] == ["counts.none"]


@pytest.mark.parametrize("value", ["2411.2", "-3", "many", "inf", "1,5", "nan7"])
def test_what_is_no_count_is_refused_with_its_row(tmp_path: Path, value: str) -> None:
    with pytest.raises(InputError, match="is not a count") as caught:
        read(tmp_path, f"barcode;s1\n{A};5\n\n{B};{value}\n")
    assert caught.value.where.endswith("row 4, column s1")


def test_an_unknown_library_is_refused_with_the_nearest_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no library 'DMSO-1'") as caught:
        read(tmp_path, f"barcode,DMSO_1,IBET_1\n{A},5,4\n", sample_id="DMSO-1")
    assert "'DMSO_1'" in caught.value.fix
    with pytest.raises(InputError, match="no library 's9'"):
        read(tmp_path, LAYOUTS["long"], sample_id="s9")
    with pytest.raises(InputError, match="no library 's9'"):
        read(tmp_path, f"barcode,reads\n{A},5\n", column="s9")


def test_samples_without_a_name_are_not_mixed(tmp_path: Path) -> None:
    text = "chr,integration_locus,strand,CellType,TimePoint,seqCount_sum\n1,5,-,B,24,1\n1,5,-,Myeloid,12,1\n"
    with pytest.raises(InputError, match="differ in CellType, TimePoint"):
        read(tmp_path, text)


def test_other_bad_tables(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="empty"):
        read(tmp_path, "\n \n")
    with pytest.raises(FileFormatError, match="two columns are named 's1'"):
        read(tmp_path, "barcode,s1,s1\nA,1,2\n")
    with pytest.raises(FileFormatError, match="3 cells but the header has 2") as caught:
        read(tmp_path, f"barcode,s1\n{A},5\n{B},5,6\n")
    assert caught.value.where.endswith("row 3")
    with pytest.raises(FileFormatError, match="no column of counts"):
        read(tmp_path, f"barcode\n{A}\n")
    with pytest.raises(InputError, match="have no name"):
        read(tmp_path, f"barcode,s1\n{A},5\n,9\n")
    with pytest.raises(InputError, match="'1,034'"):
        read(tmp_path, 'chr,integration_locus,strand,Value\n1,"1,034",-,4\n')
    with pytest.raises(InputError, match="no such file"):
        read_counts(tmp_path / "absent.csv", sample_id="s1")
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(gzip.compress(LAYOUTS["wide"].encode())[:-6])
    with pytest.raises(FileFormatError, match="to its end"):
        read_counts(path, sample_id="s1")
    path.write_bytes(b"PK\x03\x04\x00\x00\x00")
    with pytest.raises(FileFormatError, match="Excel"):
        read_counts(path, sample_id="s1")


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text("ACGT", min_size=6, max_size=9), st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=20
    )
)
def test_wide_and_long_say_the_same(
    tmp_path_factory: pytest.TempPathFactory, counts: dict[str, tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("counts")
    wide = "clone,s1,s2\n" + "".join(f"{name},{one},{two}\n" for name, (one, two) in counts.items())
    rows = [f"{name},{s},{n}\n" for name, both in counts.items() for s, n in zip(("s1", "s2"), both, strict=True)]
    expected = {name: one for name, (one, _) in counts.items() if one}
    assert held(read(folder, wide)) == expected
    if rows:
        assert held(read(folder, "clone,sample,umis\n" + "".join(rows))) == expected


def test_counts_beyond_seven_digits_are_noted() -> None:
    adata = clone_counts([A], np.array([2**24 + 1]), sample_id="s")
    assert [note.code for note in get_notes(adata)] == ["counts.rounded"]


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason="real data sets are absent")
def test_published_totals() -> None:
    def total(file: str, columns: list[str]) -> float:
        return sum(float(read_counts(DATA / file, sample_id=column).X.sum(dtype=np.float64)) for column in columns)

    def header(file: str) -> list[str]:
        with gzip.open(DATA / file, "rt") as handle:
            return handle.readline().rstrip("\n").split("\t")

    was5 = "barcodetrackr/WAS5_reads.txt.gz"
    assert total(was5, header(was5)) == 18_328_731
    mouse = "barcodetrackr/count_matrix_mouse_C21.txt.gz"
    assert total(mouse, [name for name in header(mouse) if name]) == 643_576
    macaque = "barcodetrackr/sample_data_ZJ31.txt.gz"
    assert total(macaque, [name for name in header(macaque) if name][:2]) > 1e6
    with pytest.raises(InputError, match=r"2411.19"):
        read_counts(DATA / "celldestiny_lung_dc" / "Analysis_matrix_Mouse_Lung_cDCs.csv.gz", sample_id="cDC1_2")

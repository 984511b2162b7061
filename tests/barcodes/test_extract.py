"""Barcodes must come out of reads as they were put in, and every read must be accounted for."""

from __future__ import annotations

import gzip
import os
import re
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellprec.barcodes.extract import READS, extract
from cellprec.errors import FileFormatError, UsageError
from cellprec.notes import get_notes

DATA = Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[3] / "shared" / "data")) / "barcodes"
LEFT, RIGHT = "GTGGAAAGGACGAAACACCG", "GTTTTAGAGCTAGAAATAGC"
BARCODE = "ACGTTGCAACGTTGCAACGT"


def write_reads(path: Path, reads: list[str]) -> Path:
    text = "".join(f"@r{n}\n{read}\n+\n{'I' * len(read)}\n" for n, read in enumerate(reads))
    path.write_bytes(gzip.compress(text.encode(), 1))
    return path


def reverse_complement(read: str) -> str:
    return read[::-1].translate(str.maketrans("ACGTN", "TGCAN"))


def found(path: Path, **design: object) -> dict[str, int]:
    adata = extract(path, sample_id="s", **{"left": LEFT, "right": RIGHT, "length": 20, **design})
    return dict(zip(adata.var_names, adata.X.toarray()[0].astype(int).tolist(), strict=True))


def test_each_reason_for_losing_a_read_is_told_apart(tmp_path: Path) -> None:
    reads = {
        "kept": f"CC{LEFT}{BARCODE}{RIGHT}A",
        "reverse": reverse_complement(f"CC{LEFT}{BARCODE}{RIGHT}A"),
        "mismatch": f"CC{LEFT[:5]}T{LEFT[6:]}{BARCODE}{RIGHT}A",
        "cut": f"CC{LEFT}{BARCODE}{RIGHT[:9]}",
        "no flank": "ACGT" * 20,
        "too short": f"CC{LEFT}{BARCODE[:19]}{RIGHT}AA",
        "too long": f"CC{LEFT}{BARCODE}A{RIGHT}",
        "read ends": f"CC{LEFT}{BARCODE[:12]}",
        "pattern": f"CC{LEFT}{'G' * 20}{RIGHT}",
        "n": f"CC{LEFT}{BARCODE[:7]}N{BARCODE[8:]}{RIGHT}",
    }
    path = write_reads(tmp_path / "reads.fastq.gz", list(reads.values()))
    adata = extract(path, sample_id="s", left=LEFT, right=RIGHT, pattern="ACGTN16")
    assert adata.uns[READS] == {
        "total": 10, "kept": 4, "no_flank": 1, "wrong_length": 3, "pattern": 1, "n_base": 1,
    }  # fmt: skip
    assert adata.var_names.tolist() == [BARCODE]
    assert adata.var["sequence"].tolist() == [BARCODE]
    counts = {note.code: note.count for note in get_notes(adata)}
    assert counts["barcodes.reverse"] == 1
    assert counts["barcodes.mismatched"] == 1
    assert counts["barcodes.wrong_length"] == 3


def test_mismatches_are_allowed_up_to_the_limit(tmp_path: Path) -> None:
    two_wrong = f"{LEFT[:5]}T{LEFT[6:12]}T{LEFT[13:]}"
    path = write_reads(tmp_path / "reads.fastq.gz", [f"{two_wrong}{BARCODE}{RIGHT}"])
    assert found(path, max_mismatches=1) == {}
    assert found(path, max_mismatches=2) == {BARCODE: 1}


@settings(max_examples=40, deadline=None)
@given(
    reads=st.lists(st.text("ACGTN", max_size=90), max_size=20),
    planted=st.lists(st.text("ACGT", min_size=18, max_size=22), max_size=10),
    most=st.integers(0, 2),
)
def test_reads_add_up_whatever_they_are(
    tmp_path_factory: pytest.TempPathFactory, reads: list[str], planted: list[str], most: int
) -> None:
    folder = tmp_path_factory.mktemp("reads")
    path = write_reads(folder / "reads.fastq.gz", [*reads, *(LEFT + barcode + RIGHT for barcode in planted)])
    adata = extract(path, sample_id="s", left=LEFT, right=RIGHT, length=20, max_mismatches=most)
    counted = dict(adata.uns[READS])
    assert counted["total"] == len(reads) + len(planted)
    assert counted.pop("total") == sum(counted.values())
    assert counted["kept"] == int(adata.X.sum())
    held = Counter(dict(zip(adata.var_names, adata.X.toarray()[0], strict=True)))
    assert all(held[barcode] >= n for barcode, n in Counter(planted).items() if len(barcode) == 20)


def test_agrees_with_a_regular_expression_on_noisy_reads(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    bases = np.array(list("ACGT"))
    reads = []
    for _ in range(3000):
        read = np.array(list("".join(rng.choice(bases, 10)) + LEFT + "".join(rng.choice(bases, 20)) + RIGHT))
        hit = rng.random(len(read)) < 0.01
        read[hit] = rng.choice(bases, int(hit.sum()))
        reads.append("".join(read))
    expected = Counter(m[1] for read in reads if (m := re.search(f"{LEFT}([ACGT]{{20}}){RIGHT}", read)))
    path = write_reads(tmp_path / "reads.fastq.gz", reads)
    assert found(path, max_mismatches=0) == dict(expected)


def test_variable_length_and_right_flank_only(tmp_path: Path) -> None:
    path = write_reads(tmp_path / "reads.fastq.gz", [f"{LEFT}ACGTACG{RIGHT}", f"{LEFT}ACGTA{RIGHT}TT"])
    assert found(path, length=None) == {"ACGTACG": 1, "ACGTA": 1}
    assert found(path, left="", length=5) == {"GTACG": 1, "ACGTA": 1}


def test_speed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bases = np.frombuffer(b"ACGT", dtype=np.uint8)
    block = bases[rng.integers(0, 4, (50_000, 20))]
    reads = [LEFT + row.tobytes().decode() + RIGHT for row in block]
    path = write_reads(tmp_path / "reads.fastq.gz", reads)
    begin = time.process_time()
    assert sum(found(path).values()) == 50_000
    assert time.process_time() - begin < 2.0  # 0.3 s on an idle core


@pytest.mark.parametrize(
    ("design", "said"),
    [
        ({"left": "ACG", "right": ""}, "flanks have 3 bases"),
        ({"left": "ACGNNN"}, "letters other than"),
        ({"pattern": "N21"}, "21 bases"),
        ({"pattern": "NXN"}, "'X'"),
        ({"right": "", "length": None}, "length of the barcode must be known"),
        ({"max_mismatches": 20}, "max_mismatches"),
    ],
)
def test_designs_that_cannot_work_are_refused(tmp_path: Path, design: dict[str, object], said: str) -> None:
    path = write_reads(tmp_path / "reads.fastq.gz", ["ACGT"])
    with pytest.raises(UsageError, match=said):
        found(path, **design)


def test_truncated_file_gives_no_counts(tmp_path: Path) -> None:
    path = write_reads(tmp_path / "reads.fastq.gz", [LEFT + BARCODE + RIGHT] * 500)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileFormatError, match="to its end"):
        found(path)


def test_empty_file_is_no_barcode_and_a_note(tmp_path: Path) -> None:
    adata = extract(write_reads(tmp_path / "reads.fastq.gz", []), sample_id="s", left=LEFT, right=RIGHT, length=20)
    assert adata.shape == (1, 0)
    assert [note.code for note in get_notes(adata)] == ["barcodes.no_reads"]
    adata.write_h5ad(tmp_path / "s.h5ad")


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason="real data sets are absent")
def test_published_libraries() -> None:
    mef = sorted((DATA / "cellbarcode_mef").glob("*BCM*.fastq.gz"))
    flanks = {"left": "CTCGAGGTCATCGAAGTATC", "right": "CCGTAGCAAGCTCGAGAGTAGACCTACT", "length": None}
    matched = [sum(found(path, **flanks, max_mismatches=0).values()) for path in mef]
    assert (min(matched), max(matched)) == (1325, 1426)
    pycashier = found(DATA / "pycashier" / "rawfastqgzs" / "test.fastq.gz")
    assert max(pycashier, key=pycashier.__getitem__) == "TTGGGGTTACGTTTGTTGGT"

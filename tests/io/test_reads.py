"""Every read once, and no silence where a file ends too early."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from cellprec.errors import FileFormatError, InputError
from cellprec.io.reads import iterate_reads

TEXT = "".join(f"@r{n}\nACGTN\n+\nIIII#\n" for n in range(2000))


@pytest.mark.parametrize("name", ["reads.fastq", "reads.fastq.gz", "no_suffix"])
def test_reads_plain_and_compressed(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(TEXT.encode()) if name.endswith("gz") else TEXT.encode())
    reads = list(iterate_reads(path))
    assert len(reads) == 2000
    assert reads[0] == ("ACGTN", "IIII#")


def test_several_gzip_members_are_all_read(tmp_path: Path) -> None:
    path = tmp_path / "lanes.fastq.gz"
    path.write_bytes(gzip.compress(TEXT.encode()) * 2)
    assert sum(1 for _ in iterate_reads(path)) == 4000


def test_compressed_whatever_the_name_says(tmp_path: Path) -> None:
    path = tmp_path / "reads.fastq"
    path.write_bytes(gzip.compress(TEXT.encode()))
    assert sum(1 for _ in iterate_reads(path)) == 2000


@pytest.mark.parametrize("cut", [30, 3, 9])
def test_a_file_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "reads.fastq.gz"
    path.write_bytes(gzip.compress(TEXT.encode())[:-cut])
    with pytest.raises(FileFormatError, match="to its end"):
        list(iterate_reads(path))


@pytest.mark.parametrize(
    "content", [b">seq\nACGT\n", b"@r\nACGT\n+\nII\n", b"hello\n", bytes(range(256)), b"@r\nACGT\n"]
)
def test_what_is_not_fastq_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "reads.fastq"
    path.write_bytes(content)
    with pytest.raises(FileFormatError):
        list(iterate_reads(path))


def test_empty_and_absent(tmp_path: Path) -> None:
    for name, content in (("empty.fastq", b""), ("empty.fastq.gz", gzip.compress(b""))):
        (tmp_path / name).write_bytes(content)
        assert list(iterate_reads(tmp_path / name)) == []
    with pytest.raises(InputError, match="no such file"):
        list(iterate_reads(tmp_path / "absent.fastq"))

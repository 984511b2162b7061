"""Damaged FCS files: what is read is right or noted, everything else a typed error, in little time and memory."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from tests.io.fcs.cases import all_cases
from tests.io.fcs.maker import FLOATS, N_EVENTS, fcs
from tests.io.fcs.mutants import mutants

from cellprec.errors import CellprecError
from cellprec.io.fcs import read_fcs, read_fcs_header
from cellprec.io.fcs.text import whole
from cellprec.notes import get_notes

BASES = [case.content for case in all_cases().values()]
SECONDS_PER_MB = 1.0
SLACK_BYTES = 8 << 20
SLOW = int(os.environ.get("CELLPREC_FUZZ", "50000"))


def outcome(path: Path) -> str:
    """Read a file; return what came of it, fail where it is neither a consistent table nor a typed error."""
    try:
        adata = read_fcs(path)
    except CellprecError:
        return "refused"
    codes = {note.code for note in get_notes(adata)}
    keywords = json.loads(adata.uns["fcs"]["keywords"])
    assert adata.X.dtype in (np.float32, np.float64)
    if whole(keywords.get("$TOT")) != adata.n_obs:
        assert "fcs.events" in codes, keywords.get("$TOT")
    if whole(keywords.get("$PAR")) != adata.n_vars:
        assert "fcs.parameters" in codes, keywords.get("$PAR")
    assert adata.var_names.is_unique
    header = read_fcs_header(path)
    assert (header.n_events, len(header.channels)) == adata.shape
    return "read"


def run(path: Path, *, n: int, seed: int) -> dict[str, int]:
    told = {"read": 0, "refused": 0}
    for content in mutants(BASES, n=n, seed=seed):
        path.write_bytes(content)
        start = time.process_time()
        told[outcome(path)] += 1
        spent = time.process_time() - start
        assert spent <= SECONDS_PER_MB * max(len(content) / 1e6, 1), f"{spent:.2f} s"
    return told


def test_damaged_files(tmp_path: Path) -> None:
    told = run(tmp_path / "a.fcs", n=2000, seed=0)
    assert min(told.values()) > 200, told


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_damaged_files_in_number(tmp_path: Path, seed: int) -> None:
    told = run(tmp_path / "a.fcs", n=-(-SLOW // 5), seed=seed)
    assert sum(told.values()) >= SLOW // 5


def peak(path: Path) -> int:
    tracemalloc.start()
    try:
        outcome(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_of_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "a.fcs"
    for content in mutants(BASES, n=60, seed=10):
        path.write_bytes(content)
        assert peak(path) <= 10 * len(content) + SLACK_BYTES


def test_memory_of_damaged_megabytes(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(size=(60_000, 5)).astype("<f4").tobytes()
    bases = [fcs(data, TOT="60000"), fcs(data, TOT="60000", DATATYPE="I", bits=[16] * 5), fcs(data, drop=["TOT"])]
    bases.append(fcs((b"1 22 333 4 5\n" * 90_000), TOT="90000", DATATYPE="A", bits=["*"] * 5))
    path = tmp_path / "a.fcs"
    for content in [*bases, *mutants(bases, n=24, seed=11)]:
        path.write_bytes(content)
        start = time.process_time()
        used = peak(path)
        # tracing slows everything down several times
        assert time.process_time() - start <= 4 * SECONDS_PER_MB * max(len(content) / 1e6, 1)
        assert used <= 10 * len(content) + SLACK_BYTES, (used, len(content), content[:100])


FIELDS = ("$TOT/", "$PAR/", "$BEGINDATA/", "$ENDDATA/", "$P3B/", "$NEXTDATA/", "$BEGINSTEXT/", "$ENDSTEXT/")


def spoiled() -> list[bytes]:
    """Return the plain file with one number wrong, for each number of the layout and many wrong values."""
    made = []
    for tail in (b"", b"00000000", b"x" * 50):
        plain = fcs(tail=tail)
        spans = [(10 + 8 * index, 18 + 8 * index) for index in range(6)]
        for key in FIELDS:
            start = plain.index(key.encode()) + len(key)
            spans.append((start, plain.index(b"/", start)))
        for start, stop in spans:
            right = int(plain[start:stop])
            near = [right + by for by in (-40, -20, -4, -3, -2, -1, 1, 2, 3, 4, 20, 40)]
            for number in {*near, 0, 1, 3, 6, 8, 9, 57, 58, 100, 10**6} - {right}:
                text = f"{number:{stop - start}d}".encode()
                if number >= 0 and len(text) == stop - start:
                    made.append(plain[:start] + text + plain[stop:])
    return made


def test_one_wrong_number_never_gives_wrong_values(tmp_path: Path) -> None:
    path = tmp_path / "a.fcs"
    files = spoiled()
    read = 0
    for content in files:
        path.write_bytes(content)
        try:
            adata = read_fcs(path)
        except CellprecError:
            continue
        read += 1
        np.testing.assert_array_equal(adata.X, FLOATS, err_msg=str(content[:600]))
    assert len(files) > 400
    assert read > len(files) // 2


@pytest.mark.parametrize("tail", [b"", b"00000000"])
def test_two_wrong_places_never_give_wrong_values(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "a.fcs"
    read = 0
    for tb, te, hb, he in product((-4, -1, 0, 1, 4), (-1, 0, 1), (-4, -1, 0, 1, 4), (-1, 0, 4)):

        def said(begin: int, end: int, by: tuple[int, int] = (tb, te)) -> tuple[int, int]:
            return begin + by[0], end + by[1]

        def header(begin: int, end: int, by: tuple[int, int] = (hb, he)) -> tuple[int, int]:
            return begin + by[0], end + by[1]

        path.write_bytes(fcs(said=said, header=header, tail=tail))
        try:
            adata = read_fcs(path)
        except CellprecError:
            continue
        read += 1
        np.testing.assert_array_equal(adata.X, FLOATS, err_msg=str((tb, te, hb, he)))
        assert "fcs.offsets" in {note.code for note in get_notes(adata)} or (tb, te, hb, he) == (0, 0, 0, 0)
    assert read > 200


def test_damage_outside_the_events_changes_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    path = tmp_path / "a.fcs"
    printable = np.frombuffer(bytes(byte for byte in range(32, 127) if byte != ord("/")), dtype=np.uint8)
    for _ in range(150):
        comment = rng.choice(printable, int(rng.integers(1, 60))).tobytes()
        tail = rng.bytes(int(rng.integers(0, 60)))
        path.write_bytes(fcs(raw=b"COMMENT/" + comment + b"/", tail=tail))
        adata = read_fcs(path)
        np.testing.assert_array_equal(adata.X, FLOATS)
        assert adata.n_obs == N_EVENTS
        assert get_notes(adata) == []

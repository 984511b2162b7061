"""Parts of an FCS file, gzipped files, many data sets: what is read, what it costs, and what is refused."""

from __future__ import annotations

import gzip
import json
import math
import tracemalloc
from pathlib import Path

import anndata
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellprec.errors import FileFormatError, UsageError
from cellprec.io.fcs import data as fcs_data
from cellprec.io.fcs import read_fcs, read_fcs_events, read_fcs_header
from cellprec.notes import get_notes

EASY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CHANNELS = ("FSC-A", "FITC-A", "PE-A", "Time")
MARKERS = ("", "CD3", "CD4", "")


def make(data: bytes, n_events: int, *, channels=CHANNELS, markers=MARKERS, next_data=0, **keywords: str) -> bytes:
    """Build a data set byte by byte."""
    pairs = {"BYTEORD": "1,2,3,4", "DATATYPE": "F", "MODE": "L", "PAR": str(len(channels)), "TOT": str(n_events)}
    for number, (channel, marker) in enumerate(zip(channels, markers, strict=True), start=1):
        pairs |= {f"P{number}N": channel, f"P{number}B": "32", f"P{number}E": "0,0", f"P{number}R": "262144"}
        pairs |= {f"P{number}S": marker} if marker else {}
    pairs |= keywords
    body = "/" + "".join(f"${key}/{value}/" for key, value in pairs.items())
    begin = 58 + len(body) + len(f"$BEGINDATA/{0:12}/$ENDDATA/{0:12}/$NEXTDATA/{0:12}/")
    end = begin + len(data) - 1
    text = body + f"$BEGINDATA/{begin:12}/$ENDDATA/{end:12}/$NEXTDATA/{next_data:12}/"
    head = "FCS3.1    " + "".join(f"{place:8}" for place in (58, begin - 1, begin, end, 0, 0))
    return (head + text).encode() + data


def values(n_events: int, *, n_channels: int = 4) -> np.ndarray:
    return np.random.default_rng(7).normal(100, 50, (n_events, n_channels)).astype("<f4")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "P01.fcs"
    path.write_bytes(make(values(50).tobytes(), 50, SPILLOVER="2,FITC-A,PE-A,1,0.1,0.05,1"))
    return path


def codes(adata) -> list[str]:
    return [note.code for note in get_notes(adata)]


SELECTIONS = st.one_of(
    st.slices(50),
    st.lists(st.integers(0, 49), unique=True, max_size=50),
    st.lists(st.booleans(), min_size=50, max_size=50).map(np.array),
)
LAYOUTS = (
    "float",
    "big endian",
    "double",
    "mixed order",
    "16 bits",
    "24 bits",
    "packed",
    "mixed types",
    "text",
    "words",
)


def written(kind: str, *, block: np.ndarray) -> bytes:
    """Write whole numbers up to 2**10 in one of the ways of the standard."""
    numbers = block.astype(int)
    n = len(numbers)
    if kind == "packed":
        keywords = {f"P{i}B": "11" for i in range(1, 5)} | {f"P{i}R": "2048" for i in range(1, 5)}
        bits = "".join(f"{value:011b}" for value in numbers.ravel())
        data = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
        return make(data, n, DATATYPE="I", BYTEORD="4,3,2,1", **keywords)
    if kind == "24 bits":
        data = b"".join(int(value).to_bytes(3, "little") for value in numbers.ravel())
        return make(data, n, DATATYPE="I", **{f"P{i}B": "24" for i in range(1, 5)})
    if kind == "mixed types":
        record = np.dtype([("a", "<f4"), ("b", "<u2"), ("c", "<f8"), ("d", "u1")])
        data = np.array([(a, b, c, d % 256) for a, b, c, d in numbers.tolist()], dtype=record).tobytes()
        keywords = {"P2DATATYPE": "I", "P2B": "16", "P3DATATYPE": "D", "P3B": "64", "P4DATATYPE": "I", "P4B": "8"}
        return make(data, n, **keywords)
    if kind == "mixed order":
        raw = block.astype("<f4").view(np.uint8).reshape(-1, 4)[:, [2, 3, 0, 1]]
        return make(raw.tobytes(), n, BYTEORD="3,4,1,2")
    if kind == "text":
        data = "".join(f"{value:5}" for value in numbers.ravel()).encode()
        return make(data, n, DATATYPE="A", **{f"P{i}B": "5" for i in range(1, 5)})
    if kind == "words":
        data = " ".join(str(value) for value in numbers.ravel()).encode()
        return make(data, n, DATATYPE="A", **{f"P{i}B": "*" for i in range(1, 5)})
    dtype, keywords = {
        "float": ("<f4", {}),
        "big endian": (">f4", {"BYTEORD": "4,3,2,1"}),
        "double": ("<f8", {"DATATYPE": "D"} | {f"P{i}B": "64" for i in range(1, 5)}),
        "16 bits": (">u2", {"DATATYPE": "I", "BYTEORD": "4,3,2,1"} | {f"P{i}B": "16" for i in range(1, 5)}),
    }[kind]
    return make(block.astype(dtype).tobytes(), n, **keywords)


@EASY
@given(kind=st.sampled_from(LAYOUTS), rows=SELECTIONS, columns=st.permutations(range(4)), n=st.integers(1, 4))
def test_a_part_is_what_the_whole_would_give(tmp_path, monkeypatch, kind, rows, columns, n):
    block = np.random.default_rng(1).integers(0, 1024, (50, 4))
    path = tmp_path / "P01.fcs"
    path.write_bytes(written(kind, block=block))
    # small blocks, so that a file of 50 events has many
    monkeypatch.setattr(fcs_data, "BLOCK_BYTES", 60)
    monkeypatch.setattr(fcs_data, "STRAIGHT_BYTES", 60)
    if kind == "mixed types":
        block[:, 3] %= 256
    whole = read_fcs(path)
    np.testing.assert_array_equal(whole.X, block)
    picked = [CHANNELS[column] for column in columns[:n]]
    part = read_fcs(path, channels=picked, rows=rows)
    taken = np.arange(50)[rows] if not isinstance(rows, list) else np.array(rows, dtype=int)
    np.testing.assert_array_equal(part.X, block[taken][:, columns[:n]])
    assert part.X.dtype == np.float32
    assert list(part.obs_names) == [f"P01:{row}" for row in taken]
    assert list(part.var["channel"]) == picked
    numbers, header = read_fcs_events(path, channels=picked, rows=rows)
    np.testing.assert_array_equal(numbers, part.X)
    assert header.channels == CHANNELS
    assert ("fcs.subset" in codes(part)) == (part.shape != whole.shape)


def test_channels_by_marker_and_by_channel(file):
    adata = read_fcs(file, channels=["CD4", "FITC-A"])
    assert list(adata.var_names) == ["CD4", "CD3"]
    np.testing.assert_array_equal(adata.X, values(50)[:, [2, 1]])
    np.testing.assert_array_equal(adata.varp["spillover"], [[1, 0.05], [0.1, 1]])
    assert codes(adata) == ["fcs.subset"]


def test_spillover_of_a_part(file):
    part = read_fcs(file, channels=["CD3", "Time"])
    assert "spillover" not in part.varp
    assert [note.text for note in get_notes(part) if note.code == "fcs.spillover"] == [
        "The spillover matrix was left out: it is also over PE-A, not read here."
    ]
    apart = read_fcs(file, channels=["Time"])
    assert "spillover" not in apart.varp
    assert codes(apart) == ["fcs.subset"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"channels": ["CD33"]}, "no channel 'CD33'\n.*\n.*CD3"),
        ({"channels": ["zzz"]}, "The file has FSC-A, CD3, CD4, Time"),
        ({"channels": "CD3"}, r'channels=\["CD3"\]'),
        ({"channels": ["CD3", "FITC-A"]}, "twice: CD3"),
        ({"rows": [3, 50]}, "row 50 was asked for, the file has 50 events"),
        ({"rows": [-1]}, "row -1"),
        ({"rows": [1, 2, 1]}, "rows are asked for twice"),
        ({"rows": [0.5]}, "not row numbers"),
        ({"rows": [True, False]}, "not row numbers"),
        ({"rows": slice(0, 10, 0)}, "not a slice of whole numbers"),
        ({"rows": slice("a", None)}, "not a slice of whole numbers"),
        ({"dataset": 1}, "holds 1"),
        ({"dataset": -1}, "holds 1"),
    ],
)
def test_what_is_not_there_is_refused(file, wanted, message):
    with pytest.raises(UsageError, match=message):
        read_fcs(file, **wanted)


def test_channels_of_one_name_are_asked_for_by_their_number(tmp_path):
    path = tmp_path / "a.fcs"
    path.write_bytes(make(values(3, n_channels=2).tobytes(), 3, channels=("FL1", "FL1"), markers=("", "")))
    names = list(read_fcs(path).var_names)
    assert read_fcs(path, channels=names[1:]).X.tolist() == values(3, n_channels=2)[:, 1:].tolist()


@pytest.mark.parametrize("bits", [10, 16])
def test_linear_values_are_the_formula_rounded_once(tmp_path, bits):
    """The oracle computes with the scalars of Python's own math, in double precision."""
    n = 1 << 12
    stored = np.random.default_rng(3).integers(0, 1 << bits, (n, 3)).astype("<u2")
    keywords = {f"P{i}B": "16" for i in (1, 2, 3)} | {f"P{i}R": str(1 << bits) for i in (1, 2, 3)}
    keywords |= {"P1E": "4.5,0.3", "P2G": "3.7", "TIMESTEP": "0.0137"}
    path = tmp_path / "P01.fcs"
    path.write_bytes(
        make(stored.tobytes(), n, channels=("FL1", "FL2", "Time"), markers=("", "", ""), DATATYPE="I", **keywords)
    )
    adata = read_fcs(path)
    gains = [[b / 3.7, c * 0.0137] for _, b, c in stored.tolist()]
    np.testing.assert_array_equal(adata.X[:, 1:], np.array(gains, dtype=np.float64).astype(np.float32))
    log = np.array([math.pow(10.0, 4.5 * a / (1 << bits)) * 0.3 for a in stored[:, 0].tolist()])
    # the powers of two libraries may differ in the last bit of 53: rounded to 24 bits that hardly ever shows
    assert (adata.X[:, 0] != log.astype(np.float32)).mean() < 0.001
    np.testing.assert_allclose(adata.X[:, 0], log, rtol=2**-23)
    # a table of all powers and the powers themselves are the same values
    np.testing.assert_array_equal(read_fcs(path, rows=slice(0, 100)).X, adata.X[:100])
    assert adata.uns["fcs"]["scaled"] is True
    assert json.loads(adata.uns["fcs"]["scaled_channels"]) == ["FL1", "FL2", "Time"]
    raw = read_fcs(path, scale=False, channels=["Time", "FL1"])
    np.testing.assert_array_equal(raw.X, stored[:, [2, 0]])
    assert raw.uns["fcs"]["scaled"] is False
    assert json.loads(raw.uns["fcs"]["scaled_channels"]) == []
    raw.write_h5ad(tmp_path / "a.h5ad")
    assert not anndata.read_h5ad(tmp_path / "a.h5ad").uns["fcs"]["scaled"]


def test_double_precision_only_where_it_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(fcs_data, "BLOCK_BYTES", 64)
    block = np.arange(80.0).reshape(40, 2)
    keywords = {"DATATYPE": "D", "P1B": "64", "P2B": "64", "P1G": "3"}
    path = tmp_path / "P01.fcs"
    path.write_bytes(make(block.tobytes(), 40, channels=("A", "B"), markers=("", ""), **keywords))
    assert read_fcs(path).X.dtype == np.float32
    # found in the last block: what came before must be linear in double precision too
    block[-1, 1] = 0.1
    path.write_bytes(make(block.tobytes(), 40, channels=("A", "B"), markers=("", ""), **keywords))
    adata = read_fcs(path)
    assert adata.X.dtype == np.float64
    np.testing.assert_array_equal(adata.X, np.column_stack([block[:, 0] / 3, block[:, 1]]))
    assert read_fcs(path, channels=["A"]).X.dtype == np.float32


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
def test_values_that_are_not_finite_are_counted_exactly(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(fcs_data, "BLOCK_BYTES", 64)
    monkeypatch.setattr(fcs_data, "STRAIGHT_BYTES", 64)
    block = np.full((30, 2), 3e38, dtype=np.float32)
    keywords = {"DATATYPE": "D", "P1B": "64", "P2B": "64"} if dtype == "<f8" else {}
    keywords |= {"BYTEORD": "4,3,2,1"} if dtype == ">f4" else {}
    path = tmp_path / "P01.fcs"
    path.write_bytes(make(block.astype(dtype).tobytes(), 30, channels=("A", "B"), markers=("", ""), **keywords))
    assert codes(read_fcs(path)) == [], "a sum that overflows is not a value that does"
    block[3, 1], block[17, 0], block[18, 0] = np.nan, np.inf, -np.inf
    path.write_bytes(make(block.astype(dtype).tobytes(), 30, channels=("A", "B"), markers=("", ""), **keywords))
    assert [(note.code, note.count) for note in get_notes(read_fcs(path))] == [("fcs.not_finite", 3)]
    assert [note.count for note in get_notes(read_fcs(path, rows=[17, 3]))] == [2, 2]


def peak(read) -> int:
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("large") / "P01.fcs"
    path.write_bytes(make(values(1_000_000).tobytes(), 1_000_000))
    return path


def test_memory(large):
    data = 16_000_000
    peak(lambda: read_fcs(large))
    assert peak(lambda: read_fcs(large)) < 1.3 * data
    assert peak(lambda: read_fcs_events(large)) < 1.05 * data
    assert peak(lambda: read_fcs(large, rows=slice(500_000, 500_100))) < 4 << 20
    assert peak(lambda: read_fcs_events(large, channels=["PE-A"])) < data / 4 + (4 << 20)
    assert peak(lambda: read_fcs_header(large)) < 1 << 20


def test_memory_and_values_of_a_gzipped_file(large, tmp_path):
    zipped = tmp_path / "P01.fcs.gz"
    zipped.write_bytes(gzip.compress(large.read_bytes(), compresslevel=1))
    np.testing.assert_array_equal(read_fcs(zipped).X, values(1_000_000))
    assert peak(lambda: read_fcs(zipped)) < 1.5 * 16_000_000
    assert peak(lambda: read_fcs_header(zipped)) < 4 << 20
    part = read_fcs(zipped, rows=[999_999, 5], channels=["Time"])
    assert part.X.tolist() == values(1_000_000)[[999_999, 5], 3:].tolist()


def test_gzipped_files_that_are_damaged(file, tmp_path):
    whole = gzip.compress(file.read_bytes())
    path = tmp_path / "b.fcs.gz"
    for content in (whole[:-1], whole[:-9], whole[: len(whole) // 2], whole[:15], whole[:3]):
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match="gzip file is damaged or cut short"):
            read_fcs(path)
    for place in (20, len(whole) // 2, len(whole) - 6):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with pytest.raises(FileFormatError):
            read_fcs(path)
    # two members are one file
    cut = 700
    path.write_bytes(gzip.compress(file.read_bytes()[:cut]) + gzip.compress(file.read_bytes()[cut:]))
    np.testing.assert_array_equal(read_fcs(path).X, values(50))


def test_a_decompression_bomb_is_refused(tmp_path):
    path = tmp_path / "bomb.fcs.gz"
    head = make(b"", 10**9)
    path.write_bytes(gzip.compress(head) + gzip.compress(bytes(8 << 20), compresslevel=9) * 40)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(FileFormatError, match="more than 200 times its size"):
        read_fcs(path)


@pytest.mark.parametrize(
    "claim", [{"TOT": str(10**15)}, {"PAR": str(10**12)}, {"P1B": str(10**15), "DATATYPE": "A"}, {"ENDDATA": "9" * 15}]
)
@pytest.mark.parametrize("zipped", [False, True])
def test_nothing_is_allocated_because_a_header_claims_it(tmp_path, claim, zipped):
    content = make(values(3).tobytes(), 3, **claim)
    path = tmp_path / "a.fcs"
    path.write_bytes(gzip.compress(content) if zipped else content)

    def read() -> None:
        try:
            adata = read_fcs(path)
        except FileFormatError:
            return
        # the segment holds exactly three events, whatever is announced: then they are read, and it is said
        np.testing.assert_array_equal(adata.X, values(3))
        assert codes(adata)

    read()
    assert peak(read) < 8 << 20


def test_numbers_of_data_sets(tmp_path):
    last = make(values(3).tobytes(), 3)
    size = len(last)
    chain = make(values(3).tobytes(), 3, next_data=size)
    path = tmp_path / "a.fcs"
    for n in (1, 2, 5):
        path.write_bytes(chain * (n - 1) + last)
        assert read_fcs_header(path).n_datasets == n
        assert read_fcs_header(path, dataset=n - 1).n_datasets == n
        assert ("fcs.data_sets" in codes(read_fcs(path))) == (n > 1)
        with pytest.raises(UsageError, match=f"holds {n} "):
            read_fcs(path, dataset=n)


def test_a_chain_of_data_sets_that_does_not_end(tmp_path):
    path = tmp_path / "a.fcs"
    content = make(values(3).tobytes(), 3, next_data=1)
    path.write_bytes(content)
    assert read_fcs_header(path).n_datasets == 1
    backward = make(values(3).tobytes(), 3, next_data=-5)
    path.write_bytes(backward)
    assert read_fcs_header(path).n_datasets == 1
    # a data set inside the keywords of another
    inside = make(values(3).tobytes(), 3, next_data=200, COMMENT="FCS3.1" * 60)
    start = inside.index(b"FCS3.1", 59)
    path.write_bytes(inside.replace(f"{200:12}".encode(), f"{start:12}".encode()))
    assert read_fcs_header(path).n_datasets == 1

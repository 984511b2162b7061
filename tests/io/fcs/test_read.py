"""FCS files made byte by byte with known values: what the reader must give back, note, or refuse."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import anndata
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellprec.errors import FileFormatError, InputError, UsageError
from cellprec.io.fcs import read_fcs, read_fcs_header
from cellprec.notes import get_notes

EASY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
VALUES = np.array([[1.5, -2.0], [3.25, 4.0], [0.1, 1e6]], dtype="<f4")


def make(
    data: bytes,
    n_events: int,
    *,
    channels=("FSC-A", "PE-A"),
    version="3.1",
    delimiter=b"/",
    begin_shift=0,
    end_shift=0,
    header=None,
    raw=b"",
    gap=b"",
    tail=b"",
    **keywords: str,
) -> bytes:
    """Build an FCS file; ``P1N="x"`` sets $P1N; shifts move what TEXT says, ``header`` what HEADER says."""
    pairs = {"BYTEORD": "1,2,3,4", "DATATYPE": "F", "MODE": "L", "NEXTDATA": "0"}
    pairs |= {"PAR": str(len(channels)), "TOT": str(n_events)}
    for index, name in enumerate(channels, start=1):
        pairs |= {f"P{index}N": name, f"P{index}B": "32", f"P{index}E": "0,0", f"P{index}R": "1024"}
    pairs |= keywords
    body = delimiter + b"".join(
        b"$" + key.encode() + delimiter + value.encode() + delimiter for key, value in pairs.items() if value != "-"
    )
    body += raw
    offsets = b"$BEGINDATA/%12d/$ENDDATA/%12d/".replace(b"/", delimiter)
    begin = 58 + len(body) + len(offsets % (0, 0)) + len(gap)
    end = begin + len(data) - 1
    text = body + offsets % (begin + begin_shift, end + end_shift)
    numbers = [58, 57 + len(text), *(header(begin, end) if header else (begin, end)), 0, 0]
    head = b"FCS" + version.encode() + b"    " + b"".join(b"%8d" % number for number in numbers)
    return head + text + gap + data + tail


@pytest.fixture
def write(tmp_path: Path):
    def _write(content: bytes, name: str = "P01.fcs") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return _write


def codes(adata) -> set[str]:
    return {note.code for note in get_notes(adata)}


def test_plain_file_is_read_exactly(write):
    adata = read_fcs(write(make(VALUES.tobytes(), 3, P2S="CAR", P2R="262144", CYT="Aria")))
    assert adata.X.dtype == np.float32
    np.testing.assert_array_equal(adata.X, VALUES)
    assert list(adata.obs_names) == ["P01:0", "P01:1", "P01:2"]
    assert list(adata.obs["sample_id"]) == ["P01"] * 3
    assert list(adata.var_names) == ["FSC-A", "CAR"]
    assert list(adata.var["channel"]) == ["FSC-A", "PE-A"]
    assert list(adata.var["marker"]) == ["", "CAR"]
    assert list(adata.var["kind"]) == ["scatter", "fluorescence"]
    assert list(adata.var["range"]) == [1024.0, 262144.0]
    assert json.loads(adata.uns["fcs"]["keywords"])["$CYT"] == "Aria"
    assert "spillover" not in adata.varp
    assert get_notes(adata) == []


@pytest.mark.parametrize(("order", "places"), [("4,3,2,1", [3, 2, 1, 0]), ("3,4,1,2", [2, 3, 0, 1])])
def test_byte_orders(write, order, places):
    raw = VALUES.copy().view(np.uint8).reshape(-1, 4)
    # rank r stands where $BYTEORD says r
    data = np.empty_like(raw)
    for position, rank in enumerate(int(part) for part in order.split(",")):
        data[:, position] = raw[:, rank - 1]
    assert sorted(places) == [0, 1, 2, 3]
    adata = read_fcs(write(make(data.tobytes(), 3, BYTEORD=order, version="3.0")))
    np.testing.assert_array_equal(adata.X, VALUES)


@EASY
@given(data=st.data())
def test_integers_of_any_byte_width(tmp_path, data):
    widths = data.draw(st.lists(st.sampled_from([1, 2, 3, 4, 5, 8]), min_size=1, max_size=4))
    n_events = data.draw(st.integers(1, 5))
    little = data.draw(st.booleans())
    top = [min(8 * width, 48) for width in widths]
    rows = [[data.draw(st.integers(0, 2**bits - 1)) for bits in top] for _ in range(n_events)]
    order = "little" if little else "big"
    raw = b"".join(value.to_bytes(w, order) for row in rows for value, w in zip(row, widths, strict=True))
    keywords = {f"P{i}B": str(8 * w) for i, w in enumerate(widths, 1)}
    keywords |= {f"P{i}R": str(2 ** (8 * w)) for i, w in enumerate(widths, 1)}
    byteord = "1,2,3,4" if little else "4,3,2,1"
    channels = [f"FL{i}" for i in range(len(widths))]
    path = tmp_path / "i.fcs"
    path.write_bytes(make(raw, n_events, channels=channels, DATATYPE="I", BYTEORD=byteord, **keywords))
    values = read_fcs(path).X
    assert values.astype(object).tolist() == rows
    assert values.dtype == (np.float32 if np.array_equal(np.float32(rows), np.float64(rows)) else np.float64)


@EASY
@given(data=st.data())
def test_bit_packed_integers(tmp_path, data):
    widths = data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=4).filter(lambda w: any(x % 8 for x in w)))
    rows = data.draw(st.lists(st.tuples(*(st.integers(0, 2**w - 1) for w in widths)), min_size=1, max_size=20))
    bits = "".join(f"{value:0{w}b}" for row in rows for value, w in zip(row, widths, strict=True))
    raw = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    keywords = {f"P{i}B": str(w) for i, w in enumerate(widths, 1)} | {
        f"P{i}R": str(2**w) for i, w in enumerate(widths, 1)
    }
    channels = [f"FL{i}" for i in range(len(widths))]
    path = tmp_path / "p.fcs"
    path.write_bytes(
        make(raw, len(rows), channels=channels, DATATYPE="I", BYTEORD="4,3,2,1", version="3.0", **keywords)
    )
    assert read_fcs(path).X.tolist() == [list(map(float, row)) for row in rows]


@pytest.mark.parametrize(("limit", "expected"), [("1024", [5, 1023]), ("1000", [5, 1023]), ("65536", [1029, 65535])])
def test_bits_above_the_range_are_masked(write, limit, expected):
    data = np.array([[1024 + 5, 7], [65535, 8]], dtype="<u2")
    adata = read_fcs(write(make(data.tobytes(), 2, DATATYPE="I", P1B="16", P2B="16", P1R=limit, P2R="65536")))
    assert adata.X.tolist() == [[expected[0], 7], [expected[1], 8]]


def test_integers_that_no_float_can_hold_are_refused(write):
    data = np.array([[2**53 + 1]], dtype="<u8").tobytes()
    with pytest.raises(FileFormatError, match="2\\*\\*53"):
        read_fcs(write(make(data, 1, channels=("A",), DATATYPE="I", P1B="64", P1R=str(2**64))))


def test_mixed_types_of_fcs_3_2(write):
    record = np.dtype([("a", "<f4"), ("b", "<u4"), ("c", "<f8")])
    data = np.array([(1.5, 2**24 + 1, 0.1), (2.5, 3, 1e-3)], dtype=record)
    keywords = {"P2DATATYPE": "I", "P2R": str(2**32), "P3DATATYPE": "D", "P3B": "64"}
    adata = read_fcs(write(make(data.tobytes(), 2, channels=("A", "B", "C"), version="3.2", **keywords)))
    assert adata.X.dtype == np.float64
    assert adata.X.tolist() == [[1.5, 2**24 + 1, 0.1], [2.5, 3, 1e-3]]


@pytest.mark.parametrize("text", [b"1 2\n30 40\r\n5,6", b"1 2 30 40 5 6 "])
def test_delimited_text_data(write, text):
    adata = read_fcs(write(make(text, 3, DATATYPE="A", P1B="*", P2B="*", version="3.0")))
    assert adata.X.tolist() == [[1, 2], [30, 40], [5, 6]]


def test_fixed_width_text_data(write):
    adata = read_fcs(write(make(b"  1 22 30 40", 2, DATATYPE="A", P1B="3", P2B="3", version="3.0")))
    assert adata.X.tolist() == [[1, 22], [30, 40]]


def test_text_data_with_a_value_missing_are_refused(write):
    with pytest.raises(FileFormatError, match="2 complete events, 3 are announced"):
        read_fcs(write(make(b"1 2 30 40 5", 3, DATATYPE="A", P1B="*", P2B="*", version="3.0")))


def test_amplifier_gain_and_clock_are_undone(write):
    data = np.array([[0, 100, 50, 8], [512, 1023, 25, 16]], dtype="<u2")
    keywords = {f"P{i}B": "16" for i in range(1, 5)} | {"P1E": "4,1", "P2E": "4,0", "P3G": "4", "P4G": "3"}
    file = write(make(data.tobytes(), 2, channels=("L1", "L2", "G", "Time"), DATATYPE="I", TIMESTEP="0.5", **keywords))
    adata = read_fcs(file)
    expected = [[1.0, 10 ** (400 / 1024), 12.5, 4.0], [100.0, 10 ** (4092 / 1024), 6.25, 8.0]]
    np.testing.assert_allclose(adata.X, expected, rtol=1e-6)
    assert codes(adata) == {"fcs.amplification", "fcs.gain"}, "4,0 was read as 4,1; the gain of the clock left aside"
    np.testing.assert_array_equal(read_fcs(file, scale=False).X, data)


def test_a_clock_that_is_no_number_is_noted(write):
    adata = read_fcs(write(make(VALUES.tobytes(), 3, channels=("Time", "PE-A"), TIMESTEP="xxx")))
    np.testing.assert_array_equal(adata.X, VALUES)
    assert codes(adata) == {"fcs.timestep"}


def test_float_data_announced_as_logarithmic_stay_linear(write):
    adata = read_fcs(write(make(VALUES.tobytes(), 3, P1E="4,1")))
    np.testing.assert_array_equal(adata.X, VALUES)
    assert codes(adata) == {"fcs.amplification"}


def test_values_that_are_not_finite_are_kept_and_noted(write):
    values = VALUES.copy()
    values[0, 0], values[2, 1] = np.nan, np.inf
    adata = read_fcs(write(make(values.tobytes(), 3)))
    np.testing.assert_array_equal(adata.X, values)
    assert [(note.code, note.count, note.sample) for note in get_notes(adata)] == [("fcs.not_finite", 2, "P01")]


@EASY
@given(cut=st.integers(0, 10**6), version=st.sampled_from(["2.0", "3.0", "3.1"]))
def test_a_truncated_file_is_never_read(tmp_path, cut, version):
    content = make(VALUES.tobytes(), 3, version=version)
    path = tmp_path / "cut.fcs"
    path.write_bytes(content[: cut % len(content)])
    for reader in (read_fcs, read_fcs_header):
        with pytest.raises(FileFormatError):
            reader(path)


def test_truncation_names_complete_and_announced_events(write):
    content = make(VALUES.tobytes(), 3)
    with pytest.raises(FileFormatError, match="2 complete events of 3 announced") as caught:
        read_fcs_header(write(content[:-1]))
    assert "P01.fcs" in caught.value.where


def test_files_that_are_no_fcs(write, tmp_path):
    with pytest.raises(FileFormatError, match="not an FCS file"):
        read_fcs(write(b"oi21j08cn\n"))
    with pytest.raises(FileFormatError, match="not an FCS file"):
        read_fcs(write(b""))
    with pytest.raises(InputError, match="does not exist"):
        read_fcs(tmp_path / "none.fcs")
    with pytest.raises(FileFormatError, match="list mode"):
        read_fcs(write(make(VALUES.tobytes(), 3, MODE="U")))
    with pytest.raises(FileFormatError, match="byte order"):
        read_fcs(write(make(VALUES.tobytes(), 3, BYTEORD="1,1,2,2")))


@pytest.mark.parametrize(
    ("how", "noted"),
    [
        ({"header": lambda _b, _e: (0, 0)}, False),
        ({"end_shift": 1}, True),
        ({"end_shift": 1, "header": lambda b, e: (b, e + 1)}, True),
        ({"end_shift": -1, "header": lambda b, e: (b, e - 1)}, True),
        ({"begin_shift": -1, "end_shift": -1, "gap": b"    "}, True),
        ({"header": lambda b, e: (b - 10, e)}, True),
        ({"tail": b"00000000"}, False),
        ({"gap": b"  ", "tail": b"00000000", "header": lambda b, e: (b - 1, e - 1)}, True),
        ({"end_shift": 5, "tail": b"\0" * 5}, True),
        ({"end_shift": 500, "tail": b" " * 500}, True),
    ],
)
def test_offsets_are_settled_by_arithmetic(write, how, noted):
    adata = read_fcs(write(make(VALUES.tobytes(), 3, **how)))
    np.testing.assert_array_equal(adata.X, VALUES)
    assert ("fcs.offsets" in codes(adata)) == noted


def test_offsets_in_header_alone(write):
    content = make(VALUES.tobytes(), 3).replace(b"$BEGINDATA", b"BEGIN_DATA").replace(b"$ENDDATA", b"END_DATA")
    adata = read_fcs(write(content))
    np.testing.assert_array_equal(adata.X, VALUES)
    assert codes(adata) == {"fcs.offsets"}


def test_offsets_nowhere(write):
    content = make(VALUES.tobytes(), 3, header=lambda _b, _e: (0, 0))
    content = content.replace(b"$BEGINDATA", b"BEGIN_DATA").replace(b"$ENDDATA", b"END_DATA")
    adata = read_fcs(write(content))
    np.testing.assert_array_equal(adata.X, VALUES)
    assert codes(adata) == {"fcs.offsets"}
    with pytest.raises(FileFormatError, match="where the data are"):
        read_fcs(write(content + b"something"))


def test_two_places_that_fit_equally_are_refused(write):
    content = make(VALUES.tobytes(), 3, gap=b"\0" * 8, tail=b"x" * 16, header=lambda b, e: (b + 4, e + 4))
    with pytest.raises(FileFormatError, match="HEADER and TEXT disagree"):
        read_fcs(write(content))


def test_event_numbers_that_contradict_the_segment(write):
    adata = read_fcs(write(make(VALUES.tobytes(), 10)))
    np.testing.assert_array_equal(adata.X, VALUES)
    assert [(note.code, note.count) for note in get_notes(adata)] == [("fcs.events", 3)]
    adata = read_fcs(write(make(VALUES.tobytes(), 2)))
    np.testing.assert_array_equal(adata.X, VALUES, "HEADER, TEXT and the end of the file say 3")
    assert ["2" in note.text and "3" in note.text for note in get_notes(adata)] == [True]
    with pytest.raises(FileFormatError, match="announces 2 events, the data segment has room for 3"):
        read_fcs(write(make(VALUES.tobytes(), 2, tail=b"something")))
    # 16-bit integers whose width is said to be 32
    wrong = make(np.arange(12, dtype="<u2").tobytes(), 6, DATATYPE="I")
    with pytest.raises(FileFormatError, match=r"\$PnB"):
        read_fcs(write(wrong))


def test_no_events(write):
    adata = read_fcs(write(make(b"", 0, header=lambda _b, _e: (0, 0))))
    assert adata.shape == (0, 2)
    assert list(adata.obs.columns) == ["sample_id"]


def test_width_of_floats_is_not_what_pnb_says(write):
    adata = read_fcs(write(make(VALUES.tobytes(), 3, P1B="16", P2B="16")))
    np.testing.assert_array_equal(adata.X, VALUES)
    assert [(note.code, note.count) for note in get_notes(adata)] == [("fcs.bits", 2)]


@pytest.mark.parametrize(
    ("raw", "marker", "code"),
    [
        (b"$P1S/CD3//CD4/", "CD3/CD4", None),
        (b"$P1S/CD3/OPERATOR//", "CD3", "fcs.empty_value"),
        (b"A//B//$P1S/CD3/", "CD3", "fcs.empty_value"),
        (b"$P1S/TCR\xb5/", "TCRµ", "fcs.latin1"),
        ("$P1S/TCRµ/".encode(), "TCRµ", None),
        (b"$p1s/ CD3 /", "CD3", None),
        (b"$P1S/CD4/$P1S/CD3/", "CD3", "fcs.duplicate_keyword"),
    ],
)
def test_keywords(write, raw, marker, code):
    adata = read_fcs(write(make(VALUES.tobytes(), 3, raw=raw)))
    np.testing.assert_array_equal(adata.X, VALUES)
    assert list(adata.var["marker"]) == [marker, ""]
    assert codes(adata) == ({code} if code else set())


@pytest.mark.parametrize("delimiter", [b"\x0c", b"|", b"*", b"\\", b"\x1e", b"."])
def test_any_delimiter(write, delimiter):
    adata = read_fcs(write(make(VALUES.tobytes(), 3, delimiter=delimiter, P1S="CD3", P1R="1024")))
    np.testing.assert_array_equal(adata.X, VALUES)
    assert list(adata.var_names) == ["CD3", "PE-A"]


def test_supplemental_text(write):
    extra = b"/$P1S/CD3/$TOT/99/"
    content = make(VALUES.tobytes(), 3, gap=extra, BEGINSTEXT=f"{0:8}", ENDSTEXT=f"{0:8}")
    at = content.index(extra)
    for key, place in ((b"$BEGINSTEXT/", at), (b"$ENDSTEXT/", at + len(extra) - 1)):
        start = content.index(key) + len(key)
        content = content[:start] + b"%8d" % place + content[start + 8 :]
    adata = read_fcs(write(content))
    assert list(adata.var_names) == ["CD3", "PE-A"]
    assert adata.n_obs == 3, "the primary TEXT wins"


@pytest.mark.parametrize(
    ("keywords", "expected", "noted"),
    [
        ({"SPILLOVER": "2,FSC-A,PE-A,1,0.1,0.05,1"}, [[1, 0.1], [0.05, 1]], False),
        ({"SPILLOVER": "2,PE-A,FSC-A,1,0.1,0.05,1"}, [[1, 0.05], [0.1, 1]], False),
        ({"SPILLOVER": "1,PE-A,1"}, [[1, 0], [0, 1]], False),
        ({"SPILLOVER": "2,CD3,CAR,1,0.1,0.05,1"}, [[1, 0.1], [0.05, 1]], True),
        ({"SPILLOVER": "2,1,2,1,0.1,0.05,1"}, [[1, 0.1], [0.05, 1]], True),
        ({"COMP": "2,1,0.1,0.05,1"}, [[1, 0.1], [0.05, 1]], False),
        ({"SPILLOVER": "2,FSC-A,PE-A,1,0.1,0.05"}, None, True),
        ({"SPILLOVER": "2,FSC-A,BV421,1,0.1,0.05,1"}, None, True),
        ({"SPILLOVER": "2,PE-A,PE-A,1,0.1,0.05,1"}, None, True),
        ({"SPILLOVER": "2,FSC-A,PE-A,1,x,0.05,1"}, None, True),
        ({"SPILLOVER": "0"}, None, False),
    ],
)
def test_spillover(write, keywords, expected, noted):
    adata = read_fcs(write(make(VALUES.tobytes(), 3, P1S="CD3", P2S="CAR", **keywords)))
    assert codes(adata) == ({"fcs.spillover"} if noted else set())
    if expected is None:
        assert "spillover" not in adata.varp
    else:
        np.testing.assert_array_equal(adata.varp["spillover"], expected)


def test_names_are_unique_and_say_when_they_were_made_so(write):
    values = np.arange(10, dtype="<f4").reshape(2, 5)
    channels = ("FL1", "FL1", "FL2", "FL3", "FL4")
    keywords = {"P3S": "CD3", "P4S": "CD3", "P5S": "FL1"}
    adata = read_fcs(write(make(values.tobytes(), 2, channels=channels, **keywords)))
    np.testing.assert_array_equal(adata.X, values)
    assert list(adata.var["channel"]) == list(channels)
    assert adata.var_names.is_unique
    assert list(adata.var_names[2:]) == ["FL2", "FL3", "FL4"]
    assert codes(adata) == {"fcs.names"}


@pytest.mark.parametrize(
    ("channels", "kinds"),
    [
        (("FSC-A", "SSC-B-H", "FS Lin", "SSC LogH", "Time", "Y610-A"), ["scatter"] * 4 + ["time", "fluorescence"]),
        (("V450-A", "FL1-H", "BL1-A", "R780-A", "TIME", "HDR-T"), ["fluorescence"] * 4 + ["time"] * 2),
        (
            ("Time", "Event_length", "Nd143Di", "(Nd144)Di", "145Nd_CD4", "Center"),
            ["time", "other"] + ["mass"] * 3 + ["other"],
        ),
        (
            ("CD3_Nd143", "CD45(In115)Dd", "beadDist", "Residual", "Width", "Ir191Di"),
            ["mass"] * 2 + ["other"] * 3 + ["mass"],
        ),
    ],
)
def test_kinds(write, channels, kinds):
    values = np.zeros((1, 6), dtype="<f4")
    assert list(read_fcs(write(make(values.tobytes(), 1, channels=channels))).var["kind"]) == kinds


def test_several_data_sets(write):
    second = make((VALUES * 2).astype("<f4").tobytes(), 3)
    first = make(VALUES.tobytes(), 3, NEXTDATA=f"{0:8}")
    first = first.replace(b"$NEXTDATA/%8d" % 0, b"$NEXTDATA/%8d" % len(first))
    path = write(first + second)
    adata = read_fcs(path)
    np.testing.assert_array_equal(adata.X, VALUES)
    assert [(note.code, "dataset=1" in note.text) for note in get_notes(adata)] == [("fcs.data_sets", True)]
    np.testing.assert_array_equal(read_fcs(path, dataset=1).X, VALUES * 2)
    with pytest.raises(UsageError, match="holds 2"):
        read_fcs(path, dataset=2)


def test_gzip(write):
    content = make(VALUES.tobytes(), 3, P2S="CAR")
    plain, zipped = write(content, "P01.fcs"), write(gzip.compress(content), "P01.fcs.gz")
    np.testing.assert_array_equal(read_fcs(zipped).X, read_fcs(plain).X)
    assert list(read_fcs(zipped).obs_names) == list(read_fcs(plain).obs_names)
    with pytest.raises(FileFormatError, match="gzip"):
        read_fcs(write(gzip.compress(content)[:-20], "cut.fcs.gz"))


def test_header_says_what_the_events_say(write):
    path = write(make(VALUES.tobytes(), 3, P2S="CAR", SPILLOVER="2,FSC-A,PE-A,1,0.1,0.05,1", P1B="16"))
    header, adata = read_fcs_header(path), read_fcs(path)
    assert (header.version, header.n_events) == ("3.1", adata.n_obs)
    assert header.channels == tuple(adata.var["channel"])
    assert header.markers == tuple(adata.var["marker"])
    assert header.names == tuple(adata.var_names)
    assert header.kinds == tuple(adata.var["kind"])
    assert header.keywords == json.loads(adata.uns["fcs"]["keywords"])
    assert [note.code for note in header.notes] == [note.code for note in get_notes(adata)]
    np.testing.assert_array_equal(header.spillover.over(2), adata.varp["spillover"])


def test_h5ad_keeps_everything(write, tmp_path):
    path = write(make(VALUES.tobytes(), 3, P2S="CAR", SPILLOVER="2,FSC-A,PE-A,1,0.1,0.05,1", P1B="16"))
    adata = read_fcs(path, sample_id="S1")
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(back.X, adata.X)
    np.testing.assert_array_equal(back.varp["spillover"], adata.varp["spillover"])
    assert back.obs_names[0] == "S1:0"
    assert get_notes(back) == get_notes(adata)
    assert back.uns["fcs"]["keywords"] == adata.uns["fcs"]["keywords"]


def whole(data: bytes, *, bits: int, order: str) -> bytes:
    keywords = {"BYTEORD": order, "DATATYPE": "I", "P1B": str(bits), "P1R": str(1 << bits)}
    return make(data, len(data) * 8 // bits, channels=("PE-A",), **keywords)


@pytest.mark.parametrize("order", [(1, 2, 3, 4), (4, 3, 2, 1), (3, 4, 1, 2), (2, 1, 4, 3), (2, 3, 4, 1), (4, 1, 2, 3)])
def test_any_byte_order_says_at_each_place_which_byte_stands_there(write, order: tuple[int, ...]) -> None:
    adata = read_fcs(write(whole(bytes(order), bits=32, order=",".join(map(str, order)))))
    assert adata.X.tolist() == [[0x04030201]]


@pytest.mark.parametrize(("order", "sign"), [("3,4,1,2", "<"), ("2,1,4,3", ">")])
def test_two_bytes_stand_as_the_first_two_of_four_do(write, order: str, sign: str) -> None:
    stored = np.array([258, 7], dtype=f"{sign}u2").tobytes()
    assert read_fcs(write(whole(stored, bits=16, order=order))).X.tolist() == [[258], [7]]


@pytest.mark.parametrize(
    ("value", "kind"), [(1 << 24, "float32"), ((1 << 24) + 1, "float64"), ((1 << 26) - 1, "float64")]
)
def test_whole_numbers_beyond_24_bits_are_held_exactly(write, value: int, kind: str) -> None:
    adata = read_fcs(write(whole(value.to_bytes(4, "little"), bits=32, order="1,2,3,4")))
    assert adata.X.dtype == kind
    assert adata.X.tolist() == [[value]]

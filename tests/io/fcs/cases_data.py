"""Types, places and numbers of the events of FCS files, right and wrong, each case with its truth."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import numpy as np
from tests.io.fcs.maker import CHANNELS, FLOATS, INTEGERS, MARKERS, REFUSED, RNG, Case, fcs, integers, packed, whole


def data_types() -> Iterator[tuple[str, Case]]:
    """Yield every type, width and byte order."""
    big = {"BYTEORD": "4,3,2,1"}
    yield "f32_be", Case(fcs(FLOATS.astype(">f4").tobytes(), **big), "32-bit float, big endian", FLOATS, noted=False)
    for name, code, order in (("f64_le", "<f8", "1,2,3,4"), ("f64_be", ">f8", "4,3,2,1")):
        doubles = FLOATS.astype("<f8") / 3
        content = fcs(doubles.astype(code).tobytes(), DATATYPE="D", BYTEORD=order, bits=[64] * 5)
        yield name, Case(content, "64-bit float", doubles, noted=False)
    for width in (8, 16, 24, 32, 40, 48, 64):
        for order in ("little", "big"):
            reason = f"{width}-bit integers, {order} endian"
            yield (
                f"i{width}_{order}",
                Case(whole(width, order=order), reason, INTEGERS % 2 ** min(width, 62), noted=False),
            )
    for width in (1, 7, 10, 12, 18, 33):
        low = INTEGERS % 2 ** min(width, 62)
        content = fcs(
            packed(low, bits=[width] * 5), version="3.0", bits=[width] * 5, ranges=[2**width] * 5, DATATYPE="I", **big
        )
        yield f"packed_{width}", Case(content, "integers packed bit by bit (legal up to FCS 3.0)", low, noted=False)
    mixed = (12, 4, 16, 10, 22)
    low = INTEGERS % [2**width for width in mixed]
    content = fcs(packed(low, bits=mixed), version="2.0", bits=mixed, ranges=[2**w for w in mixed], DATATYPE="I", **big)
    yield "packed_mixed", Case(content, "widths differ and do not end on bytes", low, noted=False)
    mixed = (16, 8, 32, 24, 64)
    content = fcs(integers(INTEGERS % 256, bits=mixed), bits=mixed, ranges=[256] * 5, DATATYPE="I")
    yield "integers_mixed", Case(content, "widths differ, each whole bytes", INTEGERS % 256, noted=False)
    junk = INTEGERS + 1024 * RNG.integers(1, 60, INTEGERS.shape)
    for limit in (1000, 1024, 513):
        content = fcs(integers(junk, bits=[16] * 5), bits=[16] * 5, ranges=[limit] * 5, DATATYPE="I")
        yield f"mask_{limit}", Case(content, "bits above the range are junk: 10 bits are kept", INTEGERS, noted=False)
    top = INTEGERS + (2**32 - 1001)
    content = fcs(integers(top, bits=[32] * 5), bits=[32] * 5, ranges=[2**32] * 5, DATATYPE="I")
    yield (
        "range_2_32",
        Case(content, "all 32 bits are used: no float32 holds them", top.astype(np.float64), noted=False),
    )
    content = fcs(integers(INTEGERS, bits=[64] * 5), bits=[64] * 5, ranges=[2**64] * 5, DATATYPE="I")
    yield "range_2_64", Case(content, "2^64 is a legal range", INTEGERS, noted=False)
    huge = INTEGERS.astype(object) + 2**60
    content = fcs(integers(huge, bits=[64] * 5), bits=[64] * 5, ranges=[2**64] * 5, DATATYPE="I")
    yield "above_2_53", Case(content, "no column of floats holds them", REFUSED, message=r"2\*\*53")
    yield "range_0", Case(whole(16, limit=0), "a range of 0 masks nothing", INTEGERS, noted=True)
    yield "range_missing", Case(fcs(drop=["P2R"]), "the range of floats is not needed for values", FLOATS, noted=True)
    for value in ("1024.0", "1.024e3"):
        yield f"range_{value}", Case(whole(16, limit=value), "a range written as a float", INTEGERS, noted=True)
    halves = FLOATS.view("<u2").reshape(-1, 2)[:, ::-1]
    swapped = halves.astype("<u2").tobytes()
    yield "order_3412", Case(fcs(swapped, BYTEORD="3,4,1,2", version="3.0"), "words swapped", FLOATS, noted=False)
    swapped = halves.astype(">u2").tobytes()
    # most significant word last, most significant byte of each first
    middle = FLOATS.view("<u2").astype(">u2").tobytes()
    yield (
        "order_2143",
        Case(fcs(middle, BYTEORD="2,1,4,3", version="3.0"), "bytes of words swapped", FLOATS, noted=False),
    )
    for value, noted in (
        ("1,2,3,4 ", False),
        (" 1, 2, 3, 4", False),
        ("1,2", False),
        ("1234", True),
        ("1;2;3;4", True),
    ):
        yield f"order_{value!r}", Case(fcs(BYTEORD=value), "least significant byte first", FLOATS, noted=noted)
    yield "order_2,1", Case(fcs(FLOATS.astype(">f4").tobytes(), BYTEORD="2,1"), "big endian, short form", FLOATS)
    yield "order_8", Case(fcs(BYTEORD="1,2,3,4,5,6,7,8"), "eight ranks, ascending", FLOATS, noted=False)
    for value in ("1,2,2,4", "", "x", "1", "0,1,2,3", "5,6,7,8"):
        yield f"order_{value!r}_bad", Case(fcs(BYTEORD=value), "says nothing", REFUSED, message="byte order")
    yield "order_missing", Case(fcs(drop=["BYTEORD"]), "bytes cannot be ordered", REFUSED, message="byte order")
    content = fcs(
        integers(INTEGERS % 256, bits=[8] * 5), bits=[8] * 5, ranges=[256] * 5, DATATYPE="I", drop=["BYTEORD"]
    )
    yield "order_missing_8_bits", Case(content, "single bytes need no order", INTEGERS % 256)
    yield "type_lower", Case(fcs(DATATYPE="f"), "letters of any case", FLOATS, noted=False)
    yield "type_missing", Case(fcs(drop=["DATATYPE"]), "nothing says what the bits mean", REFUSED, message="data type")
    yield "type_unknown", Case(fcs(DATATYPE="Q"), "no such type", REFUSED, message="data type.*Q")
    yield "mode_c", Case(fcs(MODE="C"), "a histogram holds no events", REFUSED, message="list mode")
    yield "mode_u", Case(fcs(MODE="U"), "histograms hold no events", REFUSED, message="list mode")


def text_data() -> Iterator[tuple[str, Case]]:
    """Yield numbers written as text ($DATATYPE A)."""
    free = {"DATATYPE": "A", "version": "3.0", "bits": ["*"] * 5}
    rows = [" ".join(str(v) for v in row) for row in INTEGERS]
    for name, line, value in (("blank", "\n", " "), ("crlf", "\r\n", ","), ("comma", ",", ","), ("tab", " ", "\t")):
        data = line.join(row.replace(" ", value) for row in rows).encode()
        yield f"delimited_{name}", Case(fcs(data, **free), "any run of delimiters", INTEGERS, noted=False)
        shifted = fcs(b" " + data, said=lambda b, e: (b + 1, e), header=lambda b, e: (b + 2, e), **free)
        if INTEGERS[0, 0] > 9:
            yield (
                f"delimited_{name}_cut",
                Case(shifted, "HEADER cuts the first number: TEXT is right", INTEGERS, noted=True),
            )
    data = " ".join(rows).encode()
    yield "delimited_short", Case(fcs(data[:-5], **free), "an event is missing", REFUSED, message="6 complete.* 7 ")
    yield (
        "delimited_long",
        Case(fcs(data + b" 1 2 3 4 5", **free), "an event too many", REFUSED, message="8 complete.* 7 "),
    )
    yield "delimited_no_tot", Case(fcs(data, drop=["TOT"], **free), "their count tells", INTEGERS, noted=True)
    end = fcs(data, said=lambda b, e: (b, e + 1), **free)
    yield "delimited_end_off", Case(end, "the end is beyond the file, no number is missing", INTEGERS, noted=True)
    yield "delimited_word", Case(fcs(data[:-3] + b"abc", **free), "no number", REFUSED, message="not a number")
    fixed = "".join(f"{v:5d}" for row in INTEGERS for v in row).encode()
    content = fcs(fixed, DATATYPE="A", version="3.0", bits=[5] * 5)
    yield "fixed", Case(content, "each number takes $PnB characters", INTEGERS, noted=False)
    fixed = "".join(f"{v:0{w}d}" for row in INTEGERS for v, w in zip(row, (3, 4, 5, 6, 7), strict=True)).encode()
    content = fcs(fixed, DATATYPE="A", version="3.0", bits=[3, 4, 5, 6, 7])
    yield "fixed_mixed", Case(content, "widths in characters differ, padded with zeros", INTEGERS, noted=False)
    content = fcs(fixed, DATATYPE="A", version="3.0", bits=[-3, 4, 5, 6, 7])
    yield "fixed_negative", Case(content, "no such width", REFUSED, message="width of parameter 1")
    yield (
        "mixed_with_text",
        Case(fcs(version="3.2", P3DATATYPE="A"), "FCS 3.2 forbids it", REFUSED, message="text and binary"),
    )


def offsets() -> Iterator[tuple[str, Case]]:
    """Yield places of DATA that are wrong."""
    nothing = {"drop": ["BEGINDATA", "ENDDATA"]}
    yield "header_zero", Case(fcs(header=lambda _b, _e: (0, 0)), "the form of large files", FLOATS, noted=False)
    yield "header_blank", Case(fcs(header=lambda b, e: (b, e), form=b"%8d"), "all the same", FLOATS, noted=False)
    yield "text_silent", Case(fcs(**nothing), "HEADER is right", FLOATS, noted=True)
    yield (
        "text_zero",
        Case(fcs(said=lambda _b, _e: (0, 0), header=lambda b, e: (b, e)), "HEADER is right", FLOATS, noted=True),
    )
    relative = fcs(said=lambda b, e: (0, e - b), header=lambda b, e: (b, e))
    yield "text_relative", Case(relative, "TEXT counts from DATA: HEADER is right", FLOATS, noted=True)
    silent = fcs(header=lambda _b, _e: (0, 0), **nothing)
    yield "nowhere", Case(silent, "right behind TEXT, to the end of the file", FLOATS, noted=True)
    yield "nowhere_crc", Case(silent + b"00000000", "the checksum is not data", FLOATS, noted=True)
    yield "nowhere_tail", Case(silent + b"garbage", "it cannot be told", REFUSED, message="where the data are")
    yield "crc", Case(fcs(tail=b"00012345"), "a checksum behind DATA", FLOATS, noted=False)
    yield "garbage_behind", Case(fcs(tail=b"\xff" * 37), "it is not DATA", FLOATS, noted=False)
    yield "gap", Case(fcs(gap=b" " * 31), "DATA begins where the file says", FLOATS, noted=False)
    for tail in (b"", b"00000000", b"x" * 21):
        for by in (-1, 1):
            case = fcs(said=lambda b, e, by=by: (b, e + by), header=lambda b, e, by=by: (b, e + by), tail=tail)
            yield f"end_{by:+d}_{len(tail)}", Case(case, "both ends off by one: $TOT decides", FLOATS, noted=True)
            case = fcs(said=lambda b, e, by=by: (b + by, e + by), header=lambda b, e: (b, e), tail=tail)
            yield f"text_moved_{by:+d}_{len(tail)}", Case(case, "HEADER lies right behind TEXT", FLOATS, noted=True)
            case = fcs(said=lambda b, e: (b, e), header=lambda b, e, by=by: (b + by, e + by), tail=tail)
            yield f"header_moved_{by:+d}_{len(tail)}", Case(case, "TEXT lies right behind itself", FLOATS, noted=True)
            case = fcs(said=lambda b, e, by=by: (b + by, e), header=lambda b, e, by=by: (b + by, e), tail=tail)
            yield f"begin_{by:+d}_{len(tail)}", Case(case, "$TOT events end where the file says", FLOATS, noted=True)
    for tail in (b"", b"00000000"):
        for by in (-1, 1, 2):
            case = fcs(said=lambda b, e, by=by: (b + by, e + by), tail=tail)
            reason = "both moved alike: only right behind TEXT do the events end with the file"
            yield f"both_moved_{by:+d}_{len(tail)}", Case(case, reason, FLOATS, noted=True)
    case = fcs(said=lambda b, e: (b + 1, e + 1), tail=b"x" * 21)
    yield "both_moved_tail", Case(case, "a byte of no use, or of an event", REFUSED, message="cannot be told where")
    case = fcs(said=lambda b, e: (b - 2, e), header=lambda b, e: (b + 2, e + 3), gap=b" " * 9, tail=b"x" * 21)
    yield "neither_place", Case(case, "neither fits its own length", REFUSED, message="HEADER and TEXT disagree")
    case = fcs(said=lambda _b, _e: (5000, 5139), header=lambda b, e: (b, e))
    yield "text_beyond", Case(case, "TEXT points beyond the file: HEADER is right", FLOATS, noted=True)
    case = fcs(said=lambda _b, _e: (10**11, 10**11 + 139), header=lambda b, e: (b, e))
    yield "text_far_beyond", Case(case, "TEXT points beyond the file: HEADER is right", FLOATS, noted=True)
    case = fcs(said=lambda b, e: (b, e), header=lambda _b, _e: (99999999, 99999999))
    yield "header_beyond", Case(case, "HEADER overflows: TEXT is right", FLOATS, noted=True)
    case = fcs(gap=b"\0" * 8, tail=b"x" * 16, said=lambda b, e: (b, e), header=lambda b, e: (b + 4, e + 4))
    yield "two_places", Case(case, "both fit the file", REFUSED, message="HEADER and TEXT disagree")
    yield "text_behind_data", Case(behind(), "TEXT may stand behind DATA", FLOATS, noted=False)


def behind() -> bytes:
    """Build a file whose DATA stand before its TEXT."""
    data = FLOATS.tobytes()
    plain = fcs(said=lambda _b, _e: (58, 57 + len(data)))
    text = plain[58 : len(plain) - len(data)]
    begin = 58 + len(data)
    numbers = (begin, begin + len(text) - 1, 58, begin - 1, 0, 0)
    return b"FCS3.1    " + b"".join(b"%8d" % number for number in numbers) + data + text


def counts() -> Iterator[tuple[str, Case]]:
    """Yield event and parameter numbers that are wrong."""
    yield "tot_missing", Case(fcs(drop=["TOT"]), "the segment tells", FLOATS, noted=True)
    for value in (" ", "x", "7.5", "-7"):
        yield f"tot_{value!r}", Case(fcs(TOT=value), "the segment tells", FLOATS, noted=True)
    part = fcs(FLOATS.tobytes()[:-2], drop=["TOT"])
    yield "tot_missing_part", Case(part, "a part of an event is left over", REFUSED, message=r"\$TOT")
    disagree = fcs(drop=["TOT"], tail=b"x" * 40, said=lambda b, e: (b, e + 20), header=lambda b, e: (b, e))
    yield "tot_missing_two", Case(disagree, "HEADER and TEXT give different numbers", REFUSED, message=r"\$TOT")
    for value in ("1", "3", "6"):
        reason = "HEADER, TEXT and the file say 7"
        yield f"tot_{value}", Case(fcs(TOT=value), reason, FLOATS, noted=True)
        yield f"tot_{value}_crc", Case(fcs(TOT=value, tail=b"00000000"), reason, FLOATS, noted=True)
        message = f"announces {value} .*room for 7"
        tail = fcs(TOT=value, tail=b"x" * 50)
        yield f"tot_{value}_tail", Case(tail, "the file goes on: nothing proves 7", REFUSED, message=message)
        alone = fcs(TOT=value, header=lambda b, e: (b, e - 20))
        yield f"tot_{value}_alone", Case(alone, "HEADER says 6, TEXT 7", REFUSED, message="announces|disagree")
    yield "tot_0_with_data", Case(fcs(TOT="0"), "the segment holds whole events", FLOATS, noted=True)
    yield "tot_10", Case(fcs(TOT="10"), "HEADER, TEXT and the file say 7", FLOATS, noted=True)
    yield "tot_huge", Case(fcs(TOT=str(10**15)), "HEADER, TEXT and the file say 7", FLOATS, noted=True)
    whole_file = fcs()
    yield "cut_1", Case(whole_file[:-1], "an event is cut", REFUSED, message="6 complete events of 7")
    yield "cut_20", Case(whole_file[:-20], "an event is missing", REFUSED, message="6 complete events of 7")
    yield "cut_139", Case(whole_file[:-139], "nearly all is missing", REFUSED, message="0 complete events of 7")
    crc = fcs(tail=b"00000000")
    yield "cut_crc", Case(crc[:-4], "only the checksum is cut", FLOATS)
    silent = fcs(header=lambda _b, _e: (0, 0), drop=["BEGINDATA", "ENDDATA"])
    yield "cut_silent", Case(silent[:-3], "an event is cut", REFUSED, message="where the data are")
    none = fcs(b"", TOT="0", said=lambda _b, _e: (0, 0))
    yield "none", Case(none, "no events are no error", np.zeros((0, 5)))
    yield "none_stated", Case(fcs(b"", TOT="0"), "DATA ends before it begins", np.zeros((0, 5)))
    yield "par_6", Case(fcs(PAR="6"), "five are described, and fill DATA exactly", FLOATS, noted=True)
    yield "par_4", Case(fcs(PAR="4"), "five are described, and fill DATA exactly", FLOATS, noted=True)
    yield "par_huge", Case(fcs(PAR=str(10**9)), "five are described, and fill DATA exactly", FLOATS, noted=True)
    message = "announces 6 parameters, .* describe 5"
    yield "par_6_cut", Case(fcs(PAR="6")[:-20].replace(b"$TOT/7", b"$TOT/9"), "nothing fits", REFUSED, message=message)
    yield "par_6_no_tot", Case(fcs(PAR="6", drop=["TOT"]), "nothing to prove it", REFUSED, message=message)
    message = r"\$TOT|complete events|room for"
    yield "par_4_no_tot", Case(fcs(PAR="4", drop=["TOT"]), "nothing to prove it", REFUSED, message=message)
    for value in ("0", "-1", "x", "", "2.5"):
        yield f"par_{value!r}", Case(fcs(PAR=value), "no number of channels", REFUSED, message=r"\$PAR")
    yield "par_missing", Case(fcs(drop=["PAR"]), "nothing can be decoded", REFUSED, message=r"\$PAR")
    four = FLOATS[:, :4]
    content = fcs(four.tobytes(), PAR="4")
    yield (
        "par_4_right",
        Case(
            content, "a parameter too many is described", four, noted=True, channels=CHANNELS[:4], markers=MARKERS[:4]
        ),
    )
    doubles = FLOATS.astype("<f8") / 3
    content = fcs(doubles.tobytes(), bits=[64] * 5)
    yield "float_is_double", Case(content, "$PnB and the length say double", doubles, noted=True)
    content = fcs(DATATYPE="D", bits=[32] * 5)
    yield "double_is_float", Case(content, "$PnB and the length say float", FLOATS, noted=True)
    content = fcs(doubles.tobytes(), DATATYPE="D", bits=[32] * 5)
    yield "double_bits", Case(content, "the length says double", doubles, noted=True)
    wrong = fcs(integers(INTEGERS, bits=[16] * 5), DATATYPE="I", bits=[32] * 5)
    yield "integer_bits", Case(wrong, "the length contradicts $PnB", REFUSED, message=r"\$PnB")
    wrong = fcs(integers(INTEGERS, bits=[32] * 5), DATATYPE="I", bits=[16] * 5)
    yield "integer_bits_half", Case(wrong, "7 events of 32 bits, or 14 of 16", REFUSED, message=r"\$PnB|room for 14")


def data_sets() -> Iterator[tuple[str, Case]]:
    """Yield chains of data sets."""
    parts = [fcs((FLOATS * factor).astype("<f4").tobytes(), NEXTDATA="00000000") for factor in (1, 2, 3)]
    for index in (0, 1):
        parts[index] = parts[index].replace(b"$NEXTDATA/00000000", b"$NEXTDATA/%08d" % len(parts[index]))
    for number in range(3):
        yield (
            f"chain_{number}",
            Case(
                b"".join(parts),
                "each data set by its number",
                FLOATS * np.float32(number + 1),
                number < 2,
                dataset=number,
            ),
        )
    for value in ("1000000", "3", "-5", "99999999999999999999"):
        yield f"next_{value}", Case(fcs(NEXTDATA=value), "no data set is there", FLOATS, noted=True)
    absolute = fcs(said=lambda b, e: (b + len(parts[0]), e + len(parts[0])))
    yield "absolute", Case(parts[0] + absolute, "places counted from the file", FLOATS, noted=True, dataset=1)


def other_files() -> Iterator[tuple[str, Case]]:
    """Yield what is no FCS file, or wrapped in gzip."""
    plain = fcs()
    yield "gz", Case(gzip.compress(plain), "the same, compressed", FLOATS, noted=False, suffix=".fcs.gz")
    yield "gz_unnamed", Case(gzip.compress(plain), "its bytes tell", FLOATS, noted=False)
    yield "gz_cut", Case(gzip.compress(plain)[:-9], "cut short", REFUSED, message="gzip", suffix=".fcs.gz")
    broken = bytearray(gzip.compress(plain))
    broken[len(broken) // 2] ^= 0xFF
    yield "gz_broken", Case(bytes(broken), "the checksum fails", REFUSED, message="gzip", suffix=".fcs.gz")
    yield "gz_of_cut", Case(gzip.compress(plain[:-1]), "cut before", REFUSED, message="6 complete events of 7")
    for name, content in (
        ("empty", b""),
        ("magic", b"FCS"),
        ("text", b"sample_id,path\nP01,a.fcs\n"),
        ("zip", b"PK\x03\x04" + b"\0" * 100),
        ("pdf", b"%PDF-1.4\n" + b"x" * 100),
        ("bom", b"\xef\xbb\xbf" + plain),
        ("newline", b"\n" + plain),
        ("lower", b"fcs" + plain[3:]),
        ("version", b"FCSx.y" + plain[6:]),
    ):
        yield f"no_fcs_{name}", Case(content, "it does not begin like FCS", REFUSED, message="not an FCS file")
    yield "header_only", Case(plain[:58], "TEXT is not there", REFUSED, message="cut short inside its TEXT")
    yield "half_a_header", Case(plain[:30], "no place of TEXT", REFUSED, message="TEXT")
    yield "text_cut", Case(plain[:200], "TEXT is cut", REFUSED, message="cut short inside its TEXT")

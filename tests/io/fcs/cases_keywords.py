"""What writers do to the keywords of FCS files: text, scaling, spillover, each case with its truth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from tests.io.fcs.maker import CHANNELS, FLOATS, INTEGERS, REFUSED, Case, fcs, whole


def scaling() -> Iterator[tuple[str, Case]]:
    """Yield amplifiers, gains and clocks."""
    linear = INTEGERS.astype(np.float64)
    log = 10 ** (4 * linear / 1024)
    expected = np.column_stack([log[:, 0], linear[:, 1:]])
    near = {"rtol": 2e-7}
    yield "log_4_0", Case(whole(16, limit=1024, P1E="4,0"), "4,0 means 4,1", expected, noted=True, **near)
    yield "log_4_1", Case(whole(16, limit=1024, P1E="4.0,1.0"), "10^(4x/1024)", expected, noted=False, **near)
    tenth = np.column_stack([log[:, 0] * 0.1, linear[:, 1:]])
    yield "log_4_01", Case(whole(16, limit=1024, P1E="4,0.1"), "0.1 at channel 0", tenth, noted=False, **near)
    yield "log_raw", Case(whole(16, limit=1024, P1E="4,1"), "stored values stay obtainable", INTEGERS, scale=False)
    both = whole(16, limit=1024, P1E="4,1", P1G="8")
    yield (
        "log_and_gain",
        Case(both, "gain is for linear amplifiers alone (FCS 3.1, 3.2.20)", expected, noted=True, **near),
    )
    yield "log_of_floats", Case(fcs(P1E="4,1"), "floats are linear by the standard", FLOATS, noted=True)
    yield "log_absurd", Case(whole(16, limit=1024, P1E="4000,1"), "no such amplifier", INTEGERS, noted=True)
    yield "log_bad", Case(whole(16, limit=1024, P1E="4;1"), "not readable: linear, and said so", INTEGERS, noted=True)
    yield "log_missing", Case(whole(16, drop=["P1E"]), "linear was assumed", INTEGERS, noted=True)
    yield "log_0_1", Case(whole(16, P1E="0,1"), "no decades: linear", INTEGERS, noted=False)
    gained = np.column_stack([linear[:, 0] / 4, linear[:, 1:]])
    yield "gain", Case(whole(16, P1G="4"), "x / 4", gained, noted=False)
    for value in ("0", "-2", "x", "1,0", "1e300", "inf"):
        yield f"gain_{value}", Case(whole(16, P1G=value), "no such gain: left, and said so", INTEGERS, noted=True)
    yield "gain_1", Case(whole(16, P1G="1.0"), "nothing to undo", INTEGERS, noted=False)
    timed = np.column_stack([linear[:, :4], linear[:, 4] * 0.01])
    yield "clock", Case(whole(16, TIMESTEP="0.01"), "seconds", timed, noted=False, **near)
    yield "clock_gain", Case(whole(16, TIMESTEP="0.01", P5G="0.01"), "the gain is the step", timed, noted=False, **near)
    yield "clock_gain_2", Case(whole(16, TIMESTEP="0.01", P5G="2"), "$TIMESTEP scales time", timed, noted=True, **near)
    for value in ("xxx", "", "0", "-1", "nan", "0,01"):
        yield f"clock_{value!r}", Case(whole(16, TIMESTEP=value), "ticks, and said so", INTEGERS, noted=True)


def keyword_text() -> Iterator[tuple[str, Case]]:
    """Yield what writers do to TEXT."""
    for delimiter in (
        b"\\",
        b"\x0c",
        b"\x1e",
        b"|",
        b"!",
        b"*",
        b"\n",
        b"\t",
        b",",
        b"-",
        b"\xa7",
        b"\x00",
        b" ",
        b"z",
        b"~",
    ):
        content = fcs(delimiter=delimiter)
        yield f"delimiter_{delimiter!r}", Case(content, "any byte may divide, doubled in values", FLOATS)
    for value in ("CD3/CD4", "/CD3", "CD3/", "/", "//", "a//b", "/a/b/", "a///b"):
        yield (
            f"escaped_{value}",
            Case(
                fcs(P3S=value),
                "doubled delimiters are the delimiter",
                FLOATS,
                noted=False,
                markers=("", "", value, "CAR", ""),
            ),
        )
    for name, raw in (
        ("middle", b"OPERATOR//"),
        ("two", b"OPERATOR//SMNO//"),
        ("three", b"OPERATOR//SMNO//$OP//"),
        ("after_value", b"$OP/me/SMNO//$INST/x/"),
    ):
        yield f"empty_{name}", Case(fcs(raw=raw), "a name holds no delimiter: the value is empty", FLOATS, noted=True)
    empty = fcs(P3S="", P4S="")
    yield "empty_markers", Case(empty, "two markers left empty", FLOATS, noted=True, markers=("",) * 5)
    unescaped = fcs(P3S="CD3|CD4").replace(b"CD3|CD4", b"CD3/CD4")
    markers = ("", "", "CD3/CD4", "CAR", "")
    yield (
        "unescaped",
        Case(unescaped, "only one reading leaves every required keyword", FLOATS, noted=True, markers=markers),
    )
    unescaped = fcs(P5S="a|b").replace(b"a|b", b"a/b")
    markers = ("", "", "CD3", "CAR", "a/b")
    yield (
        "unescaped_last",
        Case(unescaped, "offsets follow the unescaped delimiter", FLOATS, noted=True, markers=markers),
    )
    yield "lower", Case(fcs(case=str.lower), "keywords have no case", FLOATS, noted=False)
    yield "mixed_case", Case(fcs(case=str.title), "keywords have no case", FLOATS, noted=False)
    yield "blanks_in_names", Case(fcs(case=lambda key: f" {key} "), "blanks around names are dropped", FLOATS)
    yield "no_end", Case(fcs(closed=False), "the closing delimiter is missing", FLOATS, noted=True)
    slashes = np.frombuffer(b"/a/b" * 35, dtype="<f4").reshape(7, 5)
    yield "no_end_slashes", Case(fcs(slashes.tobytes(), closed=False), "DATA may look like TEXT", slashes, noted=True)
    silent = fcs(slashes.tobytes(), closed=False, header=lambda _b, _e: (0, 0))
    yield "no_end_slashes_header_zero", Case(silent, "DATA may look like TEXT", slashes, noted=True)
    yield "blank_end", Case(fcs(gap=b"   \r\n", header_text=lambda b, e: (b, e + 5)), "blanks behind TEXT", FLOATS)
    late = fcs(header_text=lambda b, e: (b, e + 3))
    yield "text_end_late", Case(late, "HEADER takes 3 bytes of DATA for TEXT", FLOATS, noted=True)
    for by in (1, 8, 40):
        early = fcs(header_text=lambda b, e, by=by: (b, e - by))
        yield f"text_end_early_{by}", Case(early, "TEXT goes on behind the end HEADER gives", FLOATS, noted=True)
    yield "text_at_256", Case(fcs(text_at=256), "blanks between HEADER and TEXT", FLOATS, noted=False)
    begin = fcs(text_at=60, header_text=lambda _b, e: (58, e))
    yield "text_begin_early", Case(begin, "HEADER points at two blanks before TEXT", FLOATS, noted=True)
    for form in (b"%-8d", b"%08d"):
        yield (
            f"header_form_{form.decode()}",
            Case(fcs(form=form), "any way to fill eight characters", FLOATS, noted=False),
        )
    utf = fcs(P3S="TCRµ αβ")
    markers = ("", "", "TCRµ αβ", "CAR", "")
    yield "utf8", Case(utf, "FCS 3.1 is UTF-8", FLOATS, noted=False, markers=markers)
    latin = fcs(P3S="TCRµ").replace("µ".encode(), b"\xb5 ")
    yield "latin1", Case(latin, "not UTF-8", FLOATS, noted=True, markers=("", "", "TCRµ", "CAR", ""))
    both = fcs(P3S="TCRµ", P4S="αβ").replace("µ".encode(), b"\xb5 ")
    yield "latin1_and_utf8", Case(both, "each value by itself", FLOATS, noted=True, markers=("", "", "TCRµ", "αβ", ""))
    yield "duplicate", Case(fcs(raw=b"$P3S/CD8/"), "the last one counts", FLOATS, noted=True)
    yield "duplicate_same", Case(fcs(raw=b"$P3S/CD3/"), "said twice, the same", FLOATS, noted=False)
    yield (
        "no_name",
        Case(fcs(drop=["P2N"]), "a name is made", FLOATS, noted=True, channels=("FSC-A", "P2", *CHANNELS[2:])),
    )
    yield "no_bits", Case(fcs(drop=["P2B"]), "floats are 32 bits wide", FLOATS, noted=True)
    content = whole(16, drop=["P2B"])
    yield "no_bits_integer", Case(content, "the width of an integer cannot be told", REFUSED, message=r"\$P2B")
    for value in ("0", "65", "-8", "x", "1000000000"):
        content = whole(16, P2B=value)
        yield f"bits_{value}", Case(content, "no such width", REFUSED, message=r"\$P2B|width|complete events")
    same = ("FSC-A", "SSC-A", "FITC-A", "FITC-A", "Time")
    yield "same_names", Case(fcs(P4N="FITC-A"), "both columns stay, in order", FLOATS, noted=True, channels=same)
    crossed = ("", "", "PE-A", "CAR", "")
    yield "marker_is_channel", Case(fcs(P3S="PE-A"), "a marker called like a channel", FLOATS, markers=crossed)
    yield (
        "same_markers",
        Case(fcs(P3S="CAR"), "markers may repeat", FLOATS, noted=False, markers=("", "", "CAR", "CAR", "")),
    )
    yield "unicode", Case(fcs(UNICODE="65001,$P1S"), "FCS 3.0 keyword of no use here", FLOATS, noted=False)
    extra = b"/$P3S/CD8/$OP/me/"
    yield (
        "supplement",
        Case(fcs(supplement=extra, drop=["P3S"]), "merged", FLOATS, noted=False, markers=("", "", "CD8", "CAR", "")),
    )
    yield "supplement_against", Case(fcs(supplement=extra), "the primary TEXT is right", FLOATS, noted=True)
    against = b"/$TOT/3/$PAR/2/$P1N/x/$BEGINDATA/3/"
    yield "supplement_against_all", Case(fcs(supplement=against), "the primary TEXT is right", FLOATS, noted=True)
    beyond = fcs(supplement=extra, supplement_said=lambda b, _e: (b, 10**6))
    yield "supplement_beyond", Case(beyond, "it is not in the file", FLOATS, noted=True)
    off = fcs(supplement=extra, drop=["P3S"], supplement_said=lambda b, e: (b + 1, e + 1))
    yield "supplement_off", Case(off, "its delimiter tells", FLOATS, noted=True, markers=("", "", "CD8", "CAR", ""))
    again = fcs(supplement=b" ", supplement_said=lambda b, _e: (58, b - 1))
    yield "supplement_is_text", Case(again, "the place of TEXT itself", FLOATS, noted=False)
    for version, noted in (
        ("3.0", False),
        ("3.1", False),
        ("3.2", False),
        ("2.0", False),
        ("3.9", True),
        ("1.0", True),
    ):
        yield f"version_{version}", Case(fcs(version=version), "TEXT describes itself", FLOATS, noted=noted)
    analysis = fcs(tail=b"/GATE1/x/")
    yield "analysis", Case(analysis, "a segment behind DATA", FLOATS, noted=False)


def matrices() -> Iterator[tuple[str, Case]]:
    """Yield spillover matrices."""
    pair = (("FITC-A", "PE-A"), [[1, 0.1], [0.05, 1]])
    numbers = "1,0.1,0.05,1"

    def of(reason: str, spillover: Any, noted: bool | None, **keywords: str) -> Case:
        return Case(fcs(**keywords), reason, FLOATS, noted, spillover=spillover)

    yield "spill_name", of("by channel", pair, False, SPILLOVER=f"2,FITC-A,PE-A,{numbers}")
    turned = (("PE-A", "FITC-A"), [[1, 0.1], [0.05, 1]])
    yield "spill_order", of("in its own order", turned, False, SPILLOVER=f"2,PE-A,FITC-A,{numbers}")
    yield "spill_blanks", of("blanks", pair, False, SPILLOVER=" 2, FITC-A, PE-A, 1, 0.1, 0.05, 1 ")
    yield "spill_marker", of("by marker", pair, True, SPILLOVER=f"2,CD3,CAR,{numbers}")
    yield "spill_index", of("by number", pair, True, SPILLOVER=f"2,3,4,{numbers}")
    yield "spill_case", of("capitals", pair, True, SPILLOVER=f"2,fitc-a,pe-a,{numbers}")
    yield "spill_exponent", of("exponents", pair, False, SPILLOVER="2,FITC-A,PE-A,1.0e0,1e-1,5E-2,1")
    for name, value in (
        ("n_3", f"3,FITC-A,PE-A,{numbers}"),
        ("n_1", f"1,FITC-A,PE-A,{numbers}"),
        ("n_huge", f"1000000000,FITC-A,PE-A,{numbers}"),
        ("n_x", f"x,FITC-A,PE-A,{numbers}"),
        ("stranger", f"2,FITC-A,BV421-A,{numbers}"),
        ("short", "2,FITC-A,PE-A,1,0.1,0.05"),
        ("long", "2,FITC-A,PE-A,1,0.1,0.05,1,0"),
        ("word", "2,FITC-A,PE-A,1,a,0.05,1"),
        ("nan", "2,FITC-A,PE-A,1,nan,0.05,1"),
        ("twice", f"2,PE-A,PE-A,{numbers}"),
        ("zero", "2,FITC-A,PE-A,0,0,0,0"),
        ("singular", "2,FITC-A,PE-A,1,1,1,1"),
        ("negative", "2,FITC-A,PE-A,-1,0,0,1"),
        ("decimal_comma", "2,FITC-A,PE-A,1,0,1,0,05,1"),
        ("only_n", "2"),
    ):
        yield f"spill_{name}", of("cannot be read: none is attached, and it is said", None, True, SPILLOVER=value)
    yield "spill_percent", of("100 on the diagonal", pair, True, SPILLOVER="2,FITC-A,PE-A,100,10,5,100")
    yield "spill_semicolon", of("other separators", pair, True, SPILLOVER="2;FITC-A;PE-A;1;0.1;0.05;1")
    yield "spill_locale", of("decimal commas", pair, True, SPILLOVER="2;FITC-A;PE-A;1;0,1;0,05;1")
    yield "spill_tab", of("other separators", pair, True, SPILLOVER="2\tFITC-A\tPE-A\t1\t0.1\t0.05\t1")
    identity = (("FITC-A", "PE-A"), [[1, 0], [0, 1]])
    yield "spill_identity", of("says nothing spills", identity, None, SPILLOVER="2,FITC-A,PE-A,1,0,0,1")
    raw = f"SPILL/2,FITC-A,PE-A,{numbers}/".encode()
    for key in (b"SPILL", b"spill", b"Spillover", b"$SPILL"):
        content = fcs(raw=raw.replace(b"SPILL", key))
        yield f"spill_key_{key.decode()}", Case(content, "names in use", FLOATS, noted=False, spillover=pair)
    both = fcs(raw=raw, SPILLOVER="2,FITC-A,PE-A,1,0.2,0,1")
    first = (("FITC-A", "PE-A"), [[1, 0.2], [0, 1]])
    yield "spill_two", Case(both, "the keyword of the standard wins", FLOATS, noted=True, spillover=first)
    both = fcs(raw=raw, SPILLOVER=f"2,FITC-A,PE-A,{numbers}")
    yield "spill_two_same", Case(both, "both say the same", FLOATS, noted=False, spillover=pair)
    both = fcs(raw=raw, SPILLOVER="2,FITC-A,PE-A,1,0.2,0")
    yield "spill_two_one_broken", Case(both, "one can be read, the other is told", FLOATS, noted=True, spillover=pair)
    full = np.eye(5)
    full[2, 3], full[3, 2] = 0.1, 0.05
    square = ",".join(f"{v:g}" for v in full.ravel())
    yield "comp", of("over all parameters", (CHANNELS, full), False, COMP=f"5,{square}")
    yield "comp_fewer", of("over which two is not said", None, True, COMP=f"2,{numbers}")
    yield "dfc", of("percent of m in n", pair, None, version="2.0", DFC3TO4="10", DFC4TO3="5")
    yield "dfc_zero", of("nothing spills", None, False, version="2.0", DFC3TO4="0.00", DFC4TO3="0.00")
    yield (
        "dfc_one",
        of("the other way is zero", (("FITC-A", "PE-A"), [[1, 0.1], [0, 1]]), None, version="2.0", DFC3TO4="10.0"),
    )
    yield "dfc_scatter", of("numbers of detectors", None, True, version="2.0", DFC1TO2="10", DFC2TO1="5")
    yield "dfc_beyond", of("no such parameter", None, True, version="2.0", DFC3TO9="10")
    yield "dfc_word", of("no number", None, True, version="2.0", DFC3TO4="x")
    yield "none", of("no matrix", None, False)

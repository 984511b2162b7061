"""FCS files made byte by byte from the standard alone, what a reader must do with them, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHANNELS = ("FSC-A", "SSC-A", "FITC-A", "PE-A", "Time")
MARKERS = ("", "", "CD3", "CAR", "")
N_EVENTS = 7
RNG = np.random.default_rng(7)
FLOATS = np.round(RNG.uniform(-50, 1000, (N_EVENTS, 5)), 2).astype("<f4")
INTEGERS = RNG.integers(1, 1000, (N_EVENTS, 5))
REFUSED = None
UNSAID: Any = object()


@dataclass(frozen=True)
class Case:
    """A file, the values it holds (``REFUSED``: an error), and what else must be true of what is read."""

    content: bytes
    reason: str
    values: NDArray[Any] | None = UNSAID
    noted: bool | None = None
    message: str = ""
    scale: bool = True
    channels: Sequence[str] = CHANNELS
    markers: Sequence[str] = MARKERS
    spillover: Any = UNSAID
    rtol: float = 0.0
    suffix: str = ".fcs"
    dataset: int = 0


def described(*, bits: Sequence[int | str] = (32,) * 5, ranges: Sequence[int | str] = (1024,) * 5) -> dict[str, str]:
    """Return the keywords of the five parameters, named without their dollar."""
    pairs = {}
    for index, (name, marker) in enumerate(zip(CHANNELS, MARKERS, strict=True), 1):
        pairs |= {f"P{index}N": name, f"P{index}B": str(bits[index - 1]), f"P{index}E": "0,0"}
        pairs[f"P{index}R"] = str(ranges[index - 1])
        if marker:
            pairs[f"P{index}S"] = marker
    return pairs


def fcs(
    data: bytes = FLOATS.tobytes(),
    *,
    version: str = "3.1",
    delimiter: bytes = b"/",
    drop: Sequence[str] = (),
    raw: bytes = b"",
    gap: bytes = b"",
    tail: bytes = b"",
    text_at: int = 58,
    said: Callable[[int, int], tuple[int, int]] = lambda begin, end: (begin, end),
    header: Callable[[int, int], tuple[int, int]] | None = None,
    header_text: Callable[[int, int], tuple[int, int]] = lambda begin, end: (begin, end),
    form: bytes = b"%8d",
    closed: bool = True,
    case: Callable[[str], str] = str,
    bits: Sequence[int | str] = (32,) * 5,
    ranges: Sequence[int | str] = (1024,) * 5,
    supplement: bytes = b"",
    supplement_said: Callable[[int, int], tuple[int, int]] = lambda begin, end: (begin, end),
    **keywords: str,
) -> bytes:
    """Build one data set: HEADER, TEXT, supplemental TEXT, gap, DATA, tail; ``said`` is what TEXT says of DATA."""
    pairs = {"BYTEORD": "1,2,3,4", "DATATYPE": "F", "MODE": "L", "NEXTDATA": "0", "PAR": "5", "TOT": str(N_EVENTS)}
    pairs |= described(bits=bits, ranges=ranges) | keywords
    places = {"BEGINDATA": 0, "ENDDATA": 0, "BEGINANALYSIS": 0, "ENDANALYSIS": 0, "BEGINSTEXT": 0, "ENDSTEXT": 0}

    def text() -> bytes:
        every = pairs | {key: f"{place:12d}" for key, place in places.items() if key not in keywords}
        parts = [delimiter]
        for key, value in every.items():
            if key not in drop:
                quoted = value.encode().replace(delimiter, delimiter * 2)
                parts += [case("$" + key).encode(), delimiter, quoted, delimiter]
            if key == "TOT":
                parts.append(raw)
        joined = b"".join(parts)
        return joined if closed else joined[: -len(delimiter)]

    end_text = text_at + len(text()) - 1
    begin = end_text + 1 + len(supplement) + len(gap)
    end = begin + len(data) - 1
    places["BEGINDATA"], places["ENDDATA"] = said(begin, end)
    if supplement:
        places["BEGINSTEXT"], places["ENDSTEXT"] = supplement_said(end_text + 1, end_text + len(supplement))
    numbers = (*header_text(text_at, end_text), *(header or said)(begin, end), 0, 0)
    fields = b"".join((form % number)[:8].ljust(8) for number in numbers)
    head = (b"FCS" + version.encode() + b"    " + fields).ljust(text_at)
    return head + text() + supplement + gap + data + tail


def integers(values: NDArray[Any], *, bits: Sequence[int], order: str = "little") -> bytes:
    """Write whole-byte integers."""
    widths = [width // 8 for width in bits]
    return b"".join(int(v).to_bytes(w, order) for row in values for v, w in zip(row, widths, strict=True))  # type: ignore[arg-type]


def packed(values: NDArray[Any], *, bits: Sequence[int]) -> bytes:
    """Write integers bit by bit without padding, the most significant first."""
    stream = "".join(f"{int(v):0{w}b}" for row in values for v, w in zip(row, bits, strict=True))
    return bytes(int(stream[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(stream), 8))


def whole(
    width: int, *, order: str = "little", version: str = "3.1", limit: int | str | None = None, **more: str
) -> bytes:
    """Write a file of integers of one width, with a range that uses all bits unless said."""
    byte_order = {"little": "1,2,3,4", "big": "4,3,2,1"}[order]
    return fcs(
        integers(INTEGERS % 2 ** min(width, 62), bits=[width] * 5, order=order),
        version=version,
        bits=[width] * 5,
        ranges=[2**width if limit is None else limit] * 5,
        **{"DATATYPE": "I", "BYTEORD": byte_order} | more,
    )

"""Where DATA is in an FCS file, and how many events it holds.

Where HEADER, TEXT, $TOT and the length of the file disagree, arithmetic decides; where it cannot, the file is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellprec.io.fcs.source import BLOCK_BYTES
from cellprec.io.fcs.text import Text, whole
from cellprec.notes import Note

if TYPE_CHECKING:
    from cellprec.errors import FileFormatError
    from cellprec.io.fcs.source import FcsSource

CRC_BYTES = 8
# two facts of those that _support counts
ENOUGH_SUPPORT = 2
DIGITS = b"0123456789.+-eE"
_SEPARATES = np.isin(np.arange(256), list(b" \t\n\r\x0b\x0c,\0"))


@dataclass(frozen=True)
class Parameter:
    """One column: names, how it is stored (``I``, ``F``, ``D`` or ``A``), and how stored values become linear ones."""

    channel: str
    marker: str
    stored: str
    bits: int
    range: float
    mask: int | None
    decades: float = 0.0
    log_zero: float = 0.0
    gain: float = 1.0
    time_step: float = 1.0


@dataclass(frozen=True)
class Layout:
    """Everything needed to turn bytes into events."""

    parameters: tuple[Parameter, ...]
    n_events: int
    begin: int
    n_bytes: int
    byte_order: tuple[int, ...]
    notes: tuple[Note, ...]

    @property
    def event_bits(self) -> int:
        """The width of an event (0 where the text is delimited)."""
        return sum(parameter.bits for parameter in self.parameters)


@dataclass(frozen=True)
class _Place:
    source: str
    begin: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.begin + 1


def locate(source: FcsSource, text: Text, parameters: tuple[Parameter, ...], notes: list[Note]) -> tuple[int, int, int]:
    """Return the first byte of DATA, the number of events and the bytes they take."""
    bits = sum(parameter.bits for parameter in parameters)
    announced = whole(text.keywords.get("$TOT"))
    places = _places(text)
    if not bits:
        return _delimited(source, places, len(parameters), announced, notes)
    if announced is None or announced < 0:
        return _count(source, text, places, bits, notes)
    if announced == 0:
        held = [place for place in places if place.end < source.size and place.length * 8 >= bits]
        return _by_segment(source, text, held, parameters, 0, notes) if held else (0, 0, 0)
    need = _bytes(announced, bits)
    if not places:
        return _computed(source, text, announced, need, notes)
    fitting = [place for place in places if place.begin + need <= source.size]
    moved = _straight(source, text, places, need, bits) or (None if fitting else _absolute(source, text, places, need))
    if moved:
        found = ", ".join(f"{place.source} {place.begin:,}–{place.end:,}" for place in places)
        message = (
            f"The place of the data that the file gives ({found}) does not hold its {announced:,} events: they were "
            f"read from byte {moved.begin:,} on, {moved.source}, where they fit exactly."
        )
        notes.append(Note("fcs.offsets", message))
        return moved.begin, announced, need
    settle = _fitting if fitting else _by_segment
    return settle(source, text, fitting or places, parameters, announced, notes)


def _absolute(source: FcsSource, text: Text, places: list[_Place], need: int) -> _Place | None:
    """Return the place of a later data set that is counted from the start of the file, where that fits."""
    for place in places if source.base else []:
        begin = place.begin - source.base
        if begin > text.segments.text[1] and place.length == need and begin + need <= source.size:
            return _Place("counted from the start of the file", begin, begin + need - 1)
    return None


def fits(text: Text, parameters: tuple[Parameter, ...]) -> bool:
    """Tell whether $TOT events of these parameters are exactly as long as HEADER or TEXT says DATA is."""
    bits = sum(parameter.bits for parameter in parameters)
    announced = whole(text.keywords.get("$TOT")) or 0
    return announced > 0 and any(place.length == _bytes(announced, bits) for place in _places(text))


def _straight(source: FcsSource, text: Text, places: list[_Place], need: int, bits: int) -> _Place | None:
    """Return the place right behind TEXT where the file cannot mean the one it gives, and that one fits exactly."""
    begin = text.segments.text[1] + 1
    straight = _Place("right behind TEXT", begin, begin + need - 1)
    if straight.end >= source.size or any(place.begin == begin for place in places):
        return None
    if any(place.length == need and place.begin + need in (source.size, _before_crc(source)) for place in places):
        return None
    if all(place.length != need for place in places) and any(place.end == straight.end for place in places):
        return straight
    # what lies between TEXT and the place given would be lost data, were it not padding or another segment
    first = min(place.begin for place in places)
    gap = source.read(begin, min(first - begin, need)) if first > begin else b""
    supplement = whole(text.keywords.get("$BEGINSTEXT")) or 0
    analysis = whole(text.keywords.get("$BEGINANALYSIS")) or 0
    other = any(begin <= at < first for at in (supplement, analysis))
    ends = straight.end + 1 in (source.size, _before_crc(source))
    if not gap or _is_padding(gap) or other:
        return None
    if not ends and len(gap) * 8 < bits:
        raise source.error(
            "it cannot be told where the data begin: at the end of TEXT, or where the file says",
            why=f"{len(gap)} bytes that are no padding lie between the two: {gap[:16]!r}",
        )
    return straight if ends else None


def _before_crc(source: FcsSource) -> int:
    """Return where the file ends without its checksum (its end where there is none)."""
    crc = source.read(source.size - CRC_BYTES, CRC_BYTES) if source.size > CRC_BYTES else b""
    return source.size - CRC_BYTES if crc.isdigit() else source.size


def _fitting(
    source: FcsSource,
    text: Text,
    fitting: list[_Place],
    parameters: tuple[Parameter, ...],
    announced: int,
    notes: list[Note],
) -> tuple[int, int, int]:
    """Take the place that holds all events that $TOT announces."""
    bits = sum(parameter.bits for parameter in parameters)
    need = _bytes(announced, bits)
    place = _choose(source, text, fitting, need, bits, notes)
    longer = [p for p in _places(text) if p.begin == place.begin and p.end < source.size and p.length > place.length]
    for other in longer:
        more = source.read(place.begin + need, other.length - need)
        checksum = len(more) == CRC_BYTES and more.isdigit()
        if len(more) * 8 >= bits and other.length * 8 % bits == 0 and not checksum and not _is_padding(more):
            raise _contradicted(source, announced, other.length * 8 // bits)
    spare = place.length - need
    if abs(spare) * 8 < bits:
        if spare:
            side = "after" if spare > 0 else "before"
            message = f"By {place.source}, DATA ends {abs(spare)} bytes {side} its last event: $TOT decided."
            notes.append(Note("fcs.offsets", message))
        return place.begin, announced, need
    if spare > 0 and _is_padding(source.read(place.begin + need, min(spare, source.size - place.begin - need))):
        notes.append(Note("fcs.offsets", f"DATA holds {spare:,} bytes of padding after its {announced:,} events."))
        return place.begin, announced, need
    return _by_segment(source, text, [place], parameters, announced, notes)


def _places(text: Text) -> list[_Place]:
    """Return where TEXT and HEADER say that DATA is, without what cannot be (inside TEXT, or not said)."""
    first, last = text.segments.text
    return [p for p in _claims(text) if 0 < p.begin <= p.end and not first <= p.begin <= last]


def _claims(text: Text) -> list[_Place]:
    """Return what TEXT and HEADER say of the place of DATA, the one to be believed first."""
    named = (whole(text.keywords.get("$BEGINDATA")) or 0, whole(text.keywords.get("$ENDDATA")) or 0)
    claims = [_Place("TEXT", *named), _Place("HEADER", *text.segments.data)]
    return claims[::-1] if text.segments.version.startswith("2") else claims


def _choose(source: FcsSource, text: Text, places: list[_Place], need: int, bits: int, notes: list[Note]) -> _Place:
    """Return the place that the arithmetic speaks for; refuse where it speaks for two."""
    everywhere = _places(text)
    sources = {place.source for place in everywhere}
    if "TEXT" not in sources and not text.segments.version.startswith("2"):
        notes.append(Note("fcs.offsets", "TEXT does not say where the data are: the offsets of HEADER were used."))
    if "HEADER" not in sources and text.segments.data != (0, 0):
        message = "HEADER cannot be right about where the data are: the offsets of TEXT were used."
        notes.append(Note("fcs.offsets", message))
    support = [_support(source, text, place, need, bits) for place in places]
    left = [place for place, points in zip(places, support, strict=True) if points == max(support)]
    tied = len({place.begin for place in left}) > 1
    if tied or (len({place.begin for place in everywhere}) > 1 and max(support) < ENOUGH_SUPPORT):
        found = " and ".join(f"{place.source} {place.begin:,}–{place.end:,}" for place in everywhere)
        why = f"{'both fit' if tied else 'neither fits'} the file: {found}; the events take {need:,} bytes"
        raise source.error("HEADER and TEXT disagree about where the data are", why=why)
    chosen = left[0]
    if len({(place.begin, place.end) for place in everywhere}) > 1:
        found = ", ".join(f"{place.source} {place.begin:,}–{place.end:,}" for place in everywhere)
        message = f"HEADER and TEXT disagree about where the data are ({found}): {chosen.source} fits the file."
        notes.append(Note("fcs.offsets", message))
    return chosen


def _support(source: FcsSource, text: Text, place: _Place, need: int, bits: int) -> float:
    """Count what speaks for a place: its own two ends agree, it begins behind TEXT, it ends with the file."""
    exact = 2.0 if place.length == need else 0.5 * (abs(place.length - need) * 8 < bits)
    after_text = place.begin == text.segments.text[1] + 1
    return exact + after_text + (place.begin + need in (source.size, _before_crc(source)))


def _by_segment(
    source: FcsSource,
    text: Text,
    places: list[_Place],
    parameters: tuple[Parameter, ...],
    announced: int,
    notes: list[Note],
) -> tuple[int, int, int]:
    """Take the number of events from the segment where $TOT cannot be right, or refuse."""
    bits = sum(parameter.bits for parameter in parameters)
    place = places[0]
    complete = max(min(source.size - p.begin, p.length) * 8 // bits if p.begin < source.size else 0 for p in places)
    agreed = len({(p.begin, p.end) for p in places}) == 1 and place.end < source.size
    widths = {announced * len(parameters) * width for width in (1, 2, 3, 4, 8)} if announced else set()
    if agreed and place.length in widths:
        raise source.error(
            "the length of the data contradicts the widths of its parameters ($PnB)",
            why=f"{announced:,} events in {place.length:,} bytes would be {place.length // announced} bytes each, "
            f"the keywords say {bits / 8:g}",
        )
    # fewer announced than there are: only where nobody but $TOT says so
    everyone = {(p.begin, p.end) for p in _places(text)} == {(place.begin, place.end)}
    ends = place.end + 1 in (source.size, _before_crc(source))
    if agreed and place.length * 8 % bits == 0 and (announced == 0 or complete < announced or (everyone and ends)):
        message = (
            f"$TOT announces {announced:,} events, the data segment holds exactly {complete:,}: {complete:,} were read."
        )
        notes.append(Note("fcs.events", message, complete))
        return place.begin, complete, place.length
    if complete < announced:
        raise source.error(
            f"the file is cut short: {complete:,} complete events of {announced:,} announced",
            why="the missing events may not be missing at random, so nothing is read",
        )
    raise _contradicted(source, announced, complete)


def _contradicted(source: FcsSource, announced: int, complete: int) -> FileFormatError:
    return source.error(
        f"$TOT announces {announced:,} events, the data segment has room for {complete:,}",
        why="the two cannot both be right, and events must not be lost or made up",
    )


def _count(source: FcsSource, text: Text, places: list[_Place], bits: int, notes: list[Note]) -> tuple[int, int, int]:
    """Count the events by the length of DATA, where the file does not say how many there are."""
    held = [place for place in places if place.end < source.size and place.length * 8 >= bits]
    if not held:
        raise source.error("the file says neither how many events it has nor where they are")
    exact = [place for place in held if place.length * 8 % bits < 8]
    left = exact or [place for place in held if _loose_end(source, place, bits)]
    if len({(place.begin, place.length * 8 // bits) for place in left}) != 1:
        lengths = " or ".join(sorted({f"{place.length:,}" for place in held}))
        raise source.error(
            "the file does not say how many events it has ($TOT), and the length of the data does not tell",
            why=f"the data are {lengths} bytes long, an event takes {bits / 8:g}",
        )
    n_events = left[0].length * 8 // bits
    said = text.keywords.get("$TOT", "").strip()
    how = f"is no number of events ({said!r})" if said else "is missing"
    message = f"$TOT {how}: the data segment has room for {n_events:,} events, and they were read."
    notes.append(Note("fcs.events", message, n_events))
    return left[0].begin, n_events, _bytes(n_events, bits)


def _loose_end(source: FcsSource, place: _Place, bits: int) -> bool:
    """Tell whether what follows the last whole event is one byte (an end that is off by one) or padding."""
    rest = place.length - _bytes(place.length * 8 // bits, bits)
    return rest == 1 or _is_padding(source.read(place.end + 1 - rest, rest))


def _delimited(
    source: FcsSource, places: list[_Place], n_channels: int, announced: int | None, notes: list[Note]
) -> tuple[int, int, int]:
    """Find numbers written as text, delimited: their count decides, and no number may be cut."""
    if announced == 0 and not places:
        return 0, 0, 0
    if not places or places[0].begin >= source.size:
        raise source.error("the file is cut short, or does not say where its data are")
    seen: dict[tuple[int, int], int] = {}
    for place in places:
        end = min(place.end, source.size - 1)
        # the number before a place, or behind it, must not run into it
        around = source.read(place.begin - 1, 2), source.read(end, 2)
        whole_numbers = all(len(pair) < 2 or pair.strip(DIGITS) != b"" for pair in around)
        if len(places) == 1 or places[0] == places[-1] or whole_numbers:
            seen[place.begin, end] = count_numbers(source, place.begin, end)
    wanted = n_channels * announced if announced else 0
    left = [span for span, found in seen.items() if (found == wanted if wanted else found % n_channels == 0)]
    if len(left) != 1 and not (left and len(set(seen.values())) == 1):
        held = max(seen.values(), default=0)
        raise source.error(
            f"the text data hold {held // n_channels:,} complete events, {announced or 0:,} are announced",
            why="events must not be lost or made up",
        )
    begin, end = left[0]
    n_events = seen[left[0]] // n_channels
    if not announced and n_events:
        message = f"$TOT does not say how many events there are: the text data hold {n_events:,}."
        notes.append(Note("fcs.events", message, n_events))
    if any((place.begin, place.end) != (begin, end) for place in places):
        message = f"The place of the data is contradicted or beyond the file: bytes {begin:,}–{end:,} hold every event."
        notes.append(Note("fcs.offsets", message))
    return begin, n_events, end - begin + 1


def count_numbers(source: FcsSource, begin: int, end: int) -> int:
    """Count the numbers in the delimited text of these bytes, a block at a time."""
    count, before = 0, True
    for at in range(begin, end + 1, BLOCK_BYTES):
        raw = np.frombuffer(source.read(at, min(BLOCK_BYTES, end + 1 - at)), dtype=np.uint8)
        apart = _SEPARATES[raw]
        # a number begins wherever a separator ends
        count += int(np.count_nonzero(~apart[1:] & apart[:-1])) + int(before and not apart[:1].all())
        before = bool(apart[-1]) if len(apart) else before
    return count


def _computed(source: FcsSource, text: Text, announced: int, need: int, notes: list[Note]) -> tuple[int, int, int]:
    after_text = text.segments.text[1] + 1
    if after_text + need <= source.size and any(claim.end == after_text + need - 1 for claim in _claims(text)):
        message = "The data cannot begin where HEADER and TEXT say; they end there, and begin right behind TEXT."
        notes.append(Note("fcs.offsets", message))
        return after_text, announced, need
    for end, tail in ((source.size, b""), (source.size - CRC_BYTES, source.read(source.size - CRC_BYTES, CRC_BYTES))):
        begin = end - need
        # blanks between TEXT and DATA are padding; zero bytes may be the first event
        if (
            begin >= after_text
            and not source.read(after_text, begin - after_text).strip(b" ")
            and (not tail or tail.isdigit())
        ):
            message = "Neither HEADER nor TEXT says where the data are: $TOT and the length of the file do."
            notes.append(Note("fcs.offsets", message))
            return begin, announced, need
    raise source.error("neither HEADER nor TEXT says where the data are, and the length of the file does not tell")


def _bytes(n_events: int, bits: int) -> int:
    return -(-n_events * bits // 8)


def _is_padding(raw: bytes) -> bool:
    return not raw.strip(b" \0\r\n\t")

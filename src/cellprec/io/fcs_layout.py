"""How the events lie in an FCS file: the parameters, the width of an event, and where DATA really is.

Where HEADER, TEXT, $TOT and the length of the file disagree, arithmetic decides; where it cannot, the file is refused.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellprec.io.fcs_text import BLANK, Text, number, whole
from cellprec.notes import Note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellprec.io.fcs_source import FcsSource

BITS = {"F": 32, "D": 64}
CRC_BYTES = 8


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


def read_layout(source: FcsSource, text: Text) -> Layout:
    """Work out the layout of the events from the keywords and the length of the file."""
    keywords = text.keywords
    mode = keywords.get("$MODE", "L").strip(BLANK).upper()
    if mode != "L":
        why = "only list mode (L) holds single events; this one holds histograms"
        raise source.error(f"the file is not in list mode ($MODE is {mode})", why=why)
    notes: list[Note] = []
    parameters = _parameters(source, keywords, notes)
    order = _byte_order(source, keywords, parameters)
    begin, n_events, n_bytes = _locate(source, text, parameters, notes)
    return Layout(parameters, n_events, begin, n_bytes, order, _gathered(notes))


def _gathered(notes: list[Note]) -> tuple[Note, ...]:
    """Make one counted note of those that say the same of several parameters."""
    times = Counter(notes)
    return tuple(note if n == 1 else Note(note.code, note.text, n) for note, n in times.items())


def _parameters(source: FcsSource, keywords: Mapping[str, str], notes: list[Note]) -> tuple[Parameter, ...]:
    n_channels = whole(keywords.get("$PAR"))
    if n_channels is None or n_channels < 1:
        raise source.error(f"$PAR is not a number of channels: {keywords.get('$PAR')!r}")
    default = keywords.get("$DATATYPE", "").strip(BLANK).upper()
    made = []
    for index in range(1, n_channels + 1):
        stored = keywords.get(f"$P{index}DATATYPE", default).strip(BLANK).upper()
        if stored not in {"I", "F", "D", "A"}:
            raise source.error(f"the data type of parameter {index} is not one of I, F, D, A: {stored!r}")
        made.append(_parameter(source, keywords, index, stored, notes))
    return tuple(made)


def _parameter(source: FcsSource, keywords: Mapping[str, str], index: int, stored: str, notes: list[Note]) -> Parameter:
    channel = keywords.get(f"$P{index}N", "").strip(BLANK)
    if not channel:
        channel = f"P{index}"
        notes.append(Note("fcs.names", f"Parameter {index} has no name ($P{index}N): it is called {channel}."))
    announced = keywords.get(f"$P{index}B", "").strip(BLANK)
    bits = BITS.get(stored, whole(announced) or 0)
    if stored in BITS and whole(announced) != bits:
        text = f"$PnB says {announced or 'nothing'}, but data of type {stored} are {bits} bits wide: read as such."
        notes.append(Note("fcs.bits", text))
    if stored == "A" and announced != "*":
        bits = 8 * (whole(announced) or 0)
    if (stored == "I" and not 1 <= bits <= 64) or (stored == "A" and not bits and announced != "*"):
        raise source.error(f"the width of parameter {index} ({channel}) cannot be read: $P{index}B is {announced!r}")
    limit = number(keywords.get(f"$P{index}R"))
    decades, log_zero = _amplification(keywords, index, stored, limit, notes)
    is_time = channel.lower() == "time"
    gain = number(keywords.get(f"$P{index}G")) or 1.0
    return Parameter(
        channel=channel,
        marker=keywords.get(f"$P{index}S", "").strip(BLANK),
        stored=stored,
        bits=bits,
        range=limit if limit is not None else float("nan"),
        mask=_mask(keywords.get(f"$P{index}R", ""), channel, bits, notes) if stored == "I" else None,
        decades=decades,
        log_zero=log_zero,
        # cytometers write a gain for the clock as well: time is scaled by $TIMESTEP alone
        gain=1.0 if is_time or gain <= 0 else gain,
        time_step=_time_step(keywords, notes) if is_time else 1.0,
    )


def _mask(value: str, channel: str, bits: int, notes: list[Note]) -> int | None:
    limit = whole(value)
    if limit is None or limit < 1:
        notes.append(
            Note("fcs.range", f"The range of {channel} is not a whole number: {value!r}. No bits were masked.")
        )
        return None
    if not value.strip(BLANK).isdigit():
        notes.append(Note("fcs.range", f"The range of {channel} is written {value.strip(BLANK)!r}: read as {limit}."))
    used = max((limit - 1).bit_length(), 1)
    return (1 << used) - 1 if used < bits else None


def _amplification(
    keywords: Mapping[str, str], index: int, stored: str, limit: float | None, notes: list[Note]
) -> tuple[float, float]:
    parts = [number(part) for part in keywords.get(f"$P{index}E", "0,0").split(",")]
    decades, log_zero = (parts[0] or 0.0, parts[1] or 0.0) if len(parts) == 2 else (0.0, 0.0)
    if decades <= 0:
        return 0.0, 0.0
    if stored in BITS or not limit or limit <= 0:
        why = "floating point data are linear by the standard" if stored in BITS else "its range is not known"
        text = f"Logarithmic amplifiers are announced ($PnE) that were not undone: {why}."
        notes.append(Note("fcs.amplification", text))
        return 0.0, 0.0
    if log_zero <= 0:
        text = "Logarithmic amplifiers ($PnE) without a value at channel 0: 1 was taken, as the standard advises."
        notes.append(Note("fcs.amplification", text))
        log_zero = 1.0
    return decades, log_zero


def _time_step(keywords: Mapping[str, str], notes: list[Note]) -> float:
    if "$TIMESTEP" not in keywords:
        return 1.0
    step = number(keywords["$TIMESTEP"])
    if step is None or step <= 0:
        text = f"$TIMESTEP is not a number ({keywords['$TIMESTEP']!r}): time is in clock ticks, not in seconds."
        notes.append(Note("fcs.timestep", text))
        return 1.0
    return step


def _byte_order(source: FcsSource, keywords: Mapping[str, str], parameters: tuple[Parameter, ...]) -> tuple[int, ...]:
    value = keywords.get("$BYTEORD", "")
    order = tuple(whole(part) or 0 for part in value.split(","))
    if sorted(order) == list(range(1, len(order) + 1)):
        return order
    if all(p.stored == "A" or (p.stored == "I" and p.bits <= 8) for p in parameters):
        return (1,)
    raise source.error(f"the byte order of the data cannot be read: $BYTEORD is {value!r}")


def _locate(
    source: FcsSource, text: Text, parameters: tuple[Parameter, ...], notes: list[Note]
) -> tuple[int, int, int]:
    """Return the first byte of DATA, the number of events and the bytes they take."""
    bits = sum(parameter.bits for parameter in parameters)
    announced = whole(text.keywords.get("$TOT"))
    places = _places(text)
    if any(p.stored == "A" and not p.bits for p in parameters):
        if not places or places[0].end >= source.size:
            raise source.error("the file is cut short, or does not say where its data are")
        return places[0].begin, announced or 0, places[0].length
    if announced is None or announced < 0:
        return _count(source, places, bits, notes)
    if announced == 0:
        held = [place for place in places if place.end < source.size and place.length * 8 >= bits]
        return _by_segment(source, held, parameters, 0, notes) if held else (0, 0, 0)
    fitting = [place for place in places if place.begin + _bytes(announced, bits) <= source.size]
    if not fitting:
        if not places:
            return _computed(source, text, announced, _bytes(announced, bits), notes)
        return _by_segment(source, places, parameters, announced, notes)
    return _fitting(source, text, fitting, parameters, announced, notes)


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
    return _by_segment(source, [place], parameters, announced, notes)


def _places(text: Text) -> list[_Place]:
    """Return where TEXT and HEADER say that DATA is, without what cannot be (inside TEXT, or not said)."""
    named = (whole(text.keywords.get("$BEGINDATA")) or 0, whole(text.keywords.get("$ENDDATA")) or 0)
    places = [_Place("TEXT", *named), _Place("HEADER", *text.segments.data)]
    if text.segments.version.startswith("2"):
        places.reverse()
    first, last = text.segments.text
    return [p for p in places if 0 < p.begin <= p.end and not first <= p.begin <= last]


def _choose(source: FcsSource, text: Text, places: list[_Place], need: int, bits: int, notes: list[Note]) -> _Place:
    """Return the place that the arithmetic speaks for; refuse where it speaks for two."""
    everywhere = _places(text)
    sources = {place.source for place in everywhere}
    if "TEXT" not in sources and not text.segments.version.startswith("2"):
        notes.append(Note("fcs.offsets", "TEXT does not say where the data are: the offsets of HEADER were used."))
    if "HEADER" not in sources and text.segments.data != (0, 0):
        message = "HEADER cannot be right about where the data are: the offsets of TEXT were used."
        notes.append(Note("fcs.offsets", message))
    tests = (
        lambda place: place.length == need,
        lambda place: abs(place.length - need) * 8 < bits,
        lambda place: place.begin + need in {source.size, source.size - CRC_BYTES},
        lambda place: place.begin == text.segments.text[1] + 1,
    )
    left = places
    for test in tests:
        passed = [place for place in left if test(place)]
        left = passed or left
        if len({place.begin for place in left}) == 1:
            break
    else:
        found = " and ".join(f"{place.source} {place.begin:,}–{place.end:,}" for place in left)
        raise source.error("HEADER and TEXT disagree about where the data are", why=f"both fit the file: {found}")
    chosen = left[0]
    if len({(place.begin, place.end) for place in everywhere}) > 1:
        found = ", ".join(f"{place.source} {place.begin:,}–{place.end:,}" for place in everywhere)
        message = f"HEADER and TEXT disagree about where the data are ({found}): {chosen.source} fits the file."
        notes.append(Note("fcs.offsets", message))
    return chosen


def _by_segment(
    source: FcsSource, places: list[_Place], parameters: tuple[Parameter, ...], announced: int, notes: list[Note]
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
    if agreed and place.length * 8 % bits == 0 and (announced == 0 or complete < announced):
        text = (
            f"$TOT announces {announced:,} events, the data segment holds exactly {complete:,}: {complete:,} were read."
        )
        notes.append(Note("fcs.events", text, complete))
        return place.begin, complete, place.length
    if complete < announced:
        raise source.error(
            f"the file is cut short: {complete:,} complete events of {announced:,} announced",
            why="the missing events may not be missing at random, so nothing is read",
        )
    raise source.error(
        f"$TOT announces {announced:,} events, the data segment has room for {complete:,}",
        why="the two cannot both be right, and events must not be lost or made up",
    )


def _count(source: FcsSource, places: list[_Place], bits: int, notes: list[Note]) -> tuple[int, int, int]:
    fitting = [place for place in places if place.end < source.size]
    if not fitting or fitting[0].length * 8 // bits == 0:
        raise source.error("the file says neither how many events it has nor where they are")
    n_events = fitting[0].length * 8 // bits
    notes.append(Note("fcs.events", f"$TOT is missing: the data segment has room for {n_events:,} events.", n_events))
    return fitting[0].begin, n_events, _bytes(n_events, bits)


def _computed(source: FcsSource, text: Text, announced: int, need: int, notes: list[Note]) -> tuple[int, int, int]:
    after_text = text.segments.text[1] + 1
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
    return not raw.strip(b" \0")

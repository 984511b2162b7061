"""How the events lie in an FCS file: its parameters, their widths, and how stored values become linear ones."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from cellprec.io.fcs.place import Layout, Parameter, fits, locate
from cellprec.io.fcs.text import BLANK, Text, number, whole
from cellprec.notes import Note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellprec.io.fcs.source import FcsSource

__all__ = ["Layout", "Parameter", "read_layout"]

BITS = {"F": 32, "D": 64}
# gains, clock steps and amplifiers beyond these are damage, and would end in infinities
LARGEST_FACTOR = 1e9
MOST_DECADES = 20
_DESCRIBED = re.compile(r"\$P([1-9][0-9]{0,5})[NBR]")


def read_layout(source: FcsSource, text: Text) -> Layout:
    """Work out the layout of the events from the keywords and the length of the file."""
    keywords = text.keywords
    mode = keywords.get("$MODE", "L").strip(BLANK).upper()
    if mode != "L":
        why = "only list mode (L) holds single events; this one holds histograms"
        raise source.error(f"the file is not in list mode ($MODE is {mode})", why=why)
    notes: list[Note] = []
    parameters = _parameters(source, text, notes)
    order = _byte_order(source, keywords, parameters, notes)
    begin, n_events, n_bytes = locate(source, text, parameters, notes)
    return Layout(parameters, n_events, begin, n_bytes, order, _gathered(notes))


def _gathered(notes: list[Note]) -> tuple[Note, ...]:
    """Make one counted note of those that say the same of several parameters."""
    times = Counter(notes)
    return tuple(note if n == 1 else Note(note.code, note.text, n) for note, n in times.items())


def _parameters(source: FcsSource, text: Text, notes: list[Note]) -> tuple[Parameter, ...]:
    keywords = text.keywords
    announced = whole(keywords.get("$PAR"))
    if announced is None or announced < 1:
        raise source.error(f"$PAR is not a number of channels: {keywords.get('$PAR')!r}")
    numbers = {int(found[1]) for key in keywords if (found := _DESCRIBED.fullmatch(key))}
    described = next(n for n in range(1, len(numbers) + 2) if n not in numbers) - 1
    default = keywords.get("$DATATYPE", "").strip(BLANK).upper()
    if described < announced:
        made = _made(source, keywords, described, default, notes)
        if not described or not fits(text, made):
            raise source.error(
                f"$PAR announces {announced:,} parameters, the keywords describe {described:,}",
                why="without the width of every parameter no value can be found",
            )
    else:
        made = _made(source, keywords, announced, default, notes)
        if described > announced and not fits(text, made):
            others: list[Note] = []
            more = _made(source, keywords, described, default, others)
            if fits(text, more):
                notes[:], made = others, more
    if len(made) != announced:
        message = (
            f"$PAR announces {announced} parameters, the keywords describe {described}: "
            f"{described} fill the data segment exactly, and were read."
        )
        notes.append(Note("fcs.parameters", message, described))
    elif described > announced:
        message = f"The keywords describe {described} parameters, $PAR announces {announced}: {announced} were read."
        notes.append(Note("fcs.parameters", message, announced))
    return _retyped(text, made, notes)


def _made(
    source: FcsSource, keywords: Mapping[str, str], n_channels: int, default: str, notes: list[Note]
) -> tuple[Parameter, ...]:
    made = []
    for index in range(1, n_channels + 1):
        stored = keywords.get(f"$P{index}DATATYPE", default).strip(BLANK).upper() or default
        if stored not in {"I", "F", "D", "A"}:
            raise source.error(f"the data type of parameter {index} is not one of I, F, D, A: {stored!r}")
        made.append(_parameter(source, keywords, index, stored, notes))
    kinds = {parameter.stored for parameter in made}
    if "A" in kinds and len(kinds) > 1:
        raise source.error("text and binary parameters in one event cannot be read")
    if len({bool(p.bits) for p in made}) > 1:
        raise source.error("delimited text and text of fixed width in one event cannot be read ($PnB)")
    if kinds - {"I"} and any(parameter.bits % 8 for parameter in made):
        raise source.error("floating point values mixed with bit-packed integers cannot be read")
    return tuple(made)


def _retyped(text: Text, made: tuple[Parameter, ...], notes: list[Note]) -> tuple[Parameter, ...]:
    """Read floats as doubles, or doubles as floats, where $PnB says so and the length of DATA proves it."""
    types = {parameter.stored for parameter in made}
    other = {"F": "D", "D": "F"}.get(next(iter(types)), "") if len(types) == 1 else ""
    said = {whole(text.keywords.get(f"$P{index}B")) for index in range(1, len(made) + 1)}
    if not other or said != {BITS[other]} or fits(text, made):
        return made
    turned = tuple(replace(parameter, stored=other, bits=BITS[other]) for parameter in made)
    if not fits(text, turned):
        return made
    notes[:] = [note for note in notes if note.code != "fcs.bits"]
    message = (
        f"$DATATYPE says {next(iter(types))}, $PnB says {BITS[other]} bits, and so does the length of the data: "
        f"they were read as {other}."
    )
    notes.append(Note("fcs.bits", message, len(made)))
    return turned


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
    if (stored == "I" and not 1 <= bits <= 64) or (stored == "A" and bits <= 0 and announced != "*"):
        raise source.error(f"the width of parameter {index} ({channel}) cannot be read: $P{index}B is {announced!r}")
    limit = number(keywords.get(f"$P{index}R"))
    if limit is None and stored != "I":
        notes.append(Note("fcs.range", "The range of a channel ($PnR) is missing or not a number: it is not known."))
    is_time = channel.lower() == "time"
    step = _time_step(keywords, notes) if is_time else 1.0
    decades, log_zero = _amplification(keywords, index, stored, limit, notes)
    return Parameter(
        channel=channel,
        marker=keywords.get(f"$P{index}S", "").strip(BLANK),
        stored=stored,
        bits=bits,
        range=limit if limit is not None else float("nan"),
        mask=_mask(keywords.get(f"$P{index}R", ""), channel, bits, notes) if stored == "I" else None,
        decades=decades,
        log_zero=log_zero,
        gain=_gain(keywords, index, notes, is_time=is_time, step=step, is_log=decades > 0),
        time_step=step,
    )


def _gain(
    keywords: Mapping[str, str], index: int, notes: list[Note], *, is_time: bool, step: float, is_log: bool
) -> float:
    value = keywords.get(f"$P{index}G", "").strip(BLANK)
    gain = number(value)
    if not value or gain == 1.0:
        return 1.0
    if is_time:
        # cytometers write a gain for the clock as well, often the step: time is scaled by $TIMESTEP alone
        if gain not in {step, None}:
            text = "The clock has a gain of its own ($PnG): it was left aside, $TIMESTEP alone scales time."
            notes.append(Note("fcs.gain", text))
        return 1.0
    if is_log:
        text = "A gain ($PnG) beside logarithmic amplifiers ($PnE) was left aside: the standard allows one of them."
        notes.append(Note("fcs.gain", text))
        return 1.0
    if gain is None or not 1 / LARGEST_FACTOR <= gain <= LARGEST_FACTOR:
        notes.append(Note("fcs.gain", f"The gain of a channel ($PnG) cannot be right ({value!r}): it was not undone."))
        return 1.0
    return gain


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
    value = keywords.get(f"$P{index}E", "").strip(BLANK)
    parts = [number(part) for part in value.split(",")]
    if len(parts) != 2 or None in parts:
        if value or stored == "I":
            text = f"The amplification of a channel ($PnE) is missing or cannot be read ({value!r}): taken as linear."
            notes.append(Note("fcs.amplification", text))
        return 0.0, 0.0
    decades, log_zero = parts[0] or 0.0, parts[1] or 0.0
    if decades <= 0:
        return 0.0, 0.0
    if decades > MOST_DECADES or log_zero > LARGEST_FACTOR:
        text = f"Logarithmic amplifiers that cannot be ($PnE is {value!r}) were not undone."
        notes.append(Note("fcs.amplification", text))
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
    if step is None or not 1 / LARGEST_FACTOR <= step <= LARGEST_FACTOR:
        text = f"$TIMESTEP cannot be right ({keywords['$TIMESTEP']!r}): time is in clock ticks, not in seconds."
        notes.append(Note("fcs.timestep", text))
        return 1.0
    return step


def _byte_order(
    source: FcsSource, keywords: Mapping[str, str], parameters: tuple[Parameter, ...], notes: list[Note]
) -> tuple[int, ...]:
    value = keywords.get("$BYTEORD", "").strip(BLANK)
    order = tuple(whole(part) or 0 for part in value.split(","))
    if sorted(order) != list(range(1, len(order) + 1)) and re.fullmatch(r"[1-8][1-8, ;.\t-]{1,30}", value):
        order = tuple(int(digit) for digit in re.findall("[1-8]", value))
        if sorted(order) == list(range(1, len(order) + 1)):
            notes.append(Note("fcs.byte_order", f"The byte order is written {value!r}: read as {order}."))
    one_byte = all(p.stored == "A" or (p.stored == "I" and p.bits <= 8) for p in parameters)
    if sorted(order) == list(range(1, len(order) + 1)) and (len(order) > 1 or one_byte):
        return order
    if one_byte:
        return (1,)
    raise source.error(f"the byte order of the data cannot be read: $BYTEORD is {value!r}")

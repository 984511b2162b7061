"""From the bytes of a block of events to the values they store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cellprec.io.fcs.place import Layout, Parameter
    from cellprec.io.fcs.source import FcsSource

# the columns of a block, each with the values of its events
Columns = Sequence[NDArray[Any]] | NDArray[Any]
# bytes and number of events of a block
Decoder = Callable[[NDArray[np.uint8], int], Columns]

ORDINARY = {8, 16, 32, 64}


def decoder(source: FcsSource, layout: Layout, columns: Sequence[int]) -> Decoder:
    """Return what turns the bytes of whole events into the stored values of these columns."""
    kinds = {parameter.stored for parameter in layout.parameters}
    if kinds == {"A"}:
        return lambda raw, n: _fixed_text(source, layout, columns, raw, n)
    if "A" in kinds:
        raise source.error("text and binary parameters in one event cannot be read")
    if all(parameter.bits % 8 == 0 for parameter in layout.parameters):
        return _bytewise(source, layout, columns)
    if kinds != {"I"}:
        raise source.error("floating point values mixed with bit-packed integers cannot be read")
    return lambda raw, n: _packed(layout, columns, raw, n)


def native_float(source: FcsSource, layout: Layout) -> np.dtype[Any] | None:
    """Return the one floating point type of all values, None where there is none."""
    kinds = {(parameter.stored, parameter.bits) for parameter in layout.parameters}
    if len(kinds) > 1 or not kinds <= {("F", 32), ("D", 64)}:
        return None
    width = next(iter(kinds))[1] // 8
    order = byte_order(source, layout, width)
    return np.dtype(f"{order}f{width}") if order in {"<", ">"} else None


def read_words(source: FcsSource, layout: Layout) -> NDArray[np.float64]:
    """Return the values of a DATA segment of delimited text, events × all channels."""
    wanted = layout.n_events * len(layout.parameters)
    # the words were counted when the layout was read: this many are there
    found = np.empty(wanted)
    held = 0
    rest = b""
    # a word takes many times its letters as an object
    step = 1 << 16
    for at in range(0, layout.n_bytes, step):
        raw = rest + source.read(layout.begin + at, min(step, layout.n_bytes - at))
        words = raw.replace(b",", b" ").replace(b"\0", b" ")
        tokens = words.split()
        rest = b""
        if at + step < layout.n_bytes and tokens and not words[-1:].isspace():
            rest = tokens.pop()
        values = _numbers(source, tokens)
        found[held : held + len(values)] = values[: max(wanted - held, 0)]
        held += len(values)
    if held != wanted:
        complete = held // len(layout.parameters)
        raise source.error(
            f"the text data hold {complete:,} complete events, {layout.n_events:,} are announced",
            why="events must not be lost or made up",
        )
    return found.reshape(layout.n_events, len(layout.parameters))


def byte_order(source: FcsSource, layout: Layout, width: int) -> str:
    """Return ``<``, ``>`` or ``mixed`` for values of this many bytes."""
    order = layout.byte_order
    if order == tuple(sorted(order)):
        return "<"
    if order == tuple(sorted(order, reverse=True)):
        return ">"
    if width == 1:
        return "<"
    if width == len(order):
        return "mixed"
    if width == 2:
        return "<" if order[0] < order[1] else ">"
    raise source.error(f"the byte order {order} says nothing about values of {width} bytes")


def _bytewise(source: FcsSource, layout: Layout, columns: Sequence[int]) -> Decoder:
    """Read records of fields that are whole bytes wide: as a table where all are alike, else field by field."""
    parameters = [layout.parameters[column] for column in columns]
    orders = [byte_order(source, layout, parameter.bits // 8) for parameter in parameters]
    kinds = {(parameter.stored, parameter.bits) for parameter in layout.parameters}
    width = layout.event_bits // 8
    formats = [_format(p, order) for p, order in zip(parameters, orders, strict=True)]
    if len(kinds) == 1 and formats[0].shape == ():
        picks = None if list(columns) == list(range(len(layout.parameters))) else list(columns)
        masked = any(parameter.mask is not None for parameter in parameters)
        full = (1 << parameters[0].bits) - 1
        masks = np.array([full if p.mask is None else p.mask for p in parameters], formats[0]) if masked else None

        def table(raw: NDArray[np.uint8], n: int) -> Columns:
            values = raw.view(formats[0]).reshape(n, -1)
            values = values if picks is None else values[:, picks]
            return (values if masks is None else values & masks).T

        return table
    starts = list(accumulate((parameter.bits // 8 for parameter in layout.parameters), initial=0))
    record = np.dtype(
        {
            "names": [f"p{column}" for column in columns],
            "formats": formats,
            "offsets": [starts[column] for column in columns],
            "itemsize": width,
        }
    )

    def fields(raw: NDArray[np.uint8], n: int) -> Columns:
        records = raw[: n * width].view(record)
        made = []
        for column, parameter, order in zip(columns, parameters, orders, strict=True):
            values = records[f"p{column}"]
            if values.ndim == 2:
                values = _assemble(values, layout, parameter, order=order)
            made.append(values if parameter.mask is None else values & values.dtype.type(parameter.mask))
        return made

    return fields


def _format(parameter: Parameter, order: str) -> np.dtype[Any]:
    if order in {"<", ">"} and parameter.bits in ORDINARY:
        return np.dtype(f"{order}{'u' if parameter.stored == 'I' else 'f'}{parameter.bits // 8}")
    return np.dtype(("u1", (parameter.bits // 8,)))


def _assemble(values: NDArray[Any], layout: Layout, parameter: Parameter, *, order: str) -> NDArray[Any]:
    """Put values together from their bytes, in the order that $BYTEORD gives or of a width no machine has."""
    width = parameter.bits // 8
    places = list(range(width)) if order == "<" else list(range(width))[::-1]
    if order == "mixed":
        places = [layout.byte_order.index(rank) for rank in range(1, width + 1)]
    if parameter.stored != "I":
        return np.ascontiguousarray(values[:, places]).view(f"<f{width}")[:, 0]
    total = np.zeros(len(values), dtype=np.uint64)
    for rank, place in enumerate(places):
        total |= values[:, place].astype(np.uint64) << np.uint64(8 * rank)
    return total


def _packed(layout: Layout, columns: Sequence[int], raw: NDArray[np.uint8], n: int) -> Columns:
    """Read integers packed without padding, most significant bit first (legal up to FCS 3.0).

    Eight events are a whole number of bytes, so they are one record of eight times as many fields.
    """
    bits = layout.event_bits
    octets = np.zeros((-(-n // 8), bits), dtype=np.uint8)
    octets.reshape(-1)[: len(raw)] = raw
    starts = list(accumulate((parameter.bits for parameter in layout.parameters), initial=0))
    made = []
    for column in columns:
        parameter = layout.parameters[column]
        values = np.empty((len(octets), 8), dtype=np.uint64)
        for event in range(8):
            values[:, event] = _field(octets, event * bits + starts[column], parameter.bits)
        flat = values.reshape(-1)[:n]
        made.append(flat if parameter.mask is None else flat & np.uint64(parameter.mask))
    return made


def _field(octets: NDArray[np.uint8], first: int, bits: int) -> NDArray[np.uint64]:
    """Return the integers that take these bits of every row of bytes."""
    last = first + bits
    total = np.zeros(len(octets), dtype=np.uint64)
    for place in range(first // 8, (last - 1) // 8 + 1):
        part = octets[:, place].astype(np.uint64)
        if place * 8 < first:
            part &= np.uint64(0xFF >> (first - place * 8))
        shift = last - (place + 1) * 8
        total |= part << np.uint64(shift) if shift >= 0 else part >> np.uint64(-shift)
    return total


def _fixed_text(
    source: FcsSource, layout: Layout, columns: Sequence[int], raw: NDArray[np.uint8], n: int
) -> NDArray[np.float64]:
    edges = list(accumulate((parameter.bits // 8 for parameter in layout.parameters), initial=0))
    table = raw.reshape(n, edges[-1])
    return np.array([_numbers(source, _cut(table[:, edges[c] : edges[c + 1]])) for c in columns])


def _cut(field: NDArray[np.uint8]) -> list[bytes]:
    width = field.shape[1]
    joined = np.ascontiguousarray(field).tobytes()
    return [joined[at : at + width].rstrip(b"\0") for at in range(0, len(joined), width)]


def _numbers(source: FcsSource, tokens: Sequence[bytes]) -> NDArray[np.float64]:
    try:
        found = np.fromiter(map(float, tokens), dtype=np.float64, count=len(tokens))
    except ValueError as error:
        raise source.error("the text data hold something that is not a number", why=str(error)) from error
    if any(b"_" in token for token in tokens):
        raise source.error("the text data hold something that is not a number", why="an underscore")
    return found

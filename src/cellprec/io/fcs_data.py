"""From the bytes of the DATA segment to numbers: stored values, then linear ones."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cellprec.io.fcs_layout import Layout, Parameter
    from cellprec.io.fcs_source import FcsSource

CHUNK_BITS = 1 << 26
ORDINARY = {8, 16, 32, 64}


def read_events(source: FcsSource, layout: Layout) -> NDArray[Any]:
    """Return the stored values, events × channels: float32 where that holds every one of them, else float64."""
    shape = (layout.n_events, len(layout.parameters))
    kinds = {(parameter.stored, parameter.bits) for parameter in layout.parameters}
    stored, bits = next(iter(kinds))
    if any(kind == "A" for kind, _ in kinds):
        if {kind for kind, _ in kinds} != {"A"}:
            raise source.error("text and binary parameters in one event cannot be read")
        return _ascii(source, layout).reshape(shape)
    if layout.n_events == 0:
        return np.zeros(shape, dtype=np.float32)
    if len(kinds) == 1 and (stored in {"F", "D"} or bits in ORDINARY):
        return _fit(_uniform(source, layout, stored=stored, bits=bits), source)
    if all(parameter.bits % 8 == 0 for parameter in layout.parameters):
        return _mixed(source, layout)
    return _packed(source, layout)


def linearize(values: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Undo logarithmic amplifiers, gains and clock ticks in place: $PnE, $PnG and $TIMESTEP of the standard.

    $PnE = f1,f2: 10**(f1 * x / range) * f2. $PnG = g: x / g. $TIMESTEP = s: x * s, in seconds.
    """
    for column, parameter in enumerate(layout.parameters):
        if parameter.decades:
            powers = parameter.decades * values[:, column].astype(np.float64) / parameter.range
            values[:, column] = np.power(10.0, powers) * parameter.log_zero
        if parameter.gain != 1.0:
            values[:, column] = values[:, column].astype(np.float64) / parameter.gain
        if parameter.time_step != 1.0:
            values[:, column] = values[:, column].astype(np.float64) * parameter.time_step
    return values


def _uniform(source: FcsSource, layout: Layout, *, stored: str, bits: int) -> NDArray[Any]:
    """Read one type for the whole matrix: one pass, swapped in place."""
    kind = "u" if stored == "I" else "f"
    width = bits // 8
    order = _order(source, layout, width)
    count = layout.n_events * len(layout.parameters)
    if order in {"<", ">"}:
        flat = source.array(layout.begin, dtype=np.dtype(f"{order}{kind}{width}"), count=count)
        values = flat if flat.dtype.isnative else flat.byteswap(inplace=True).view(flat.dtype.newbyteorder())
    else:
        raw = source.array(layout.begin, dtype=np.uint8, count=count * width).reshape(count, width)
        values = np.ascontiguousarray(raw[:, _from_least(layout.byte_order)]).view(f"<{kind}{width}")
    values = values.reshape(layout.n_events, len(layout.parameters))
    if stored == "I" and any(parameter.mask is not None for parameter in layout.parameters):
        full = (1 << bits) - 1
        values &= np.array([full if p.mask is None else p.mask for p in layout.parameters], dtype=values.dtype)
    return values


def _mixed(source: FcsSource, layout: Layout) -> NDArray[Any]:
    """Read records of fields of different types, each a whole number of bytes wide."""
    fields = [(f"p{index}", *_field(source, layout, parameter)) for index, parameter in enumerate(layout.parameters)]
    records = source.array(layout.begin, dtype=np.dtype(fields), count=layout.n_events)
    columns = []
    for index, parameter in enumerate(layout.parameters):
        column = records[f"p{index}"]
        if column.ndim == 2:
            column = _assemble(column, layout, parameter, order=_order(source, layout, parameter.bits // 8))
        if parameter.mask is not None:
            column = column & column.dtype.type(parameter.mask)
        columns.append(_fit(column, source))
    return np.column_stack(columns)


def _field(source: FcsSource, layout: Layout, parameter: Parameter) -> tuple[Any, ...]:
    width = parameter.bits // 8
    order = _order(source, layout, width)
    if order in {"<", ">"} and parameter.bits in ORDINARY:
        return (f"{order}{'u' if parameter.stored == 'I' else 'f'}{width}",)
    return ("u1", (width,))


def _assemble(column: NDArray[Any], layout: Layout, parameter: Parameter, *, order: str) -> NDArray[Any]:
    width = parameter.bits // 8
    ranks = list(range(width)) if order == "<" else list(range(width))[::-1]
    if order == "mixed":
        ranks = _from_least(layout.byte_order)
    if parameter.stored != "I":
        return np.ascontiguousarray(column[:, ranks]).view(f"<f{width}")[:, 0]
    total = np.zeros(len(column), dtype=np.uint64)
    for rank, position in enumerate(ranks):
        total |= column[:, position].astype(np.uint64) << np.uint64(8 * rank)
    return total


def _packed(source: FcsSource, layout: Layout) -> NDArray[Any]:
    """Read integers packed without padding, most significant bit first (legal up to FCS 3.0)."""
    if any(parameter.stored != "I" for parameter in layout.parameters):
        raise source.error("floating point values mixed with bit-packed integers cannot be read")
    bits = layout.event_bits
    out = np.empty((layout.n_events, len(layout.parameters)), dtype=np.float64)
    step = max(CHUNK_BITS // bits // 8 * 8, 8)
    for start in range(0, layout.n_events, step):
        stop = min(start + step, layout.n_events)
        n_bytes = -(-(stop - start) * bits // 8)
        raw = source.array(layout.begin + start * bits // 8, dtype=np.uint8, count=n_bytes)
        table = np.unpackbits(raw, count=(stop - start) * bits).reshape(stop - start, bits)
        first = 0
        for column, parameter in enumerate(layout.parameters):
            total = np.zeros(stop - start, dtype=np.uint64)
            for bit in range(first, first + parameter.bits):
                total = (total << np.uint64(1)) | table[:, bit]
            first += parameter.bits
            out[start:stop, column] = total if parameter.mask is None else total & np.uint64(parameter.mask)
    return _fit(out, source)


def _ascii(source: FcsSource, layout: Layout) -> NDArray[Any]:
    raw = source.read(layout.begin, layout.n_bytes)
    widths = [parameter.bits // 8 for parameter in layout.parameters]
    if all(widths):
        edges = np.cumsum([0, *widths])
        line = int(edges[-1])
        tokens = [
            raw[event * line + first : event * line + last]
            for event in range(layout.n_events)
            for first, last in pairwise(edges)
        ]
    else:
        tokens = raw.replace(b",", b" ").replace(b"\0", b" ").split()
    wanted = layout.n_events * len(layout.parameters)
    if len(tokens) != wanted:
        complete = len(tokens) // len(layout.parameters)
        raise source.error(
            f"the text data hold {complete:,} complete events, {layout.n_events:,} are announced",
            why="events must not be lost or made up",
        )
    try:
        return _fit(np.array(tokens, dtype="S").astype(np.float64), source)
    except ValueError as error:
        raise source.error("the text data hold something that is not a number", why=str(error)) from error


def _order(source: FcsSource, layout: Layout, width: int) -> str:
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


def _from_least(order: tuple[int, ...]) -> list[int]:
    """Return the positions of the bytes of a value, least significant first."""
    return [order.index(rank) for rank in range(1, len(order) + 1)]


def _fit(values: NDArray[Any], source: FcsSource) -> NDArray[Any]:
    """Return float32 where it holds every value, else float64; refuse what neither can hold."""
    if values.dtype == np.float32:
        return values
    if values.dtype.kind == "u" and (values.size == 0 or int(values.max()) <= 1 << 24):
        return values.astype(np.float32)
    if values.dtype.kind == "u" and int(values.max()) > 1 << 53:
        raise source.error("the file holds integers above 2**53, which no floating point column can hold")
    wide = values.astype(np.float64)
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float32)
    return narrow if np.array_equal(narrow, wide, equal_nan=True) else wide

"""From the DATA segment to numbers: stored values, then linear ones, a block of events at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellprec.io.fcs.decode import Columns, decoder, native_float, read_words
from cellprec.io.fcs.source import BLOCK_BYTES

if TYPE_CHECKING:
    from cellprec.io.fcs.place import Layout, Parameter
    from cellprec.io.fcs.source import FcsSource

Rows = range | NDArray[np.int64]
# what is read to where it stays: large enough that calls cost nothing, small enough to be tested in the cache
STRAIGHT_BYTES = 4 << 20
TABLE_BITS = 16
WORD_ROWS = 1 << 13
# whole numbers up to here are floats of 32 and of 64 bits
EXACT_32 = 1 << 24
EXACT_64 = 1 << 53


def read_events(
    source: FcsSource, layout: Layout, *, rows: Rows, columns: Sequence[int], scale: bool
) -> tuple[NDArray[Any], int]:
    """Return these events × columns and how many of the values are not finite.

    float32 where that holds every stored value, else float64. Only what is asked for is kept; the file passes through
    in blocks. scale: undo amplifiers, gains and clock ticks, in float64 from the stored values, rounded once.
    """
    if layout.begin + layout.n_events * layout.event_bits // 8 > source.size:
        raise source.error("the file is cut short", why=f"{layout.n_events:,} events do not fit into it")
    if not len(rows) or not columns:
        return np.zeros((len(rows), len(columns)), dtype=np.float32), 0
    for dtype in (np.float32, np.float64):
        out = np.empty((len(rows), len(columns)), dtype=dtype)
        native = native_float(source, layout)
        whole = list(columns) == list(range(len(layout.parameters))) and _consecutive(rows)
        if native is not None and whole and native.itemsize == out.itemsize:
            return out, _straight(source, layout, native, rows=rows, out=out, scale=scale)
        not_finite = _decoded(source, layout, rows=rows, columns=columns, out=out, scale=scale)
        if not_finite is not None:
            return out, not_finite
        del out
    raise AssertionError("float64 holds all that is not refused")


def linear(values: NDArray[Any], parameter: Parameter) -> NDArray[np.float64]:
    """Undo the logarithmic amplifier, gain and clock tick of a column: $PnE, $PnG and $TIMESTEP of the standard.

    $PnE = f1,f2: 10**(f1 * x / range) * f2. $PnG = g: x / g. $TIMESTEP = s: x * s, in seconds.
    """
    made: NDArray[np.float64] = values.astype(np.float64)
    if parameter.decades:
        made = np.power(10.0, parameter.decades * made / parameter.range) * parameter.log_zero
    if parameter.gain != 1.0:
        made /= parameter.gain
    if parameter.time_step != 1.0:
        made *= parameter.time_step
    return made


def is_scaled(parameter: Parameter) -> bool:
    """Return whether the linear values of a column differ from the stored ones."""
    return bool(parameter.decades) or parameter.gain != 1.0 or parameter.time_step != 1.0


def _straight(
    source: FcsSource, layout: Layout, native: np.dtype[Any], *, rows: Rows, out: NDArray[Any], scale: bool
) -> int:
    """Read floating point values to where they stay; test them, and swap their bytes, while they are in the cache."""
    width = out.shape[1] * out.itemsize
    scaled = [(column, p) for column, p in enumerate(layout.parameters) if scale and is_scaled(p)]
    step = max(STRAIGHT_BYTES // width, 1)
    # copying in the other order is four times as fast as swapping in place
    swapped = None if native.isnative else np.empty((min(step, len(out)), out.shape[1]), dtype=native)
    not_finite = 0
    for start in range(0, len(out), step):
        block = out[start : start + step]
        target = block if swapped is None else swapped[: len(block)]
        source.into(layout.begin + (rows[0] + start) * width, target.reshape(-1).view(np.uint8))
        if swapped is not None:
            block[...] = target
        with np.errstate(over="ignore"):
            for column, parameter in scaled:
                block[:, column] = linear(block[:, column], parameter)
        not_finite += _not_finite(block)
    return not_finite


def _decoded(
    source: FcsSource, layout: Layout, *, rows: Rows, columns: Sequence[int], out: NDArray[Any], scale: bool
) -> int | None:
    """Read the events of any other layout into ``out``; None where its type cannot hold a stored value."""
    parameters = [layout.parameters[column] for column in columns]
    tables: dict[int, NDArray[np.float64]] = {}
    may_fail = any(p.stored != "I" or (scale and is_scaled(p)) for p in parameters)
    not_finite = 0
    for places, picks, stored in _blocks(source, layout, rows=rows, columns=columns):
        picked = stored[:, picks] if isinstance(stored, np.ndarray) else [values[picks] for values in stored]
        if not all(_fits(v, out.dtype, source) for v in ([picked] if isinstance(picked, np.ndarray) else picked)):
            return None
        with np.errstate(over="ignore"):
            if isinstance(picked, np.ndarray):
                out[places] = picked.T
            else:
                for column, values in enumerate(picked):
                    out[places, column] = values
            for column, parameter in enumerate(parameters):
                if scale and is_scaled(parameter):
                    out[places, column] = _by_table(picked[column], parameter, column, tables, len(rows))
        if may_fail:
            not_finite += _not_finite(out[places])
    return not_finite


def _blocks(
    source: FcsSource, layout: Layout, *, rows: Rows, columns: Sequence[int]
) -> Iterator[tuple[Any, Any, Columns]]:
    """Yield blocks of the file: where their events go in the result, which of the block they are, all their values."""
    bits = layout.event_bits
    if not bits:
        table = read_words(source, layout)
        wanted = np.asarray(rows)
        for start in range(0, len(wanted), WORD_ROWS):
            part = table[wanted[start : start + WORD_ROWS]][:, list(columns)]
            yield slice(start, start + len(part)), slice(None), np.ascontiguousarray(part.T)
        return
    decode = decoder(source, layout, columns)
    packed = any(parameter.bits % 8 for parameter in layout.parameters)
    step = max(BLOCK_BYTES * 8 // bits, 1)
    buffer = np.empty(-(-(min(step, layout.n_events) + 8) * bits // 8), dtype=np.uint8)
    for first, last, places, picks in _stretches(rows, step):
        # packed events begin inside a byte, but for every eighth
        before = first % 8 if packed else 0
        n = last - first + before
        raw = buffer[: -(-n * bits // 8)]
        source.into(layout.begin + (first - before) * bits // 8, raw)
        yield places, slice(before, None) if picks is None else picks + before, decode(raw, n)


def _stretches(rows: Rows, step: int) -> Iterator[tuple[int, int, Any, NDArray[np.int64] | None]]:
    """Cut the rows that are wanted into stretches of the file: first, last + 1, places in the result, rows of it."""
    if _consecutive(rows):
        for start in range(0, len(rows), step):
            stop = min(start + step, len(rows))
            yield int(rows[0]) + start, int(rows[0]) + stop, slice(start, stop), None
        return
    wanted = np.asarray(rows, dtype=np.int64)
    order = np.argsort(wanted, kind="stable")
    wanted = wanted[order]
    start = 0
    while start < len(wanted):
        first = int(wanted[start])
        stop = int(np.searchsorted(wanted, first + step))
        yield first, int(wanted[stop - 1]) + 1, order[start:stop], wanted[start:stop] - first
        start = stop


def _consecutive(rows: Rows) -> bool:
    return isinstance(rows, range) and rows.step == 1


def _fits(values: NDArray[Any], dtype: np.dtype[Any], source: FcsSource) -> bool:
    """Return whether the type holds these stored values; refuse what no column can hold."""
    if values.dtype.kind == "u":
        largest = int(values.max()) if values.dtype.itemsize > 2 and values.size else 0
        if largest > EXACT_64:
            raise source.error("the file holds integers above 2**53, which no floating point column can hold")
        if dtype.itemsize == 8 or largest <= EXACT_32:
            return True
    if dtype.itemsize >= values.dtype.itemsize and values.dtype.kind == "f":
        return True
    with np.errstate(over="ignore"):
        wide = values.astype(np.float64)
        return np.array_equal(wide.astype(dtype).astype(np.float64), wide, equal_nan=True)


def _by_table(
    values: NDArray[Any], parameter: Parameter, column: int, tables: dict[int, NDArray[np.float64]], n_events: int
) -> NDArray[np.float64]:
    """Undo the amplifier of integers of few bits by a table of all of them: powers are slow."""
    bits = parameter.bits if parameter.mask is None else parameter.mask.bit_length()
    if parameter.stored != "I" or bits > TABLE_BITS or n_events < 1 << bits:
        return linear(values, parameter)
    if column not in tables:
        tables[column] = linear(np.arange(1 << bits), parameter)
    return np.take(tables[column], values)


def _not_finite(values: NDArray[Any]) -> int:
    # NaN is the largest and the smallest of any values; two passes that keep nothing are faster than one that does
    if np.isfinite(values.max()) and np.isfinite(values.min()):
        return 0
    return int(values.size - np.isfinite(values).sum())

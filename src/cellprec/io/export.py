"""FCS files out: what FlowJo, FCS Express and R can open."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellprec.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HEADER_BYTES = 58
HEADER_LIMIT = 99_999_999
CHUNK_ROWS = 1 << 16
CRC = b"0" * 8
# form feed is what most cytometers write; the rest stands by for keywords that hold it
DELIMITERS = "\f|\\!*/~^#`\x1e" + "".join(map(chr, range(33, 127)))
# what a keyword of one channel may say that stays true of linear values: voltage, filter, laser, lamp, how it was drawn
_OF_CHANNEL = re.compile(r"(\$?)P(\d+)(V|F|L|O|T|P|D|DISPLAY|BS|MS)$", re.IGNORECASE)
_STRUCTURAL = re.compile(
    r"\$?(P\d+[A-Z]+|BEGIN(DATA|STEXT|ANALYSIS)|END(DATA|STEXT|ANALYSIS)|BYTEORD|DATATYPE|MODE|NEXTDATA|PAR|TOT|TIMESTEP|"
    r"SPILLOVER|SPILL|COMP|DFC\d+TO\d+|UNICODE)$",
    re.IGNORECASE,
)


def write_fcs(
    path: str | Path,
    values: ArrayLike,
    *,
    channels: Sequence[str],
    markers: Sequence[str] | None = None,
    ranges: Sequence[float] | None = None,
    spillover: NDArray[np.float64] | None = None,
    keywords: Mapping[str, str] | None = None,
) -> Path:
    """Write events to an FCS 3.1 file that FlowJo can open.

    path: the file to write; it appears whole or not at all. values: events × channels, linear, kept as 32-bit floats.
    channels, markers: $PnN and $PnS (``""`` for none). ranges: $PnR (the largest value, at least 1, by default).
    spillover: channels × channels; the channels that spill are written, all of them where none does.
    keywords: what else to write, such as the keywords of the file the events came from. Those that describe its layout,
    scaling or compensation ($TOT, $P1B, $TIMESTEP, SPILL ...), and empty ones, are left out; voltages, filters and
    lasers ($PnV, $PnF, $PnL ...) follow the channel that $PnN gives them to, whatever its place is here.

    Raises InputError where names are missing, doubled, or too many, values are not a table, or there is no such folder.

    Source: Spidlen et al. 2010 (FCS 3.1, doi:10.1002/cyto.a.20825).

    >>> from tempfile import TemporaryDirectory
    >>> from cellprec.io.fcs import read_fcs
    >>> with TemporaryDirectory() as folder:
    ...     file = write_fcs(Path(folder) / "a.fcs", [[1.5, 2.0]], channels=["FSC-A", "PE-A"], keywords={"$CYT": "X"})
    ...     read_fcs(file).X.tolist()
    [[1.5, 2.0]]
    """
    path = Path(path)
    table = _table(values, path)
    head = _head(table, path, channels, markers, ranges, spillover, keywords, double=False)
    if not path.parent.is_dir():
        raise InputError("there is no folder to write the FCS file into", where=path, fix=f"Make {path.parent} first.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(head)
            for start in range(0, len(table), CHUNK_ROWS):
                handle.write(np.ascontiguousarray(table[start : start + CHUNK_ROWS], dtype="<f4").data)
            handle.write(CRC)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def fcs_bytes(
    values: ArrayLike,
    *,
    channels: Sequence[str],
    markers: Sequence[str] | None = None,
    ranges: Sequence[float] | None = None,
    spillover: NDArray[np.float64] | None = None,
    keywords: Mapping[str, str] | None = None,
) -> bytes:
    """Return an FCS file in memory with 64-bit floats, for a library that takes nothing else.

    Arguments and errors as in ``write_fcs``.

    >>> fcs_bytes([[0.1]], channels=["PE-A"])[:6]
    b'FCS3.1'
    """
    where = Path("in memory")
    table = _table(values, where)
    head = _head(table, where, channels, markers, ranges, spillover, keywords, double=True)
    return head + np.ascontiguousarray(table, dtype="<f8").tobytes()


def unique_names(names: Iterable[str]) -> list[str]:
    """Return the names in order, those that stand twice numbered: FCS wants every $PnN once.

    >>> unique_names(["PE-A", "PE-A", "PE-A-1"])
    ['PE-A', 'PE-A-2', 'PE-A-1']
    """
    given = list(names)
    reserved = set(given)
    taken: set[str] = set()
    made: list[str] = []
    for name in given:
        unique, number = name, 0
        while unique in taken or (number and unique in reserved):
            number += 1
            unique = f"{name}-{number}"
        taken.add(unique)
        made.append(unique)
    return made


def _table(values: ArrayLike, path: Path) -> NDArray[Any]:
    table = np.asarray(values)
    if table.ndim != 2 or table.dtype.kind not in "fiub":
        raise InputError("the values are not a table of numbers, events × channels", where=path)
    return table


def _head(
    table: NDArray[Any],
    path: Path,
    channels: Sequence[str],
    markers: Sequence[str] | None,
    ranges: Sequence[float] | None,
    spillover: NDArray[np.float64] | None,
    keywords: Mapping[str, str] | None,
    *,
    double: bool,
) -> bytes:
    """Return HEADER and TEXT: everything before the events."""
    n_events, n_channels = table.shape
    _check(path, n_channels, channels, markers, ranges)
    pairs = {
        "$BEGINANALYSIS": "0",
        "$ENDANALYSIS": "0",
        "$BEGINSTEXT": "0",
        "$ENDSTEXT": "0",
        "$BYTEORD": "1,2,3,4",
        "$DATATYPE": "D" if double else "F",
        "$MODE": "L",
        "$NEXTDATA": "0",
        "$PAR": str(n_channels),
        "$TOT": str(n_events),
    }
    if any(channel.lower() == "time" for channel in channels):
        pairs["$TIMESTEP"] = "1"
    limits = ranges if ranges is not None else _ranges(table)
    for index, channel in enumerate(channels, start=1):
        limit = limits[index - 1]
        pairs |= {f"$P{index}N": channel, f"$P{index}B": "64" if double else "32", f"$P{index}E": "0,0"}
        pairs[f"$P{index}R"] = f"{limit:.0f}" if np.isfinite(limit) and limit >= 1 else "1"
        if markers is not None and markers[index - 1]:
            pairs[f"$P{index}S"] = markers[index - 1]
    if spillover is not None:
        pairs["$SPILLOVER"] = _spillover(path, spillover, channels)
    pairs |= _of_channels(keywords or {}, channels)
    for key, value in (keywords or {}).items():
        name = key.upper() if key.startswith("$") else key
        if name and value and name not in pairs and not _STRUCTURAL.match(key):
            pairs[name] = value
    return _text(path, pairs, n_bytes=n_events * n_channels * (8 if double else 4))


def _of_channels(keywords: Mapping[str, str], channels: Sequence[str]) -> dict[str, str]:
    """Return the keywords of single channels, renumbered for the channels that are written."""
    named = Counter(value.strip() for key, value in keywords.items() if re.fullmatch(r"\$P\d+N", key))
    place = {channel: index for index, channel in enumerate(channels, start=1)}
    kept = {}
    for key, value in keywords.items():
        match = _OF_CHANNEL.match(key)
        channel = keywords.get(f"$P{match.group(2)}N", "").strip() if match else ""
        if match and value and channel in place and named[channel] == 1:
            kept[f"{match.group(1)}P{place[channel]}{match.group(3).upper()}"] = value
    return kept


def _text(path: Path, pairs: Mapping[str, str], *, n_bytes: int) -> bytes:
    used = set("".join(pairs) + "".join(pairs.values()))
    delimiter = next((mark for mark in DELIMITERS if mark not in used), "")
    if not delimiter:
        fix = "Leave out the keyword that holds every printable character."
        raise InputError("no character is left to separate the keywords", where=path, fix=fix)
    body = delimiter + "".join(f"{key}{delimiter}{value}{delimiter}" for key, value in pairs.items())
    # offsets of fixed width, so that they do not move what they point at
    ends = "$BEGINDATA{0}{1:>12}{0}$ENDDATA{0}{2:>12}{0}"
    length = len(body.encode()) + len(ends.format(delimiter, 0, 0))
    begin = HEADER_BYTES + length
    # without events, DATA ends before it begins: the one form that every reader takes
    end = begin + n_bytes - 1
    text = (body + ends.format(delimiter, begin, end)).encode()
    in_header = (begin, end) if end <= HEADER_LIMIT else (0, 0)
    places = (HEADER_BYTES, begin - 1, *in_header, 0, 0)
    return b"FCS3.1    " + "".join(f"{place:>8}" for place in places).encode() + text


def _check(
    path: Path,
    n_channels: int,
    channels: Sequence[str],
    markers: Sequence[str] | None,
    ranges: Sequence[float] | None,
) -> None:
    for what, given in (("channels", channels), ("markers", markers), ("ranges", ranges)):
        if given is not None and len(given) != n_channels:
            raise InputError(f"{len(given)} {what} for {n_channels} columns of values", where=path)
    if n_channels == 0:
        raise InputError("there are no channels to write", where=path)
    if not all(channel.strip() for channel in channels):
        raise InputError("a channel has no name", where=path, why="FCS requires $PnN")
    doubled = sorted({channel for channel in channels if list(channels).count(channel) > 1})
    if doubled:
        raise InputError(f"channels share a name: {', '.join(doubled)}", where=path, why="FCS requires unique $PnN")


def _ranges(table: NDArray[Any]) -> list[float]:
    if not len(table):
        return [1.0] * table.shape[1]
    largest = [np.max(column, where=np.isfinite(column), initial=0.0) for column in table.T]
    return [float(np.ceil(value)) + 1 for value in largest]


def _spillover(path: Path, matrix: NDArray[np.float64], channels: Sequence[str]) -> str:
    if matrix.shape != (len(channels), len(channels)):
        raise InputError(f"the spillover matrix is {matrix.shape}, not channels × channels", where=path)
    moved = matrix != np.eye(len(channels))
    spilling = np.flatnonzero(moved.any(axis=0) | moved.any(axis=1))
    kept = spilling if len(spilling) else np.arange(len(channels))
    names = [channels[int(index)] for index in kept]
    if any("," in name for name in names):
        raise InputError("a channel with a comma in its name cannot stand in a spillover matrix", where=path)
    numbers = [repr(float(value)) for value in matrix[np.ix_(kept, kept)].ravel()]
    return ",".join([str(len(kept)), *names, *numbers])

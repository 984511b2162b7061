"""The spillover matrix an FCS file carries, its channels resolved by name, marker or number."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellprec.io.fcs.text import BLANK, number, whole
from cellprec.notes import Note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PERCENT = re.compile(r"\$DFC([0-9]{1,4})TO([0-9]{1,4})")
_NOT_FLUORESCENT = re.compile(r"(fsc|ssc|fs|ss|time|hdr-t)\b|(fsc|ssc)", re.IGNORECASE)
_NUMBERED = re.compile(r"FL ?[0-9]", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?")
NAMES = ("$SPILLOVER", "SPILLOVER", "$SPILL", "SPILL", "$COMP", "COMP")


@dataclass(frozen=True, eq=False)
class Spillover:
    """What spills from the channel of a row into that of a column: n × n, and where the channels are in the file."""

    index: tuple[int, ...]
    channels: tuple[str, ...]
    matrix: NDArray[np.float64]

    def over(self, n_channels: int) -> NDArray[np.float64]:
        """Return the matrix over all channels of the file, identity outside."""
        full = np.eye(n_channels)
        full[np.ix_(self.index, self.index)] = self.matrix
        return full


def read_spillover(
    keywords: Mapping[str, str], *, channels: Sequence[str], markers: Sequence[str]
) -> tuple[Spillover | None, list[Note]]:
    """Find and resolve the spillover matrix; None with a note where it is there but cannot be read."""
    folded = {key.upper(): (key, value.strip(BLANK)) for key, value in keywords.items()}
    found: list[tuple[str, Spillover]] = []
    notes: list[Note] = []
    for wanted in NAMES:
        name, value = folded.get(wanted, ("", ""))
        if not value or number(value) == 0:
            continue
        read, more = _comp(name, value, channels) if wanted.endswith("COMP") else _named(name, value, channels, markers)
        if read is not None and found:
            name_taken, taken = found[0]
            if not _same(taken, read, len(channels)):
                text = (
                    f"The file holds two spillover matrices that differ ({name_taken}, {name}): {name_taken} was taken."
                )
                notes.append(Note("fcs.spillover", text))
            continue
        notes += more
        if read is not None:
            found.append((name, read))
    if not found and not notes:
        return _percents(folded, channels)
    return (found[0][1] if found else None), notes


def _same(one: Spillover, other: Spillover, n_channels: int) -> bool:
    return np.array_equal(one.over(n_channels), other.over(n_channels))


def _comp(name: str, value: str, channels: Sequence[str]) -> tuple[Spillover | None, list[Note]]:
    """Read FCS 3.0 $COMP: n, then n × n numbers over the parameters of the file."""
    parts, notes = _split(name, value)
    n = whole(parts[0]) or 0
    if n != len(channels):
        # over fewer it could be the first, or the fluorescent ones: the standard does not say
        return None, [_refused(name, f"it is over {parts[0]} of {len(channels)} parameters, and does not say which")]
    return _matrix(name, parts[1:], tuple(range(n)), channels, notes)


def _percents(folded: Mapping[str, tuple[str, str]], channels: Sequence[str]) -> tuple[Spillover | None, list[Note]]:
    """Read FCS 2.0 $DFCmTOn: the percentage of the signal of parameter m that spills into parameter n."""
    matrix = np.eye(len(channels))
    touched: set[int] = set()
    for key, (_, value) in folded.items():
        match = _PERCENT.fullmatch(key)
        if match is None or not value:
            continue
        percent = number(value)
        if percent is None:
            return None, [_refused(key, f"{value!r} is not a number")]
        source, target = int(match[1]), int(match[2])
        if percent == 0 or source == target:
            continue
        if not (1 <= source <= len(channels) and 1 <= target <= len(channels)):
            return None, [_refused(key, f"the file has {len(channels)} parameters")]
        matrix[source - 1, target - 1] = percent / 100
        touched |= {source - 1, target - 1}
    if not touched:
        return None, []
    if any(_NOT_FLUORESCENT.match(channels[at]) for at in touched) or any(_NUMBERED.match(name) for name in channels):
        # some cytometers number the detectors (FL1 is 1), and have subtracted already what they write here
        why = "its numbers may be those of parameters or of detectors"
        return None, [_refused("$DFCmTOn", why)]
    index = tuple(sorted(touched))
    part = matrix[np.ix_(index, index)]
    return _checked("$DFCmTOn", part, index, channels, [])


def _split(name: str, value: str) -> tuple[list[str], list[Note]]:
    """Split a matrix at its commas, or at what a program wrote in their place."""
    for separator in (";", "\t"):
        if separator in value and value.count(separator) > value.count(",") - value.count(separator):
            parts = [part.strip(BLANK) for part in value.split(separator)]
            parts = [part.replace(",", ".") if _DECIMAL_COMMA.fullmatch(part) else part for part in parts]
            text = f"The spillover matrix ({name}) is written with {separator!r} between its numbers: read as such."
            return parts, [Note("fcs.spillover", text)]
    return [part.strip(BLANK) for part in value.split(",")], []


def _named(
    name: str, value: str, channels: Sequence[str], markers: Sequence[str]
) -> tuple[Spillover | None, list[Note]]:
    parts, notes = _split(name, value)
    n = whole(parts[0]) or 0
    if not 0 < n <= len(channels):
        return None, [_refused(name, f"it is over {parts[0][:40]!r} channels, the file has {len(channels)}")]
    if len(parts) <= n:
        return None, [_refused(name, f"it names {len(parts) - 1} of {n} channels")]
    index = []
    how: set[str] = set()
    for label in parts[1 : 1 + n]:
        place, found_by = _resolve(label, channels, markers)
        if place is None:
            return None, [_refused(name, f"{label!r} {found_by}")]
        index.append(place)
        how.add(found_by)
    if how != {"channel"}:
        ways = " and ".join(sorted(how - {"channel"}))
        text = f"The spillover matrix ({name}) names its channels by {ways}: they were found in the file."
        notes.append(Note("fcs.spillover", text))
    return _matrix(name, parts[1 + n :], tuple(index), channels, notes)


def _resolve(label: str, channels: Sequence[str], markers: Sequence[str]) -> tuple[int | None, str]:
    for names, found_by in ((channels, "channel"), (markers, "marker")):
        places = [place for place, name in enumerate(names) if name == label]
        if len(places) == 1:
            return places[0], found_by
        if places:
            return None, f"is the name of {len(places)} channels"
    folded = [place for place, name in enumerate(channels) if name.casefold() == label.casefold()]
    if len(folded) == 1:
        return folded[0], "channel in other capitals"
    place = whole(label)
    if place is not None and 1 <= place <= len(channels):
        return place - 1, "number"
    return None, "is not a channel of the file"


def _matrix(
    name: str, parts: Sequence[str], index: tuple[int, ...], channels: Sequence[str], notes: list[Note]
) -> tuple[Spillover | None, list[Note]]:
    n = len(index)
    values = [number(part) for part in parts]
    if len(set(index)) != n:
        return None, [_refused(name, "it names a channel twice")]
    if len(values) != n * n:
        return None, [_refused(name, f"it has {len(values)} numbers, {n} × {n} needs {n * n}")]
    known = [value for value in values if value is not None]
    if len(known) != len(values):
        return None, [_refused(name, "something in it is not a number")]
    return _checked(name, np.array(known).reshape(n, n), index, channels, notes)


def _checked(
    name: str, matrix: NDArray[np.float64], index: tuple[int, ...], channels: Sequence[str], notes: list[Note]
) -> tuple[Spillover | None, list[Note]]:
    """Refuse what no spillover can be; bring percentages to fractions."""
    diagonal = np.diagonal(matrix)
    if np.all(diagonal == 100):
        matrix = matrix / 100
        notes.append(Note("fcs.spillover", f"The spillover matrix ({name}) is in percent: it was divided by 100."))
    elif np.any(diagonal <= 0):
        return None, [_refused(name, "its diagonal is not above zero")]
    if np.linalg.matrix_rank(matrix) < len(index):
        return None, [_refused(name, "it cannot be inverted")]
    return Spillover(index, tuple(channels[at] for at in index), matrix), notes


def _refused(name: str, why: str) -> Note:
    return Note("fcs.spillover", f"The spillover matrix ({name}) cannot be read: {why}. No matrix was attached.")

"""The spillover matrix an FCS file carries, its channels resolved by name, marker or number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellprec.io.fcs_text import BLANK, number, whole
from cellprec.notes import Note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    for name in NAMES:
        value = keywords.get(name, "").strip(BLANK)
        if value and value != "0":
            if name.endswith("COMP"):
                return _comp(name, value, channels)
            return _named(name, value, channels, markers)
    return None, []


def _comp(name: str, value: str, channels: Sequence[str]) -> tuple[Spillover | None, list[Note]]:
    """Read FCS 3.0 $COMP: n, then n × n numbers over the first n parameters."""
    parts = value.split(",")
    n = whole(parts[0]) or 0
    if not 0 < n <= len(channels):
        return None, [_refused(name, f"it is over {parts[0]} of {len(channels)} parameters")]
    return _matrix(name, parts[1:], tuple(range(n)), channels, [])


def _named(
    name: str, value: str, channels: Sequence[str], markers: Sequence[str]
) -> tuple[Spillover | None, list[Note]]:
    parts = [part.strip(BLANK) for part in value.split(",")]
    n = whole(parts[0]) or 0
    if n < 1 or len(parts) < 1 + n:
        return None, [_refused(name, f"{parts[0]!r} is not its number of channels")]
    index: list[int] = []
    how: set[str] = set()
    for label in parts[1 : 1 + n]:
        place, found_by = _resolve(label, channels, markers)
        if place is None:
            return None, [_refused(name, f"{label!r} {found_by}")]
        index.append(place)
        how.add(found_by)
    notes = []
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
    return Spillover(index, tuple(channels[at] for at in index), np.array(known).reshape(n, n)), notes


def _refused(name: str, why: str) -> Note:
    return Note("fcs.spillover", f"The spillover matrix ({name}) cannot be read: {why}. No matrix was attached.")

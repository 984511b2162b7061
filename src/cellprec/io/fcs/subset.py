"""Which channels and events of an FCS file are wanted, and what stays true of those alone."""

from __future__ import annotations

import difflib
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellprec.errors import UsageError
from cellprec.io.fcs.spillover import Spillover
from cellprec.notes import Note

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def pick_channels(
    wanted: Sequence[str] | None, *, channels: Sequence[str], markers: Sequence[str], names: Sequence[str], path: Path
) -> list[int]:
    """Return the columns of these names, in the order asked for.

    A name is looked up among the names of the columns, then among $PnN, then among $PnS.
    """
    if wanted is None:
        return list(range(len(names)))
    if isinstance(wanted, str):
        raise UsageError("channels must be a list of names", where=path, fix=f'Write channels=["{wanted}"].')
    known = list(dict.fromkeys(name for name in (*names, *channels, *markers) if name))
    picked: list[int] = []
    for name in wanted:
        found = next((at for column in (names, channels, markers) if (at := _places(column, name))), [])
        if len(found) == 1:
            picked.append(found[0])
            continue
        if found:
            numbered = ", ".join(names[place] for place in found)
            what = f"{len(found)} channels of the file are called {name!r}"
            raise UsageError(what, where=path, fix=f"Ask for one of them: {numbered}.")
        near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
        fix = f"Did you mean {' or '.join(near)}?" if near else f"The file has {', '.join(names)}."
        raise UsageError(f"the file has no channel {name!r}", where=path, fix=fix)
    twice = [names[place] for place, count in Counter(picked).items() if count > 1]
    if twice:
        raise UsageError(f"channels are asked for twice: {', '.join(twice)}", where=path, fix="Name each once.")
    return picked


def pick_rows(
    wanted: slice | Sequence[int] | NDArray[np.integer] | None, *, n_events: int, path: Path
) -> range | NDArray[np.int64]:
    """Return the numbers of the events that are wanted, in the order asked for; they count from 0."""
    if wanted is None:
        return range(n_events)
    if isinstance(wanted, slice):
        try:
            return range(n_events)[wanted]
        except (TypeError, ValueError) as error:
            raise UsageError("rows is not a slice of whole numbers", where=path, why=str(error)) from error
    rows = np.asarray(wanted)
    if rows.dtype == bool and rows.shape == (n_events,):
        return np.flatnonzero(rows)
    if rows.size == 0 and rows.ndim == 1:
        return np.zeros(0, dtype=np.int64)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        fix = "Give a slice, the numbers of the rows, or True and False for every event."
        raise UsageError("rows are not row numbers", where=path, fix=fix)
    outside = rows[(rows < 0) | (rows >= n_events)]
    if len(outside):
        what = f"row {int(outside[0]):,} was asked for, the file has {n_events:,} events (they count from 0)"
        raise UsageError(what, where=path, fix="Leave out rows that are not there.")
    if len(np.unique(rows)) < len(rows):
        raise UsageError("rows are asked for twice", where=path, fix="Name each row once.")
    return rows.astype(np.int64)


def pick_spillover(spillover: Spillover | None, columns: Sequence[int]) -> tuple[Spillover | None, list[Note]]:
    """Return the matrix over these columns; none where one of its channels is not among them.

    Light that spills from a channel which was left out could no longer be taken away.
    """
    if spillover is None or not set(spillover.index) & set(columns):
        return None, []
    if not set(spillover.index) <= set(columns):
        left = [name for name, place in zip(spillover.channels, spillover.index, strict=True) if place not in columns]
        text = f"The spillover matrix was left out: it is also over {', '.join(left)}, not read here."
        return None, [Note("fcs.spillover", text)]
    places = {column: place for place, column in enumerate(columns)}
    index = tuple(places[place] for place in spillover.index)
    return Spillover(index, spillover.channels, spillover.matrix), []


def _places(names: Sequence[str], name: str) -> list[int]:
    return [place for place, other in enumerate(names) if other == name]

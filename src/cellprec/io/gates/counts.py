"""The counts that FlowJo stored in a workspace, held against ours: the net under every misread gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellprec.errors import InputError
from cellprec.notes import Note

if TYPE_CHECKING:
    from pathlib import Path

    from cellprec.io.gates.flowkit import Gated

# a gate this large does not lose half its events at the edges
_LARGE = 20
_FAR = 2.0


def compare_counts(made: Gated, *, seen: int, n_events: int, gates: Path, strict: bool) -> list[Note]:
    """Compare the number of events in every gate with what FlowJo stored for it.

    made: the gates, with ``stored`` counts (-1: none, as for a population that FlowJo had not computed). seen: the
    events of the sample as FlowJo saw it (-1: not said). strict: raise where a gate is far off.

    Returns the notes: how many agree to the event and which is worst. Nothing where nothing is stored; where the
    workspace was drawn on another number of events that alone is said.

    Raises InputError where strict and a gate that FlowJo counted (20 events or more) is empty here, or holds less than
    half or more than twice as many: the events are then not compensated, scaled or matched as they were in FlowJo.
    """
    pairs = [
        (" > ".join(path), int(events.sum()), stored)
        for path, events, stored in zip(made.paths, made.events, made.stored, strict=True)
        if stored >= 0
    ]
    if not pairs:
        return []
    if seen >= 0 and seen != n_events:
        text = f"The workspace was drawn on {seen} events of this sample, there are {n_events}: counts say nothing."
        return [Note("gates.other_events", text, n_events - seen)]
    far = [(path, ours, stored) for path, ours, stored in pairs if _is_far(ours, stored)]
    if far and strict:
        told = "; ".join(f"{path}: {ours} here, {stored} in FlowJo" for path, ours, stored in far[:5])
        raise InputError(
            f"{len(far)} of {len(pairs)} gates hold far from as many events as FlowJo counted",
            where=gates,
            why=told,
            fix="Check that the workspace belongs to this file and holds its compensation; save it again in FlowJo, "
            "or pass check_counts=False if its counts are out of date.",
        )
    equal = sum(ours == stored for _, ours, stored in pairs)
    if equal == len(pairs):
        return [Note("gates.counts", f"Each of {equal} gates holds exactly as many events as FlowJo stored.")]
    path, ours, stored = max(pairs, key=lambda pair: abs(pair[1] - pair[2]))
    text = (
        f"{equal} of {len(pairs)} gates hold exactly as many events as FlowJo stored; worst: {path}, {ours} here and "
        f"{stored} in FlowJo (it draws polygons and ellipses on a grid)."
    )
    return [Note("gates.counts", text, len(pairs) - equal)]


def _is_far(ours: int, stored: int) -> bool:
    # a stored 0 is what FlowJo leaves where it did not count again
    return stored >= _LARGE and (ours * _FAR < stored or ours > stored * _FAR)

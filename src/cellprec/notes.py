"""Notes: what was dropped, repaired, converted or assumed, carried with the data to the report."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from cellprec import keys


@dataclass(frozen=True)
class Note:
    """One thing the reader of the result must know: a stable code, a sentence, a count, a sample."""

    code: str
    text: str
    count: int | None = None
    sample: str = ""


def add_note(adata: Any, code: str, text: str, *, count: int | None = None, sample: str = "") -> None:
    """Attach a note to an AnnData, in ``uns["cellprec"]["notes"]`` (JSON, so that h5ad keeps it).

    A note that is already there is not added twice.

    >>> import anndata
    >>> adata = anndata.AnnData(shape=(1, 1))
    >>> add_note(adata, "cells.empty", "two cells had no counts", count=2)
    >>> get_notes(adata)
    [Note(code='cells.empty', text='two cells had no counts', count=2, sample='')]
    """
    notes = get_notes(adata)
    note = Note(code, text, count, sample)
    if note not in notes:
        notes.append(note)
    set_notes(adata, notes)


def get_notes(adata: Any) -> list[Note]:
    """Return the notes of an AnnData, in the order they were made."""
    held = adata.uns.get(keys.UNS, {})
    return [Note(**item) for item in json.loads(held.get(keys.NOTES, "[]"))]


def set_notes(adata: Any, notes: list[Note]) -> None:
    """Replace the notes of an AnnData."""
    held = dict(adata.uns.get(keys.UNS, {}))
    held[keys.NOTES] = json.dumps([asdict(note) for note in notes])
    adata.uns[keys.UNS] = held

"""What was really done, sample by sample: settings say what was wished, the notes say what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellprec.report.table import counted

if TYPE_CHECKING:
    from cellprec.report.section import RunFolder


def samples_noted(run: RunFolder, *codes: str) -> set[str]:
    """Return the samples that have a note with one of these codes.

    >>> from types import SimpleNamespace
    >>> from cellprec.notes import Note
    >>> run = SimpleNamespace(notes=lambda: [Note("events.doublet", "some", 3, "a"), Note("other", "x", 1, "b")])
    >>> samples_noted(run, "events.doublet")
    {'a'}
    """
    return {note.sample for note in run.notes() if note.code in codes and note.sample}


def read(run: RunFolder, *, step: str) -> int:
    """Return how many samples a step of its own per sample ended well for."""
    entries = run.manifest().get("steps", [])
    return len({entry.get("sample", "") for entry in entries if entry["step"] == step and entry["status"] == "done"})


def cell_doublets(run: RunFolder) -> str:
    """Say in how many samples doublets of cells were looked for, believed and set aside; "" where nothing is noted.

    >>> from types import SimpleNamespace
    >>> from cellprec.notes import Note
    >>> steps = [{"step": "cells", "sample": name, "status": "done"} for name in "abc"]
    >>> few = [Note("cells.doublets_cannot_tell", "few cells", None, name) for name in "bc"]
    >>> run = SimpleNamespace(notes=lambda: [Note("cells.doublets", "5 of 99", 5, "a"), *few], manifest=lambda: {
    ...     "steps": steps})
    >>> cell_doublets(run)
    'in 1 of 3 samples (in 2 it could not be told which cells are doublets)'
    """
    applied = samples_noted(run, "cells.doublets")
    silent = samples_noted(run, "cells.doublets_cannot_tell")
    doubted = samples_noted(run, "cells.doublets_not_applied")
    total = max(read(run, step="cells"), len(applied | silent | doubted))
    if not applied | silent | doubted:
        return ""
    why = [f"in {len(silent):,} it could not be told which cells are doublets"] if silent else []
    why += [f"in {len(doubted):,} the calls were not believed and no cell was dropped"] if doubted else []
    return of(len(applied), total) + (f" ({'; '.join(why)})" if why else "")


def of(n: int, total: int) -> str:
    """Say in how many of all samples something was done.

    >>> of(2, 3), of(3, 3), of(0, 3)
    ('in 2 of 3 samples', 'in all 3 samples', 'in none of 3 samples')
    """
    if n == total and total == 1:
        return "in the one sample"
    share = "none" if n == 0 else "all" if n == total else f"{n:,}"
    return f"in {share}{' ' if share == 'all' else ' of '}{counted(total, one='sample')}"


def named_by_gates(run: RunFolder) -> bool:
    """Whether populations are those of gates, drawn or of a template: all samples have gates, not only some."""
    gates = run.table("cytometry.gates")
    some_only = any(note.code == "cytometry.some_gated" for note in run.notes())
    return gates is not None and len(gates) > 0 and not some_only


def joined_by_scvi(run: RunFolder) -> bool:
    """Whether scVI joined the samples, as the settings wished, and was not given up for lack of cells."""
    return not any(note.code == "rna.few_cells" for note in run.notes())

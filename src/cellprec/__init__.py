"""FCS files, single-cell RNA and lineage barcodes in; resistant clones and honest biomarkers out.

>>> import cellprec as cp
>>> cp.__version__.count(".")
2
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from cellprec import barcodes, biomarkers, clones, cytometry, integrate, io, notes, pl, rna, simulate
    from cellprec.engine.notebook import run
    from cellprec.io.schema import check
    from cellprec.settings import settings

_ROOMS = ("barcodes", "biomarkers", "clones", "cytometry", "integrate", "io", "notes", "pl", "rna", "simulate")
_NAMES = {"run": "cellprec.engine.notebook", "check": "cellprec.io.schema", "settings": "cellprec.settings"}

__all__ = [
    "barcodes",
    "biomarkers",
    "check",
    "clones",
    "cytometry",
    "integrate",
    "io",
    "notes",
    "pl",
    "rna",
    "run",
    "settings",
    "simulate",
]


def __getattr__(name: str) -> Any:
    """Load a room when it is first used, so that `cellprec --help` stays light."""
    if name in _ROOMS:
        return importlib.import_module(f"cellprec.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'cellprec' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

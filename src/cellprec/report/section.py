"""What a report is made of: alerts, figures, interactive plots, tables, sections, and the run it is read from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

    from cellprec.notes import Note
    from cellprec.report.table import Table
    from cellprec.steps.contract import Design

Level = Literal["error", "warning", "info"]


class RunFolder(Protocol):
    """The part of a run folder a report reads: it never computes a result of its own."""

    @property
    def path(self) -> Path:
        """The folder of the run."""

    def data(self, step: str) -> AnnData | None:
        """Return the data of a study-wide step; None where the study lacks that stage."""

    def table(self, name: str) -> pd.DataFrame | None:
        """Return a table by its name, ``<stage>.<thing>``; None where it was not made."""

    def manifest(self) -> dict[str, Any]:
        """Return what ran on what, when, with which settings."""

    def notes(self) -> list[Note]:
        """Return what was dropped, repaired, converted or assumed."""


class Study(Protocol):
    """The part of a study a report reads."""

    @property
    def name(self) -> str:
        """The name of the study."""

    @property
    def design(self) -> Design:
        """The sheets, the outcomes, the order of time."""

    @property
    def truth(self) -> Path | None:
        """A table of planted effects; only a simulated study has one."""


@dataclass(frozen=True)
class Alert:
    """One thing that needs a look, and what to do about it."""

    level: Level
    title: str
    text: str = ""
    fix: str = ""
    where: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawn figure: its name, its image as a data URI, what is seen, how to read it, its width in CSS pixels."""

    name: str
    image: str
    alt: str
    caption: str
    width: int


@dataclass(frozen=True)
class Interactive:
    """A plot to explore on a screen: a plotly figure as JSON, what is seen, and how to read it."""

    name: str
    json: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Section:
    """One chapter of the report: figures first, tables under them, in a biologist's words."""

    key: str
    title: str
    lead: str = ""
    answers: tuple[tuple[str, str], ...] = ()
    alerts: tuple[Alert, ...] = ()
    figures: tuple[Figure, ...] = ()
    interactives: tuple[Interactive, ...] = ()
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()


Make = Callable[[RunFolder, Study], "Section | None"]


@dataclass
class Parts:
    """Collects the figures and tables of a section; what cannot be drawn becomes an alert."""

    alerts: list[Alert] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    interactives: list[Interactive] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    def section(self, *, key: str, title: str, lead: str, paragraphs: tuple[str, ...] = ()) -> Section:
        """Return the section made of what was collected.

        >>> Parts().section(key="rna", title="Single-cell RNA", lead="What was read.").key
        'rna'
        """
        return Section(
            key=key,
            title=title,
            lead=lead,
            alerts=tuple(self.alerts),
            figures=tuple(self.figures),
            interactives=tuple(self.interactives),
            paragraphs=paragraphs,
            tables=tuple(self.tables),
        )

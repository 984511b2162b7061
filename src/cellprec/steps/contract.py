"""What a step is: a thin function whose signature says everything about it.

A step takes its context first (one ``Sample``, or the whole ``Design``), then the artifacts it needs as
positional parameters named after the steps that make them, then its settings as keyword-only parameters.
``X | None`` marks a need that the study may lack. Types, defaults and one-line descriptions of settings
stand in the signature and nowhere else: ``study.yaml``, the JSON schema, ``--help`` and the report read them here.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from cellprec.notes import Note

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

Scope = Literal["sample", "study"]
Gpu = Literal["never", "if available"]


@dataclass(frozen=True)
class Sample:
    """One file of the study: a row of ``samples.csv``."""

    sample_id: str
    modality: str
    path: Path
    sheet: Mapping[str, str]
    seed: int = 0
    gates: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What is to be foretold: a column of ``patients.csv``, and for each patient yes (1), no (0) or missing (NaN)."""

    name: str
    column: str
    positive: tuple[str, ...] = ()
    at_least: float | None = None
    yes: Mapping[str, float] = field(default_factory=dict)

    @property
    def rule(self) -> str:
        """What counts as yes, in words."""
        return (
            f"{self.column} >= {self.at_least:g}"
            if self.at_least is not None
            else f"{self.column} in {list(self.positive)}"
        )


@dataclass(frozen=True)
class Design:
    """What a study-wide step may know: the sheets, the outcomes, the order of time, the seed."""

    name: str
    samples: pd.DataFrame
    patients: pd.DataFrame | None = None
    outcomes: tuple[Outcome, ...] = ()
    covariates: tuple[str, ...] = ()
    timepoints: tuple[str, ...] = ()
    seed: int = 0


class Artifacts(Mapping[str, "AnnData"]):
    """The artifacts of a per-sample step by sample name, each read when it is asked for."""

    def __init__(self, paths: Mapping[str, Path], load: Callable[[Path], AnnData]) -> None:
        self._paths = dict(paths)
        self._load = load

    def __getitem__(self, sample_id: str) -> AnnData:
        return self._load(self._paths[sample_id])

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


@dataclass(frozen=True)
class Result:
    """What a step gives: an AnnData, the tables it declared, other files by how to write them, notes without data."""

    data: AnnData | None = None
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    files: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Setting:
    """One knob of a step, read off its signature."""

    name: str
    type: Any
    default: Any
    text: str
    limits: tuple[Any, ...] = ()

    @property
    def is_path(self) -> bool:
        """Whether the setting names a file, relative to ``study.yaml``."""
        return Path in (self.type, *get_args(self.type))


@dataclass(frozen=True)
class Need:
    """An artifact a step takes: the step that makes it, and whether a study may lack it."""

    name: str
    optional: bool
    many: bool


@dataclass(frozen=True)
class Step:
    """A stage of the pipeline, as the engine, the schema and the report see it."""

    name: str
    run: Callable[..., Any]
    scope: Scope
    modality: str | None
    needs: tuple[Need, ...]
    settings: Mapping[str, Setting]
    tables: tuple[str, ...]
    patients: bool
    gpu: Gpu
    mem_gb: float
    says: str


def step(
    *,
    modality: str | None = None,
    tables: tuple[str, ...] = (),
    patients: bool = False,
    gpu: Gpu = "never",
    mem_gb: float = 4,
) -> Callable[[Callable[..., Any]], Step]:
    """Make a step of a function.

    modality: the files a per-sample step reads. tables: the tables a study-wide step gives, all of them.
    patients: whether it needs ``patients.csv``. gpu, mem_gb: what a scheduler must set aside.

    >>> @step(modality="table")
    ... def shout(sample: Sample, *, times: Annotated[int, "how often"] = 1) -> str:
    ...     '''Say the name of the sample.'''
    ...     return sample.sample_id * times
    >>> shout.name, shout.scope, shout.settings["times"].default, shout.says
    ('shout', 'sample', 1, 'Say the name of the sample')
    """

    def make(function: Callable[..., Any]) -> Step:
        hints = get_type_hints(function, include_extras=True, localns=_lazy_types())
        parameters = list(inspect.signature(function).parameters.values())
        context, *rest = parameters
        needs = [_need(p.name, hints[p.name]) for p in rest if p.kind is not p.KEYWORD_ONLY]
        knobs = [_setting(p, hints[p.name]) for p in rest if p.kind is p.KEYWORD_ONLY]
        return Step(
            name=function.__name__,
            run=function,
            scope="sample" if hints[context.name] is Sample else "study",
            modality=modality,
            needs=tuple(needs),
            settings={knob.name: knob for knob in knobs},
            tables=tables,
            patients=patients,
            gpu=gpu,
            mem_gb=mem_gb,
            says=(inspect.getdoc(function) or function.__name__).splitlines()[0].rstrip("."),
        )

    return make


def _lazy_types() -> dict[str, Any]:
    # steps import AnnData for type checkers only, so that `cellprec --help` stays light
    return {"AnnData": _AnnData, "pd": types.SimpleNamespace(DataFrame=_AnnData)}


class _AnnData:
    """Stands for anndata.AnnData while a signature is read."""


def _need(name: str, hint: Any) -> Need:
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return Need(name, optional=type(None) in options, many=Artifacts in options)


def _setting(parameter: inspect.Parameter, hint: Any) -> Setting:
    kind, text, *limits = get_args(hint) if get_origin(hint) is Annotated else (hint, "")
    return Setting(parameter.name, kind, parameter.default, text, tuple(limits))

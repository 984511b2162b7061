"""``study.yaml``: its schema (derived from the steps), its reading, and the study it describes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from cellprec.errors import Problem
from cellprec.steps.catalogue import CATALOGUE
from cellprec.steps.contract import Design, Sample, Step


class OutcomeFile(BaseModel):
    """What to foretell: a column of patients.csv and what in it counts as yes."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)
    column: str = Field(description="column of patients.csv")
    positive: list[str] = Field(default=[], description="values that count as yes")
    at_least: float | None = Field(default=None, description="or: numbers from here on count as yes")


class StudyFile(BaseModel):
    """A cellprec study: where the sheets are, what to foretell, and any setting that should not be the default."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(default="study", description="title of the report")
    seed: int = Field(default=0, description="one seed for everything random")
    samples: Path = Field(default=Path("samples.csv"), description="sheet with one row per file")
    patients: Path | None = Field(default=None, description="sheet with one row per patient")
    results: Path = Field(default=Path("results"), description="folder for everything that is written")
    timepoints: list[str] = Field(default=[], description="timepoints in the order of time")
    outcomes: dict[str, OutcomeFile] = Field(default={}, description="what to foretell, by name")
    covariates: list[str] = Field(default=[], description="clinical columns of patients.csv: the baseline to beat")
    truth: Path | None = Field(default=None, description="what was planted, for simulated studies")


def _settings_model(step: Step) -> type[BaseModel]:
    fields: dict[str, Any] = {
        knob.name: (Annotated[(knob.type, Field(description=knob.text), *knob.limits)], knob.default)
        for knob in step.settings.values()
    }
    config = ConfigDict(extra="forbid", title=step.name, coerce_numbers_to_str=True)
    return create_model(f"{step.name}_settings", __config__=config, __doc__=f"{step.says}.", **fields)


def study_model() -> type[StudyFile]:
    """Return the schema of ``study.yaml``, with the settings of every step read off its signature."""
    sections: dict[str, Any] = {
        step.name: (
            # a step whose settings are all commented out, as `init` writes it, is empty
            Annotated[_settings_model(step), BeforeValidator(lambda given: {} if given is None else given)],
            Field(default_factory=_settings_model(step), description=step.says),
        )
        for step in CATALOGUE.values()
        if step.settings
    }
    settings = create_model("Settings", __config__=ConfigDict(extra="forbid"), **sections)
    return create_model(
        "Study",
        __base__=StudyFile,
        __doc__=StudyFile.__doc__,
        settings=(settings, Field(default_factory=settings, description="settings, by step")),
    )


@dataclass(frozen=True)
class Study:
    """A study, read and judged: everything the engine needs to know."""

    path: Path
    name: str
    seed: int
    results: Path
    design: Design
    samples: tuple[Sample, ...]
    settings: Mapping[str, Mapping[str, Any]]
    truth: Path | None
    sheets: tuple[Path, ...] = ()
    sheet_name: str = "samples.csv"
    rows: tuple[int, ...] = ()
    warnings: tuple[Problem, ...] = ()


def read_config(path: Path) -> tuple[Any, list[Problem]]:
    """Read ``study.yaml`` against its schema: the validated file (``None`` if it is beyond use) and its problems."""
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.y*ml")], n=1)
        hint = f"Did you mean {near[0]}?" if near else "Run `cellprec init FOLDER` to write one."
        return None, [Problem("study.missing", f"there is no file {path.name}", str(path), fix=hint)]
    text = path.read_text(encoding="utf-8-sig")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = f"this is not YAML: {getattr(error, 'problem', error)}"
        fix = "Check the indentation (blanks, not tabs) and that every `key: value` has a blank after the colon."
        return None, [Problem("study.yaml", what, path.name, mark.line + 1 if mark else None, fix=fix)]
    if not isinstance(content, dict):
        return None, [Problem("study.yaml", "the file holds no settings", path.name, fix="Run `cellprec init FOLDER`.")]
    return _validate(content, node, path)


def _validate(content: dict[str, Any], node: Any, path: Path) -> tuple[Any, list[Problem]]:
    model = study_model()
    try:
        return model.model_validate(content), []
    except ValidationError as error:
        found = error.errors(include_url=False)
    problems = [_problem(item, node, path, model) for item in found]
    for item in found:  # what is wrong is named; the rest of the file is still judged
        _drop(content, item["loc"])
    try:
        return model.model_validate(content), problems
    except ValidationError:
        return None, problems


def _problem(item: Any, node: Any, path: Path, model: type[BaseModel]) -> Problem:
    loc = [str(part) for part in item["loc"] if not str(part).startswith("function-")]
    key, row = ".".join(loc), _line(node, loc)
    if item["type"] != "extra_forbidden":
        what = f"{key}: {item['msg'].lower()} (found {item['input']!r})"
        return Problem("study.value", what, path.name, row, key, fix="Give a value of that kind, or remove the line.")
    fields = _fields(model, loc[:-1])
    near = difflib.get_close_matches(loc[-1], fields, n=1, cutoff=0.5)
    known = f"Known here: {', '.join(fields)}."
    fix = f"Did you mean {near[0]!r}?" if near else known
    kind = "step" if loc[:-1] == ["settings"] else "setting"
    return Problem("study.unknown", f"unknown {kind} {key!r}", path.name, row, key, fix=fix)


def _fields(model: Any, loc: list[str]) -> list[str]:
    for part in loc:
        model = model.model_fields[part].annotation if part in getattr(model, "model_fields", {}) else OutcomeFile
    return list(model.model_fields)


def _line(node: Any, loc: list[str]) -> int | None:
    """Return the line of a key in the file, from the YAML nodes that remember where they stood."""
    line = None
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == part), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
    return line


def _drop(content: Any, loc: tuple[Any, ...]) -> None:
    for part in loc[:-1]:
        if isinstance(content, dict) and isinstance(content.get(part), dict):
            content = content[part]
        else:
            break
    else:
        part = loc[-1]
    if isinstance(content, dict):
        content.pop(part, None)

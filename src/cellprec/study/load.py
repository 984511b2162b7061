"""From ``study.yaml`` and its sheets to a study, with everything that is wrong in one list."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cellprec import keys
from cellprec.errors import Problem, StudyError
from cellprec.steps.catalogue import CATALOGUE
from cellprec.steps.contract import Design, Outcome, Sample
from cellprec.study.config import Study, read_config
from cellprec.study.judge import KNOWN, REQUIRED, judge_links, judge_paths, judge_patients, judge_samples, resolve
from cellprec.study.outcome import binary_outcome, is_missing
from cellprec.study.sheet import Sheet, read_sheet


def load_study(path: Path | str) -> Study:
    """Read a study and judge everything in its sheets.

    Raises
    ------
    StudyError
        With every problem found: file, row, column, fix.
    """
    study, problems = judge_study(Path(path))
    if study is None or any(p.severity == "error" for p in problems):
        raise StudyError(problems)
    return study


def judge_study(path: Path) -> tuple[Study | None, list[Problem]]:
    """Read a study as far as it can be read, and list all problems of its sheets; no data file is opened."""
    path = path / "study.yaml" if path.is_dir() else path
    config, problems = read_config(path)
    if config is None:
        return None, problems
    root = path.parent
    samples = _sheet(root, config.samples, problems, known=KNOWN)
    patients = _sheet(root, config.patients, problems, known=(keys.PATIENT_ID,)) if config.patients else None
    if samples is not None:
        problems += judge_samples(samples, root, config)
    if patients is not None:
        problems += judge_patients(patients, config)
        if samples is not None:
            problems += judge_links(samples, patients)
    elif config.outcomes:
        what, fix = "outcomes are named but there is no patients sheet", "Add `patients: patients.csv`."
        problems.append(Problem("study.no_patients", what, path.name, None, "patients", fix=fix))
    problems += judge_paths(config, root, path)
    if samples is not None and samples.frame.empty and not samples.problems:
        what, fix = "the sheet has a header but no rows", "Add one row per file, or run `cellprec init FOLDER`."
        problems.append(Problem("sheet.no_rows", what, samples.file, 1, fix=fix))
    if samples is None or samples.frame.empty or not set(REQUIRED) <= set(samples.frame.columns):
        return None, problems
    return _study(path, config, samples, patients, problems), problems


def _study(path: Path, config: Any, samples: Sheet, patients: Sheet | None, problems: list[Problem]) -> Study:
    root = path.parent
    frame = samples.frame.reset_index(drop=True)
    clinical = None
    if patients is not None and keys.PATIENT_ID in patients.frame:
        clinical = _typed(patients.frame.drop_duplicates(keys.PATIENT_ID).set_index(keys.PATIENT_ID).sort_index())
    outcomes = tuple(_outcome(name, entry, patients) for name, entry in config.outcomes.items())
    design = Design(
        config.name,
        frame,
        clinical,
        outcomes,
        tuple(config.covariates),
        tuple(config.timepoints),
        config.seed,
    )
    files = tuple(_sample(row, root, config.seed) for _, row in frame.iterrows())
    return Study(
        path=path.resolve(),
        name=config.name,
        seed=config.seed,
        results=resolve(root, config.results),
        design=design,
        samples=files,
        settings=_settings(config, root),
        truth=resolve(root, config.truth) if config.truth else None,
        sheets=(path.resolve(), *_sheet_paths(config, root)),
        sheet_name=samples.file,
        rows=tuple(int(str(row)) for row in samples.frame.index),
        warnings=tuple(p for p in problems if p.severity == "warning"),
    )


def _sheet_paths(config: Any, root: Path) -> list[Path]:
    return [resolve(root, name) for name in (config.samples, config.patients) if name]


def _outcome(name: str, entry: Any, patients: Sheet | None) -> Outcome:
    yes: dict[str, float] = {}
    if patients is not None and {entry.column, keys.PATIENT_ID} <= set(patients.frame.columns):
        values = patients.frame.drop_duplicates(keys.PATIENT_ID).set_index(keys.PATIENT_ID)[entry.column].sort_index()
        found = binary_outcome(values, positive=entry.positive, at_least=entry.at_least)
        yes = {str(patient): float(value) for patient, value in found.items()}
    return Outcome(name, entry.column, tuple(entry.positive), entry.at_least, yes)


def _sample(entry: pd.Series, root: Path, seed: int) -> Sample:
    row = {str(column): str(value) for column, value in entry.items()}
    gates = resolve(root, row["gates"]) if row.get("gates") else None
    return Sample(row[keys.SAMPLE_ID], row[keys.MODALITY], resolve(root, row["path"]), row, seed, gates)


def _settings(config: Any, root: Path) -> dict[str, dict[str, Any]]:
    settings: dict[str, dict[str, Any]] = {}
    for step in CATALOGUE.values():
        values = getattr(config.settings, step.name).model_dump() if step.settings else {}
        for knob in step.settings.values():
            if knob.is_path and values[knob.name] is not None:
                values[knob.name] = resolve(root, values[knob.name])
        settings[step.name] = values
    return settings


def _sheet(root: Path, name: Path, problems: list[Problem], *, known: tuple[str, ...]) -> Sheet | None:
    path = resolve(root, name)
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*")], n=1)
        fix = f"Did you mean {near[0]}?" if near else "Run `cellprec init FOLDER` to write one."
        problems.append(Problem("sheet.missing", f"there is no file {name}", str(name), fix=fix))
        return None
    sheet = read_sheet(path, known=known)
    problems += sheet.problems
    return sheet


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn columns of numbers into numbers; words stay words, missing stays missing."""
    typed = pd.DataFrame(index=frame.index)
    for column in frame:
        text = frame[column].mask(is_missing(frame[column]))
        numbers = pd.to_numeric(text, errors="coerce").replace([np.inf, -np.inf], np.nan)
        is_number = numbers.notna().sum() == text.notna().sum() and numbers.notna().any()
        typed[column] = numbers if is_number else text.where(text.notna(), None).astype("category")
    return typed

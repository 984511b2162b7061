"""What is wrong with the sheets of a study: every row, every column, every link between them."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

import pandas as pd

from cellprec import keys
from cellprec.errors import Problem
from cellprec.steps.catalogue import CATALOGUE
from cellprec.study.outcome import binary_outcome, is_missing
from cellprec.study.sheet import Sheet
from cellprec.study.units import judge_unit

REQUIRED = (keys.SAMPLE_ID, keys.MODALITY, "path")
KNOWN = (
    *REQUIRED,
    keys.PATIENT_ID,
    keys.TIMEPOINT,
    keys.BATCH,
    keys.ARM,
    keys.REPLICATE,
    keys.PCR_REPLICATE,
    keys.COLUMN,
    "gates",
)
MODALITIES = tuple(dict.fromkeys(step.modality for step in CATALOGUE.values() if step.modality))
_SPOKEN = {"facs": "cytometry", "fcs": "cytometry", "flow": "cytometry", "cytof": "cytometry", "gex": "rna",
           "scrna": "rna", "tcr": "vdj", "bcr": "vdj", "reads": "fastq", "barcodes": "counts",
           "stain": "control", "single_stain": "control", "compensation": "control"}  # fmt: skip
_SAFE_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")


def resolve(root: Path, path: Path | str) -> Path:
    """Return a path of the user's as an absolute one; relative paths start at ``study.yaml``."""
    return (root / Path(path).expanduser()).resolve()


def judge_samples(sheet: Sheet, root: Path, config: Any) -> list[Problem]:
    """List what is wrong with the rows of samples.csv."""
    problems = _judge_header(sheet, REQUIRED, KNOWN)
    frame = sheet.frame
    if not set(REQUIRED) <= set(frame.columns):
        return problems
    for row, entry in frame.iterrows():
        problems += _judge_row(sheet.file, int(str(row)), entry, root, config)
    problems += _judge_twice(sheet, root)
    problems += _judge_controls(sheet)
    problems += _judge_design(sheet, config)
    told = [c for c in (keys.PATIENT_ID, keys.TIMEPOINT, keys.ARM, keys.BATCH) if c in frame and (frame[c] != "").any()]
    if len(frame) > 1 and not told:
        what = "no row says which patient, timepoint, arm or batch it is"
        fix = "Fill the columns that apply: without them samples cannot be compared."
        problems.append(Problem("samples.no_design", what, sheet.file, 1, fix=fix, severity="warning"))
    tubes = list(zip(frame[keys.SAMPLE_ID], frame[keys.MODALITY], strict=True))
    first: dict[tuple[str, str], int] = {}
    for row, tube in zip(frame.index, tubes, strict=True):
        if tube in first and tube[0]:
            what = f"sample_id {tube[0]!r} is already used for {tube[1]} in row {first[tube]}"
            fix = "Give every file of one modality its own sample_id."
            problems.append(Problem("samples.duplicate", what, sheet.file, row, keys.SAMPLE_ID, tube[0], fix=fix))
        first.setdefault(tube, row)
    return problems


def _judge_controls(sheet: Sheet) -> list[Problem]:
    """What the rows of single-stained controls must say: the channel of each, once, and one unstained."""
    frame = sheet.frame[sheet.frame[keys.MODALITY] == "control"]
    if frame.empty:
        return []
    problems: list[Problem] = []
    first: dict[str, int] = {}
    stains = frame.get(keys.COLUMN, pd.Series("", index=frame.index)).str.strip()
    for number, stain in stains.items():
        row, sample = int(str(number)), str(frame.at[number, keys.SAMPLE_ID])
        what = ""
        if not stain:
            what = "the control does not say what it is stained for"
        elif stain.casefold() in first:
            what = f"there is a control for {stain!r} in row {first[stain.casefold()]} already"
        if what:
            fix = f"Write the channel (PE-A), or `{keys.UNSTAINED}`; each once."
            problems.append(Problem("samples.control", what, sheet.file, row, keys.COLUMN, sample, fix=fix))
        first.setdefault(stain.casefold(), row)
    if set(first) == {keys.UNSTAINED}:
        what, fix = "no control is stained", "Add the single-stained controls, or leave out the controls."
        problems.append(Problem("samples.control", what, sheet.file, None, keys.MODALITY, fix=fix))
    return problems


def _judge_design(sheet: Sheet, config: Any) -> list[Problem]:
    """What the questions of the study need to know of time and arms, and the names that settings use for them."""
    frame, problems = sheet.frame, []
    times = sorted({*frame.get(keys.TIMEPOINT, ())} - {""})
    if len(times) > 1 and not config.timepoints and config.outcomes:
        what = (
            f"the order of the timepoints {', '.join(times)} is not given, so nothing says what came before the outcome"
        )
        fix = f"Write `timepoints: [{', '.join(times)}]` in the order of time; the first is the one that may foretell."
        problems.append(Problem("study.no_order", what, "study.yaml", None, "timepoints", fix=fix))
    settings = config.settings
    known = config.timepoints or times
    unknown = [name for name in settings.patients.until if name not in known]
    problems += [_unknown_name("settings.patients.until", name, known) for name in unknown]
    arms = sorted({*frame.get(keys.ARM, ())} - {""})
    if settings.clones.control and settings.clones.control not in arms:
        problems.append(_unknown_name("settings.clones.control", settings.clones.control, arms))
    elif len(arms) > 1 and not settings.clones.control and not {arm.lower() for arm in arms} & keys.USUAL_CONTROLS:
        what = "no arm is named as the control, so arms are not compared"
        fix = f"Write `clones: {{control: NAME}}` under settings; arms: {', '.join(arms)}."
        problems.append(Problem("study.no_control", what, "study.yaml", None, "settings.clones.control", fix=fix))
    return problems


def _unknown_name(key: str, name: str, known: list[str]) -> Problem:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    fix = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known) or 'none'}."
    return Problem("study.unknown_name", f"{key}: {name!r} is not in samples.csv", "study.yaml", None, key, fix=fix)


def _judge_twice(sheet: Sheet, root: Path) -> list[Problem]:
    """A file that two rows name, unless each takes another column of it: that of a control says its stain."""
    first: dict[tuple[str, ...], int] = {}
    problems = []
    for number, entry in sheet.frame.iterrows():
        row = int(str(number))
        part = "" if entry[keys.MODALITY] == "control" else entry.get(keys.COLUMN, "")
        file = (str(resolve(root, entry["path"])), entry[keys.MODALITY], part)
        if entry["path"] and file in first:
            what = f"the file is already named in row {first[file]}"
            fix = "Name each file once; one tube measured twice has two files."
            sample = entry[keys.SAMPLE_ID]
            problems.append(Problem("samples.same_file", what, sheet.file, row, "path", sample, fix=fix))
        first.setdefault(file, row)
    return problems


def _judge_header(sheet: Sheet, required: tuple[str, ...], known: tuple[str, ...]) -> list[Problem]:
    problems = []
    columns = list(sheet.frame.columns)
    strangers = [c for c in columns if c not in known]
    for name in required:
        if name not in columns:
            near = difflib.get_close_matches(name, strangers, n=1, cutoff=0.6)
            fix = f"Rename column {near[0]!r} to {name!r}." if near else f"Add a column {name!r}."
            problems.append(Problem("sheet.no_column", f"column {name!r} is missing", sheet.file, 1, name, fix=fix))
            strangers = [c for c in strangers if c not in near]
    for column in strangers:
        near = difflib.get_close_matches(column, [k for k in known if k not in columns], n=1, cutoff=0.75)
        if near:
            fix = f"Rename it to {near[0]!r}, or ignore this if it is meant."
            what = f"column {column!r} is not one cellprec knows"
            problems.append(Problem("sheet.odd_column", what, sheet.file, 1, column, fix=fix, severity="warning"))
    return problems


def _judge_row(file: str, row: int, entry: pd.Series, root: Path, config: Any) -> list[Problem]:
    problems = []
    sample, modality = entry[keys.SAMPLE_ID], entry[keys.MODALITY]

    def wrong(code: str, what: str, column: str, fix: str) -> None:
        problems.append(Problem(code, what, file, row, column, sample, fix=fix))

    if not _SAFE_NAME.match(sample):
        what = f"sample_id {sample!r} cannot be a file name" if sample else "sample_id is empty"
        wrong("samples.name", what, keys.SAMPLE_ID, "Use letters, digits, '.', '_', '+' and '-', no blanks or slashes.")
    if modality not in MODALITIES:
        spoken = _SPOKEN.get(modality.lower())
        near = [spoken] if spoken else difflib.get_close_matches(modality.lower(), MODALITIES, n=1, cutoff=0.4)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        wrong(
            "samples.modality",
            f"unknown modality {modality!r}",
            keys.MODALITY,
            f"{hint}One of: {', '.join(MODALITIES)}.",
        )
    for column in ("path", "gates"):
        name = entry.get(column, "")
        if name and not resolve(root, name).exists():
            folder = resolve(root, name).parent
            near = difflib.get_close_matches(Path(name).name, [p.name for p in folder.glob("*")], n=1, cutoff=0.7)
            hint = f"Did you mean {near[0]!r}?" if near else "Check the path; it is relative to study.yaml."
            wrong("samples.missing_file", f"there is no file {name!r}", column, hint)
    if not entry["path"]:
        wrong("samples.no_path", "path is empty", "path", "Name the file, relative to study.yaml.")
    timepoint = entry.get(keys.TIMEPOINT, "")
    if config.timepoints and timepoint and timepoint not in config.timepoints:
        near = difflib.get_close_matches(timepoint, config.timepoints, n=1, cutoff=0.4)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(config.timepoints)}."
        what = f"timepoint {timepoint!r} is not in the timepoints of study.yaml"
        wrong("samples.timepoint", what, keys.TIMEPOINT, hint)
    return problems


def judge_patients(sheet: Sheet, config: Any) -> list[Problem]:
    """List what is wrong with patients.csv: rows, numbers, units, and the outcomes read from it."""
    problems = _judge_header(sheet, (keys.PATIENT_ID,), (keys.PATIENT_ID,))
    frame = sheet.frame
    if keys.PATIENT_ID in frame:
        for row in frame.index[frame[keys.PATIENT_ID].duplicated()]:
            patient = frame.at[row, keys.PATIENT_ID]
            what = "the patient_id stands in an earlier row" if patient else "patient_id is empty"
            problems.append(
                Problem("patients.duplicate", what, sheet.file, row, keys.PATIENT_ID, fix="Keep one row per patient.")
            )
    for column in frame.columns.drop(keys.PATIENT_ID, errors="ignore"):
        problems += _judge_numbers(sheet, column)
    wanted = {f"outcomes.{name}": entry.column for name, entry in config.outcomes.items()}
    wanted |= {f"covariates[{i}]": name for i, name in enumerate(config.covariates)}
    for key, column in wanted.items():
        if column not in frame:
            near = difflib.get_close_matches(column, list(frame.columns), n=1, cutoff=0.5)
            fix = f"Did you mean {near[0]!r}?" if near else f"Columns: {', '.join(frame.columns)}."
            what = f"{key} names column {column!r}, which is not in {sheet.file}"
            problems.append(Problem("study.no_column", what, "study.yaml", None, key, fix=fix))
    for name, entry in config.outcomes.items():
        if entry.column in frame:
            problems += _judge_outcome(sheet, name, entry)
        if entry.column in config.covariates:
            what = f"column {entry.column!r} is both the outcome {name!r} and a covariate"
            fix = "Remove it from `covariates`: an outcome foretells itself."
            problems.append(Problem("study.circular", what, "study.yaml", None, "covariates", fix=fix))
    return problems


def _judge_outcome(sheet: Sheet, name: str, entry: Any) -> list[Problem]:
    key = f"outcomes.{name}"
    if bool(entry.positive) == (entry.at_least is not None):
        fix = "Write `positive: [CR, PR]` for words, or `at_least: 3` for grades."
        what = f"{key} needs one of `positive` and `at_least`"
        return [Problem("study.outcome", what, "study.yaml", None, key, fix=fix)]
    values = sheet.frame[entry.column]
    present = values[~is_missing(values)]
    yes = binary_outcome(present, positive=entry.positive, at_least=entry.at_least) == 1
    seen = ", ".join(sorted(set(present))[:8])
    problems = []
    if entry.at_least is not None:
        for row, value in present[pd.to_numeric(present, errors="coerce").isna()].items():
            what, fix = f"{value!r} is no number, so it cannot be held against at_least", "Write the bare number."
            problems.append(Problem("patients.grade", what, sheet.file, int(str(row)), entry.column, fix=fix))
    by_case = {word.casefold(): word for word in entry.positive}
    for row, value in present[~yes & present.str.casefold().isin(by_case)].items():
        what = f"{value!r} would count as no, but {by_case[value.casefold()]!r} counts as yes for {key}"
        fix = f"Write {by_case[value.casefold()]!r}, or add {value!r} to `positive`."
        problems.append(Problem("patients.spelling", what, sheet.file, int(str(row)), entry.column, fix=fix))
    for word in set(entry.positive) - set(present):
        what, fix = f"{key}: no patient has {word!r}", f"Nothing to do if that is so; values seen: {seen}."
        problems.append(Problem("study.positive", what, "study.yaml", None, key, fix=fix, severity="warning"))
    if not yes.any() or yes.all():
        what = f"{key}: {int(yes.sum())} of {len(present)} patients are positive, so there is nothing to tell apart"
        rule = f"`at_least: {entry.at_least:g}`" if entry.at_least is not None else f"`positive: {entry.positive}`"
        fix = f"Change {rule}; values seen: {seen or 'none'}."
        problems.append(Problem("study.outcome", what, sheet.file, None, entry.column, fix=fix))
    return problems


def _judge_numbers(sheet: Sheet, column: str) -> list[Problem]:
    values = sheet.frame[column]
    present = values[~is_missing(values)]
    numbers = pd.to_numeric(present, errors="coerce")
    problems = []
    if numbers.notna().sum() > 2 * numbers.isna().sum():  # a column of numbers, with a few that are not
        for row in numbers.index[numbers.isna()]:
            what, fix = f"{present[row]!r} is not a number", "Write a plain number, or leave the cell empty if missing."
            problems.append(Problem("patients.number", what, sheet.file, row, column, fix=fix))
    judged = judge_unit(column, numbers.dropna().to_numpy(float))
    if judged:
        problems.append(Problem("patients.unit", judged[0], sheet.file, 1, column, fix=judged[1]))
    return problems


def judge_links(samples: Sheet, patients: Sheet) -> list[Problem]:
    """List the patients of samples.csv that patients.csv does not know."""
    if keys.PATIENT_ID not in samples.frame or keys.PATIENT_ID not in patients.frame:
        return []
    known = set(patients.frame[keys.PATIENT_ID])
    problems = []
    for row, patient in samples.frame[keys.PATIENT_ID].items():
        if patient and patient not in known:
            near = difflib.get_close_matches(patient, known, n=1)
            fix = f"Did you mean {near[0]!r}?" if near else f"Add the patient to {patients.file}."
            what = f"patient {patient!r} is not in {patients.file}"
            problems.append(Problem("samples.patient", what, samples.file, int(str(row)), keys.PATIENT_ID, fix=fix))
    return problems


def judge_paths(config: Any, root: Path, path: Path) -> list[Problem]:
    """List the files named by settings that do not exist."""
    problems = []
    for step in CATALOGUE.values():
        for knob in step.settings.values():
            value = getattr(getattr(config.settings, step.name), knob.name) if knob.is_path else None
            if value is not None and not resolve(root, value).exists():
                key = f"settings.{step.name}.{knob.name}"
                what, fix = f"there is no file {str(value)!r}", "Check the path; it is relative to study.yaml."
                problems.append(Problem("study.missing_file", what, path.name, None, key, fix=fix))
    return problems

"""Find the data files of a folder and write a commented study to edit."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path

from cellprec import keys
from cellprec.errors import InputError, UsageError
from cellprec.steps.catalogue import CATALOGUE
from cellprec.steps.contract import Step

_SKIPPED = {"results", "__pycache__"}
_CONTROL = re.compile(
    r"unstained|single[ _-]?stain|comp(ensation)?[ _-]*controls?|stained[ _-]control|^stain[ _-]", re.IGNORECASE
)
_CONTROL_FOLDER = re.compile(r"^(single[ _-]?stain(s|ed)?|comp(ensation)?([ _-]*controls?)?)$", re.IGNORECASE)
_COLUMNS = (
    "sample_id",
    "modality",
    "path",
    "patient_id",
    "timepoint",
    "batch",
    "arm",
    "replicate",
    "pcr_replicate",
    "column",
    "gates",
)


@dataclass(frozen=True)
class Found:
    """A data file: what it is and how its row of samples.csv would read."""

    sample_id: str
    modality: str
    path: str
    column: str = ""
    gates: str = ""


def discover(folder: Path) -> list[Found]:
    """Find FCS, 10x, contig, FASTQ and count files in a folder, judged by their names and first lines.

    Raises
    ------
    UsageError
        The folder does not exist.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", fix="Give the folder that holds the data files.")
    workspaces: list[Path] = []
    found: list[Found] = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in _SKIPPED)
        here = Path(root)
        if any(name.startswith("matrix.mtx") for name in names):
            found.append(Found(_name(here), "rna", here.relative_to(folder).as_posix()))
            continue
        for name in sorted(names):
            path = here / name
            if path.suffix == ".wsp":
                workspaces.append(path)
            found += _recognize(path, folder)
    if len(workspaces) == 1:  # several workspaces: which belongs to which file is for the user to say
        gates = workspaces[0].relative_to(folder).as_posix()
        found = [
            Found(f.sample_id, f.modality, f.path, f.column, gates) if f.modality == "cytometry" else f for f in found
        ]
    return _unique(found)


def _recognize(path: Path, folder: Path) -> list[Found]:
    name, where = path.name.lower(), path.relative_to(folder).as_posix()
    plain = name.removesuffix(".gz")
    if plain.endswith((".fcs", ".lmd")):
        stain = _CONTROL.search(path.name)
        if stain or _CONTROL_FOLDER.search(path.parent.name):
            # what a control is stained for is for the user to say, but for the one that is not stained
            column = keys.UNSTAINED if re.search(r"unstained|blank", name) else ""
            return [Found(_name(path), "control", where, column)]
        return [Found(_name(path), "cytometry", where)]
    if plain.endswith((".fastq", ".fq")):
        second = re.search(r"_[RI]2(_|\.)|_I1(_|\.)", path.name)
        return [] if second else [Found(_name(path), "fastq", where)]
    if name.endswith((".h5", ".h5ad")):
        return [Found(_name(path), "rna", where)]
    if plain.endswith((".csv", ".tsv", ".txt")) and name not in {"samples.csv", "patients.csv", "truth.csv"}:
        return _recognize_text(path, where)
    return []


def _recognize_text(path: Path, where: str) -> list[Found]:
    header, rows = _first_rows(path)
    lower = {cell.lower() for cell in header}
    if {"barcode", "chain", "cdr3"} <= lower or {"sequence_id", "junction", "v_call"} <= lower:
        return [Found(_name(path), "vdj", where)]
    if "patient_id" in lower:
        return [Found(_name(path), "table", where)]
    whole = all(len(row) == len(header) and all(cell.isdigit() for cell in row[1:]) for row in rows)
    if len(header) > 1 and len(rows) >= 10 and whole:
        return [Found(re.sub(r"[^A-Za-z0-9._+-]+", "_", c) or "library", "counts", where, c) for c in header[1:]]
    return []


def _first_rows(path: Path, limit: int = 30) -> tuple[list[str], list[list[str]]]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as handle:
            text = handle.read(1 << 18).decode("utf-8-sig", errors="replace")
    except (OSError, EOFError):
        return [], []
    lines = text.splitlines()[: limit + 1]
    separator = max(",;\t", key=lines[0].count) if lines else ","
    rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=separator))
    return (rows[0], rows[1:]) if rows else ([], [])


def _name(path: Path) -> str:
    stem = path.name.removesuffix(".gz")
    for ending in (".fcs", ".lmd", ".fastq", ".fq", ".h5ad", ".h5", ".csv", ".tsv", ".txt", ".FCS", ".LMD"):
        stem = stem.removesuffix(ending)
    stem = re.sub(r"_(filtered_)?(contig_annotations|feature_bc_matrix|contigs)$", "", stem)
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", stem).strip("._+-") or "sample"


def _unique(found: list[Found]) -> list[Found]:
    seen: dict[tuple[str, str], int] = {}
    unique = []
    for item in found:
        count = seen[item.modality, item.sample_id] = seen.get((item.modality, item.sample_id), 0) + 1
        name = item.sample_id if count == 1 else f"{item.sample_id}-{count}"
        unique.append(Found(name, item.modality, item.path, item.column, item.gates))
    return unique


def write_study(folder: Path) -> tuple[Path, list[Found]]:
    """Write ``study.yaml`` and ``samples.csv`` for the files of a folder, with comments; nothing is overwritten.

    Raises
    ------
    UsageError
        The folder already has a study.
    InputError
        No data file was recognized.
    """
    found = discover(folder)
    taken = [name for name in ("study.yaml", "samples.csv") if (folder / name).exists()]
    if taken:
        raise UsageError(
            f"{' and '.join(taken)} already exist", where=folder, fix="Edit them, or move them away first."
        )
    if not found:
        what = "no FCS, 10x, contig, FASTQ, count or table file was recognized"
        raise InputError(what, where=folder, fix="Give the folder that holds the data, or write samples.csv by hand.")
    modalities = {f.modality for f in found}
    used = [c for c in _COLUMNS if c not in {keys.COLUMN, "gates"} or any(getattr(f, c) for f in found)]
    if "control" in modalities and keys.COLUMN not in used:
        used.append(keys.COLUMN)
    if not modalities & {"fastq", "counts"}:
        used = [c for c in used if c not in {"arm", "replicate", "pcr_replicate"}]
    with (folder / "samples.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(used)
        for item in found:
            writer.writerow([getattr(item, column, "") for column in used])
    study = folder / "study.yaml"
    study.write_text(_study_text(folder.resolve().name, modalities), encoding="utf-8")
    return study, found


def _study_text(name: str, modalities: set[str]) -> str:
    lines = [
        "# A cellprec study. Edit, then:  cellprec check   and   cellprec run",
        f"name: {name!r}",
        "seed: 1",
        "samples: samples.csv     # one row per file; fill patient_id, timepoint, batch, arm, replicate",
        "# patients: patients.csv # one row per patient; units stand in the headers (ferritin_ug_per_l)",
        "results: results",
        "# timepoints: [baseline, day14]   # in the order of time",
        "# outcomes:                       # what is to be foretold",
        "#   response: {column: response, positive: [CR, PR]}",
        "#   severe_icans: {column: icans_grade, at_least: 3}",
        "# covariates: [age_years]         # the clinical baseline that a biomarker has to beat",
        "settings:",
    ]
    for step in _used(modalities):
        lines.append(f"  # {step.says}")
        lines.append(f"  {step.name}:")
        width = max(len(f"{k.name}: {_yaml(k.default)}") for k in step.settings.values())
        for knob in step.settings.values():
            line = f"{knob.name}: {_yaml(knob.default)}"
            lines.append(f"    # {line:<{width}}  # {knob.text}")
    return "\n".join(lines) + "\n"


def _used(modalities: set[str]) -> list[Step]:
    """The steps with settings that files of these modalities lead to."""
    used: dict[str, Step] = {}
    for step in CATALOGUE.values():
        if step.modality in modalities or any(need.name in used for need in step.needs):
            used[step.name] = step
    return [step for step in used.values() if step.settings]


def _yaml(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else "''" if value == "" else str(value)

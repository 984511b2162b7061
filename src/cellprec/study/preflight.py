"""Look into every file of a study before the run: does it open, is the panel the same, is the column there."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import h5py

import cellprec as cp
from cellprec import keys
from cellprec.errors import CellprecError, FileFormatError, Problem, StudyError
from cellprec.steps.contract import Sample
from cellprec.study.config import Study
from cellprec.study.load import judge_study


def preflight(path: Path | str) -> tuple[Study | None, list[Problem]]:
    """Judge a study and glance into each of its files; every problem is listed, nothing is changed.

    Returns
    -------
    tuple
        The study (``None`` if its sheets are beyond use) and all problems, those of the sheets first.
    """
    study, problems = judge_study(Path(path))
    if study is None:
        return None, problems
    panels: dict[tuple[str, int], tuple[str, ...]] = {}
    for row, sample in zip(study.rows, study.samples, strict=True):
        if sample.modality not in _GLANCES or not sample.path.exists() or not sample.sheet["path"]:
            continue  # already named by the sheet's own judgement
        try:
            panel = _GLANCES[sample.modality](sample)
        except CellprecError as error:
            problems.append(_unreadable(error, sample, row, study.sheet_name))
        else:
            if panel:
                panels[sample.sample_id, row] = panel
    problems += _judge_stains(study)
    problems += _judge_panels(panels, study.sheet_name)
    problems += _judge_template(study, panels)
    problems += _judge_spillover(study, panels)
    problems += _judge_signs(study, panels)
    problems += _judge_flanks(study)
    return study, problems


def _unreadable(error: CellprecError, sample: Sample, row: int, file: str) -> Problem:
    what = f"{sample.sheet['path']}: {error.what}"
    fix = error.fix or "Export or copy the file again, or remove the row."
    return Problem("file.unreadable", what, file, row, "path", sample.sample_id, fix)


def _glance_fcs(sample: Sample) -> tuple[str, ...]:
    header = cp.io.read_fcs_header(sample.path)
    return tuple(marker or channel for channel, marker in zip(header.channels, header.markers, strict=True))


def _glance_control(sample: Sample) -> tuple[str, ...]:
    cp.io.read_fcs_header(sample.path)
    return ()  # a tube with one dye often names its channels otherwise than the samples


def _glance_rna(sample: Sample) -> tuple[str, ...]:
    if sample.path.is_dir() or sample.path.suffix not in {".h5", ".h5ad"}:
        return ()  # an mtx folder is judged when it is read
    wanted = "X" if sample.path.suffix == ".h5ad" else "matrix"
    try:
        with h5py.File(sample.path) as handle:
            if wanted not in handle and not any(isinstance(v, h5py.Group) and "barcodes" in v for v in handle.values()):
                raise FileFormatError(
                    f"there is no {wanted!r} in this HDF5 file", fix="Give a Cell Ranger .h5 or an .h5ad."
                )
    except OSError as error:
        fix = "Copy the file again; compare its size with the original."
        raise FileFormatError("this is not a whole HDF5 file", why=str(error), fix=fix) from error
    return ()


def _glance_vdj(sample: Sample) -> tuple[str, ...]:
    cp.io.read_vdj(sample.path, sample_id=sample.sample_id)
    return ()


def _glance_counts(sample: Sample) -> tuple[str, ...]:
    cp.io.read_counts(sample.path, sample_id=sample.sample_id, column=sample.sheet.get("column") or None)
    return ()


def _glance_fastq(sample: Sample) -> tuple[str, ...]:
    if not list(islice(cp.io.iterate_reads(sample.path), 1000)):
        raise FileFormatError("the file holds no read", fix="Check the sequencing run, or remove the row.")
    return ()


def _glance_table(sample: Sample) -> tuple[str, ...]:
    cp.io.read_table(sample.path, sample_id=sample.sample_id)
    return ()


_GLANCES: dict[str, Callable[[Sample], tuple[str, ...]]] = {
    "cytometry": _glance_fcs,
    "control": _glance_control,
    "rna": _glance_rna,
    "vdj": _glance_vdj,
    "counts": _glance_counts,
    "fastq": _glance_fastq,
    "table": _glance_table,
}


def _judge_stains(study: Study) -> list[Problem]:
    """Controls whose column names no channel of their file: the brightest would be taken."""
    from cellprec.cytometry.panel import canonical_names  # noqa: PLC0415 - seconds, for studies with controls only

    problems = []
    for row, sample in zip(study.rows, study.samples, strict=True):
        stain = sample.sheet.get(keys.COLUMN, "").strip()
        if sample.modality != "control" or not stain or stain.casefold() == keys.UNSTAINED:
            continue
        if study.settings["compensation"]["spectral"] or not sample.path.is_file():
            continue  # a dye of a spectral cytometer may be called anything
        try:
            header = cp.io.read_fcs_header(sample.path)
        except CellprecError:
            continue  # named by the glance already
        names = [name for name in (*header.channels, *header.markers) if name]
        if stain in names or canonical_names(stain) & set().union(*map(canonical_names, names)):
            continue
        near = difflib.get_close_matches(stain, names, n=1, cutoff=0.5)
        fix = f"Did you mean {near[0]!r}?" if near else f"Channels: {_some(names)}."
        what = f"the control has no channel {stain!r}: the brightest will be taken"
        file = study.sheet_name
        problems.append(Problem("controls.stain", what, file, row, keys.COLUMN, sample.sample_id, fix, "warning"))
    return problems


def _judge_panels(panels: dict[tuple[str, int], tuple[str, ...]], file: str) -> list[Problem]:
    if len(panels) < 2:
        return []
    usual, votes = Counter(tuple(sorted(panel)) for panel in panels.values()).most_common(1)[0]
    problems = []
    for (sample, row), panel in panels.items():
        lacks, extra = sorted(set(usual) - set(panel)), sorted(set(panel) - set(usual))
        if not lacks:
            continue
        pairs = _renamed(lacks, extra)
        renamed = ", ".join(f"{new!r} looks like {old!r}" for old, new in pairs)
        what = f"the panel differs from that of {votes} other files: it lacks {_some(lacks)}"
        what += f" and has {_some(extra)}" if extra else ""
        fix = f"Rename the markers ($PnS): {renamed}." if pairs else "Remove the file, or make a study for this panel."
        problems.append(Problem("file.panel", what, file, row, "path", sample, fix=fix))
    return problems


def _renamed(lacks: list[str], extra: list[str]) -> list[tuple[str, str]]:
    """Pairs of names that are surely one marker: very alike, and each the other's only match."""
    if len(lacks) > 3:
        return []  # another panel, not a spelling
    near = {name: difflib.get_close_matches(name, extra, n=2, cutoff=0.75) for name in lacks}
    pairs = [(old, new[0]) for old, new in near.items() if len(new) == 1]
    return pairs if len(pairs) == len(lacks) == len({new for _, new in pairs}) else []


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _first_names(study: Study, panels: dict[tuple[str, int], tuple[str, ...]]) -> tuple[Sample, list[str]] | None:
    """Return the first cytometry file that opens, and what its channels and markers are called."""
    readable = {name for name, _ in panels}
    first = next((s for s in study.samples if s.modality == "cytometry" and s.sample_id in readable), None)
    if first is None:
        return None
    header = cp.io.read_fcs_header(first.path)
    return first, [name for name in (*header.markers, *header.channels) if name]


def _strangers(wanted: list[str], names: list[str]) -> list[tuple[str, str]]:
    """Return the names that no channel or marker answers to, each with what to do about it."""
    from cellprec.cytometry.panel import canonical_names  # noqa: PLC0415 - seconds, for studies that need it only

    known = set().union(*(canonical_names(name) for name in names))
    strange = []
    for name in dict.fromkeys(wanted):
        if name not in names and not canonical_names(name) & known:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            strange.append((name, f"Did you mean {near[0]!r}?" if near else f"The files have {_some(names)}."))
    return strange


def _judge_template(study: Study, panels: dict[tuple[str, int], tuple[str, ...]]) -> list[Problem]:
    path = study.settings["events"]["template"]
    if path is None or not path.exists():
        return []
    try:
        rules = cp.io.read_template(path)
    except StudyError as error:
        return error.problems
    except CellprecError as error:
        return [Problem("template.unreadable", error.what, path.name, fix=error.fix)]
    found = _first_names(study, panels)
    if found is None:
        return []
    # unmixed events have the names of the dyes
    dyes = [s.sheet.get("column") or "" for s in study.samples if s.modality == "control"]
    strange = _strangers([name for rule in rules for name in rule.channels], [*found[1], *filter(None, dyes)])
    what = "the cytometry files have no channel or marker {!r}, which a gate is on"
    return [Problem("template.channel", what.format(n), path.name, column="channels", fix=fix) for n, fix in strange]


def _judge_spillover(study: Study, panels: dict[tuple[str, int], tuple[str, ...]]) -> list[Problem]:
    path = study.settings["events"]["spillover"]
    found = _first_names(study, panels)
    if path is None or not path.exists() or found is None:
        return []
    try:
        matrix = cp.io.read_compensation(path, sample=found[0].path.name)
    except CellprecError as error:
        what = f"{error.what}: {error.why}" if error.why else error.what
        return [Problem("spillover.unreadable", what, path.name, fix=error.fix or "Mend the matrix.")]
    what = "the spillover matrix names {!r}, which is no channel or marker of the cytometry files"
    strange = _strangers([str(name) for name in matrix.columns], found[1])
    return [Problem("spillover.channel", what.format(name), path.name, fix=fix) for name, fix in strange]


def _judge_signs(study: Study, panels: dict[tuple[str, int], tuple[str, ...]]) -> list[Problem]:
    """Markers of the sign table that no file has, and signs that cannot be read."""
    path = study.settings["cytometry"]["populations"]
    found = _first_names(study, panels)
    if path is None or not path.exists() or found is None:
        return []
    try:
        signs = cp.cytometry.read_signs(path)
    except CellprecError as error:
        return [Problem("signs.unreadable", error.what, error.where or path.name, fix=error.fix or "Mend the table.")]
    return [
        Problem(
            "signs.marker",
            f"the cytometry files have no marker {marker!r}",
            path.name,
            1,
            marker,
            fix=fix,
            severity="warning",
        )
        for marker, fix in _strangers([str(name) for name in signs.columns], found[1])
    ]


def _judge_flanks(study: Study) -> list[Problem]:
    given = study.settings["reads"]
    if not any(s.modality == "fastq" for s in study.samples) or given["left"] or given["right"]:
        return []
    what = "the constant sequences around the barcode are not given"
    fix = "Write `reads: {left: ..., right: ..., pattern: N20}` under settings, as your library was built."
    return [Problem("study.flanks", what, study.path.name, None, "settings.reads.left", fix=fix)]

"""What went wrong in the run itself: failed samples, stages that are missing though their files are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cellprec.report.section import Alert
from cellprec.report.table import counted, some, upper

if TYPE_CHECKING:
    from cellprec.notes import Note
    from cellprec.report.section import RunFolder, Study

READS: Final = {
    "cytometry": ("events", "cytometry"),
    "control": ("controls", ""),
    "rna": ("cells", "rna"),
    "vdj": ("contigs", "clones"),
    "fastq": ("reads", "clones"),
    "counts": ("counts", "clones"),
    "table": ("table", ""),
}
"""For each kind of file: the step that reads one, and the study-wide stage made of all of them."""


_MOST_SENTENCES: Final = 4
_EACH_NAMED: Final = ("table.dropped", "cytometry.set_aside", "cytometry.panel")
LOUD_NOTES: Final = {
    "barcodes.no_reads": ("No reads in the file", "Ask the sequencing facility for the file again."),
    "barcodes.few": (
        "Few reads hold a barcode",
        "Check `left`, `right` and `pattern` under settings.reads in study.yaml against the construct.",
    ),
    "clones.pcr": (
        "PCR replicates disagree",
        "Trust the large clones only there; amplify from more template, or leave the library out.",
    ),
    "cells.stressed_sample": ("The cells look stressed", "Read this sample with care, or leave it out."),
    "rna.unfiltered": (
        "The matrix holds empty droplets",
        "Name the filtered matrix in samples.csv (filtered_feature_bc_matrix).",
    ),
    "table.dropped": (
        "Columns of a table were left out",
        "Nothing below knows these columns. Correct them in the file and run the study again, if they are needed.",
    ),
    "cytometry.set_aside": (
        "Not part of the joint cytometry",
        "Populations and biomarkers know nothing of these samples. Correct the channel names or make two studies.",
    ),
    "cytometry.panel": (
        "Channels of the panel were left out",
        "Clusters and populations know nothing of these markers. Measure, or name, them alike in every sample.",
    ),
    "events.range_wrong": (
        "The range of a detector is wrongly declared in the file",
        "Events at its edge could not be recognized; ask for a new export.",
    ),
}
"""Notes that put a result in doubt: what to say of them on top, and what to do."""


def run_alerts(run: RunFolder, study: Study) -> list[Alert]:
    """Return the alerts about the run: what failed, and which stage has no result.

    >>> from pathlib import Path
    >>> from types import SimpleNamespace
    >>> import pandas as pd
    >>> sheet = pd.DataFrame({"sample_id": ["a"], "modality": ["rna"]})
    >>> study = SimpleNamespace(design=SimpleNamespace(samples=sheet, patients=None, outcomes=()))
    >>> run = SimpleNamespace(manifest=dict, table=lambda name: None, notes=list)
    >>> [alert.title for alert in run_alerts(run, study)]
    ['No result for the stage “rna”', '1 rna file was never processed']
    """
    steps = run.manifest().get("steps", [])
    return [*_failed(steps), *_missing_stages(run, study, steps), *_unread(study, steps), *_noted(run.notes())]


def _noted(notes: list[Note]) -> list[Alert]:
    """Raise the notes that put a result in doubt; all notes stand in their own section as well."""
    alerts = []
    for code, (title, fix) in LOUD_NOTES.items():
        own = [note for note in notes if note.code == code]
        if not own:
            continue
        names = list(dict.fromkeys(note.sample for note in own if note.sample))
        who = f" ({counted(len(names), one='sample')}: {some(names)})" if names else ""
        words = list(dict.fromkeys(note.text for note in own))
        shown = words[: _MOST_SENTENCES if code in _EACH_NAMED else 1]
        rest = len(words) - len(shown)
        more = f" And {rest} more of this kind, under Notes." if rest > 0 else ""
        text = " ".join(f"{upper(word)}." for word in shown)
        alerts.append(Alert(level="warning", title=f"{title}{who}", text=f"{text}{more}", fix=fix))
    return alerts


def _failed(steps: list[dict[str, Any]]) -> list[Alert]:
    alerts: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for entry in steps:
        if entry["status"] in {"failed", "crashed"}:
            error = entry.get("error") or {}
            alerts.setdefault((entry["step"], error.get("what", ""), error.get("fix", "")), []).append(entry)
    return [_failure(group) for group in alerts.values()]


def _failure(group: list[dict[str, Any]]) -> Alert:
    first = group[0]
    error = first.get("error") or {}
    names = [entry.get("sample", "") for entry in group if entry.get("sample")]
    places = list(dict.fromkeys(e["error"]["where"] for e in group if e.get("error") and e["error"].get("where")))
    who = f"{'Sample' if len(names) == 1 else 'Samples'} {some(names)}" if names else f"The stage “{first['step']}”"
    crashed = first["status"] == "crashed"
    fix = error.get("fix") or ("This is a bug of cellprec: please report it with log.txt." if crashed else "")
    out = " It is missing from everything below." if len(names) == 1 else " They are missing from everything below."
    return Alert(
        level="error",
        title=f"{who} failed: {error.get('what') or 'no reason was recorded'}",
        text=(f"{error.get('why', '')}".strip() + (out if names else "")).strip(),
        fix=fix,
        where=some(places, top=3) if places else "",
    )


def _missing_stages(run: RunFolder, study: Study, steps: list[dict[str, Any]]) -> list[Alert]:
    kinds = set(study.design.samples["modality"].astype(str)) if "modality" in study.design.samples else set()
    wanted = list(dict.fromkeys(READS[kind][1] for kind in READS if kind in kinds and READS[kind][1]))
    failed = {entry["step"] for entry in steps if entry["status"] in {"failed", "crashed"}}
    alerts = [
        Alert(
            level="error",
            title=f"No result for the stage “{stage}”",
            text="The study has files for it, but the stage did not end.",
            fix="Run the study again: what is done is kept, only what is missing is made.",
        )
        for stage in wanted
        if run.table(f"{stage}.samples") is None and stage not in failed
    ]
    asks = study.design.patients is not None and study.design.outcomes
    if asks and run.table("biomarkers.associations") is None and "biomarkers" not in failed:
        alerts.append(
            Alert(
                level="error",
                title="No result for the stage “biomarkers”",
                text=f"The study asks about {some([o.name for o in study.design.outcomes])}, but nothing was tested.",
                fix="Run the study again; if it stays so, look at the failed samples and stages above.",
            )
        )
    if study.design.patients is not None and not study.design.outcomes:
        alerts.append(
            Alert(
                level="info",
                title="No outcome is declared, so no biomarker was looked for",
                fix="Name the columns of patients.csv to foretell under `outcomes:` in study.yaml.",
            )
        )
    return alerts


def _unread(study: Study, steps: list[dict[str, Any]]) -> list[Alert]:
    sheet = study.design.samples
    if not {"sample_id", "modality"} <= set(sheet.columns):
        return []
    seen = {(entry["step"], entry.get("sample", "")) for entry in steps}
    alerts = []
    for kind, (step, _) in READS.items():
        names = sheet.loc[sheet["modality"].astype(str) == kind, "sample_id"].astype(str)
        lost = [name for name in names if (step, name) not in seen]
        if lost:
            verb = "was" if len(lost) == 1 else "were"
            alerts.append(
                Alert(
                    level="error",
                    title=f"{counted(len(lost), one=f'{kind} file')} {verb} never processed",
                    text=f"Samples: {some(lost)}.",
                    fix="The run was stopped before its end. Run the study again: what is done is kept.",
                )
            )
    return alerts

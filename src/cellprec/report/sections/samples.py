"""The samples: what the sheet names, what was read of it, and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from cellprec.pl.summary import STATES, completeness
from cellprec.report.figure import add_figure
from cellprec.report.section import Parts, Section
from cellprec.report.sections.alerts import READS
from cellprec.report.table import Column, counted, make_table

if TYPE_CHECKING:
    from cellprec.report.section import RunFolder, Study

_COLUMNS = (
    Column("sample_id", "sample"),
    Column("modality", "kind"),
    Column("patient_id", "patient"),
    Column("timepoint", "timepoint"),
    Column("batch", "batch"),
    Column("arm", "arm"),
    Column("replicate", "replicate"),
    Column("state", "state"),
)
_SORT = {"failed": 0, "absent": 1, "present": 2}


def section(run: RunFolder, study: Study) -> Section | None:
    """Return the chapter about the samples.

    >>> from types import SimpleNamespace
    >>> section(None, SimpleNamespace(design=SimpleNamespace(samples=pd.DataFrame()))) is None
    True
    """
    sheet = study.design.samples
    if sheet.empty:
        return None
    sheet = sheet.fillna("").astype(str)
    sheet = sheet.assign(state=_states(sheet, run.manifest().get("steps", [])))
    parts = Parts()
    one_kind = sheet["modality"].nunique() == 1 and sheet.get("timepoint", pd.Series(dtype=str)).nunique() > 1
    across = "timepoint" if one_kind else "modality"
    there = complete_table(sheet, timepoints=study.design.timepoints, across=across)
    columns = f"{there.shape[1]} {'timepoints' if one_kind else 'kinds of data'} ({', '.join(there.columns)})"
    counts = {state: int((there == state).to_numpy().sum()) for state in STATES}
    n_failed = int((sheet["state"] == "failed").sum())
    n_absent = int((sheet["state"] == "absent").sum())
    add_figure(
        parts,
        run.path,
        lambda: completeness(merged(there)),
        name="samples.completeness",
        alt=f"Grid of {len(there)} rows by {columns}: {counts['present']} filled, {counts['failed']} failed, "
        f"{counts['absent']} empty.",
        caption="Which data there are. Empty: never measured or never read; a cross: the file failed. Rows that are "
        "alike stand together in a long list.",
    )
    order = sheet["state"].map(_SORT).sort_values(kind="stable").index
    shown = [c for c in _COLUMNS if c.key in sheet and (sheet[c.key].str.strip() != "").any()]
    parts.tables.append(
        make_table(
            sheet.loc[order].replace({"state": {"present": "read", "absent": "not processed"}}),
            columns=shown,
            caption="Files of the study, failed ones first",
            source="samples.csv of the study",
        )
    )
    lead = f"{counted(len(sheet), one='file')} named in the sheet; {len(sheet) - n_failed - n_absent:,} read"
    lead += f", {n_failed:,} failed" if n_failed else ""
    lead += f", {n_absent:,} not processed" if n_absent else ""
    return parts.section(key="samples", title="Samples", lead=lead + ".")


def complete_table(sheet: pd.DataFrame, *, timepoints: tuple[str, ...] = (), across: str = "modality") -> pd.DataFrame:
    """Return rows (patient, arm, timepoint, replicate) by kinds of data, or by timepoints, each with its state.

    >>> sheet = pd.DataFrame({"sample_id": ["a", "b"], "modality": ["rna", "vdj"], "patient_id": ["P1", "P1"]})
    >>> complete_table(sheet.assign(state=["present", "failed"])).loc["P1"].tolist()
    ['present', 'failed']
    """
    columns = [c for c in ("patient_id", "arm", "timepoint", "replicate") if c in sheet and c != across]
    # what is the same for every file does not tell the rows apart
    columns = [c for c in columns if c == "patient_id" or sheet[c].nunique() > 1] or columns
    label = sheet[columns].agg(" ".join, axis=1).str.split().str.join(" ") if columns else sheet["sample_id"]
    label = label.where(label != "", sheet["sample_id"])
    rank = {timepoint: place for place, timepoint in enumerate(timepoints)}
    place = sheet["timepoint"].map(rank).fillna(len(rank)) if "timepoint" in sheet else pd.Series(0, index=sheet.index)
    frame = pd.DataFrame({"label": label, "kind": sheet[across], "state": sheet["state"], "place": place})
    frame["first"] = sheet[columns[0]] if columns else label
    rows = frame.sort_values(["first", "place", "label"], kind="stable")["label"].drop_duplicates().tolist()
    worst = frame.assign(order=frame["state"].map(_SORT)).sort_values("order").drop_duplicates(["label", "kind"])
    known = list(READS) if across == "modality" else timepoints
    kinds = [kind for kind in known if kind in set(frame["kind"])]
    kinds += sorted(set(frame["kind"]) - set(kinds))
    wide = worst.pivot_table(index="label", columns="kind", values="state", aggfunc="first")
    return wide.reindex(index=rows, columns=kinds).fillna("absent")


def merged(table: pd.DataFrame, *, most: int = 16) -> pd.DataFrame:
    """Return a long table with neighboring rows that are alike made one row, named by the first, the last and how many.

    >>> table = pd.DataFrame({"rna": ["present", "present", "failed"]}, index=["P1", "P2", "P3"])
    >>> merged(table, most=2).index.tolist()
    ['P1 to P2 (2)', 'P3']
    """
    if len(table) <= most:
        return table
    run = (table != table.shift()).any(axis=1).cumsum().to_numpy()
    rows = {}
    for _, own in table.groupby(run, sort=False):
        first, last = own.index[0], own.index[-1]
        rows[str(first) if len(own) == 1 else f"{first} to {last} ({len(own):,})"] = own.iloc[0]
    return pd.DataFrame(rows).T


def _states(sheet: pd.DataFrame, steps: list[dict[str, Any]]) -> list[str]:
    status = {(entry["step"], entry.get("sample", "")): entry["status"] for entry in steps}
    words = {"done": "present", "failed": "failed", "crashed": "failed"}
    return [
        words.get(status.get((READS.get(str(row["modality"]), ("", ""))[0], str(row["sample_id"])), ""), "absent")
        for _, row in sheet.iterrows()
    ]

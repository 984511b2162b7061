"""The record: every setting, every note, and what ran on what."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from cellprec.engine.store import defused
from cellprec.report.figure import write_atomic
from cellprec.report.section import Section
from cellprec.report.table import Column, counted, make_table
from cellprec.steps.catalogue import CATALOGUE

if TYPE_CHECKING:
    from cellprec.report.section import RunFolder, Study

NOTES = "tables/report.notes.csv"
_MOST_ROWS = 200


def settings_section(run: RunFolder, study: Study) -> Section | None:  # noqa: ARG001 - all sections are called alike
    """Return the settings used, step by step, and whether each is the default."""
    rows = settings_table(run.manifest().get("steps", []))
    if rows.empty:
        return None
    changed = int((rows["default"] == "changed").sum())
    columns = [Column("step", "step"), Column("setting", "setting"), Column("value", "value"), Column("default", "")]
    table = make_table(rows, columns=columns, caption="Settings", top=_MOST_ROWS, source="settings.yaml")
    lead = f"{counted(len(rows), one='setting')}, {changed:,} of them changed from the default."
    return Section("settings", "Settings", lead, tables=(table,))


def settings_table(steps: list[dict[str, Any]]) -> pd.DataFrame:
    """Return one row per step and setting, with the value used and whether it is the default.

    >>> step = {"step": "events", "settings": {"margins": False}}
    >>> settings_table([step, step]).to_numpy().tolist()
    [['events', 'margins', 'no', 'changed']]
    """
    used: dict[tuple[str, str], dict[str, None]] = {}
    for entry in steps:
        for name, value in (entry.get("settings") or {}).items():
            used.setdefault((entry["step"], name), {})[_plain(value)] = None
    rows = []
    for (step, name), values in used.items():
        known = CATALOGUE[step].settings.get(name) if step in CATALOGUE else None
        same = known is not None and list(values) == [_plain(known.default)]
        word = "" if known is None else "default" if same else "changed"
        rows.append({"step": step, "setting": name, "value": " / ".join(values), "default": word})
    return pd.DataFrame(rows, columns=["step", "setting", "value", "default"])


def _plain(value: Any) -> str:
    if value is None or value in ([], {}, ""):
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return str(value)


def notes_section(run: RunFolder, study: Study) -> Section | None:  # noqa: ARG001
    """Return what was dropped, repaired, converted or assumed."""
    notes = run.notes()
    if not notes:
        return None
    frame = pd.DataFrame(
        [{"code": n.code, "text": n.text, "count": n.count, "sample": n.sample} for n in notes],
        columns=["code", "text", "count", "sample"],
    )
    write_atomic(run.path / NOTES, defused(frame).to_csv(index=False, lineterminator="\n"))
    columns = [
        Column("code", "code"),
        Column("text", "what"),
        Column("count", "count", "count"),
        Column("sample", "sample"),
    ]
    made = make_table(_by_code(frame), columns=columns, caption="Notes", top=_MOST_ROWS)
    table = replace(made, source=f"{NOTES} ({counted(len(frame), one='note')})")
    lead = "What was dropped, repaired, converted or assumed on the way. Nothing else was."
    return Section("notes", "Notes", lead, tables=(table,))


def _by_code(notes: pd.DataFrame) -> pd.DataFrame:
    # a reader looks for what happened, then for whom: what is said of each sample again is one line
    rows = []
    for code, own in notes.groupby("code", sort=False):
        texts = own["text"].drop_duplicates()
        more = f" (And {counted(len(texts) - 1, one='note')} like it.)" if len(texts) > 1 else ""
        counts = pd.to_numeric(own["count"], errors="coerce")
        rows.append(
            {
                "code": code,
                "text": f"{texts.iloc[0]}{more}",
                "count": counts.sum(min_count=1),
                "sample": _samples(own["sample"]),
            }
        )
    return pd.DataFrame(rows)


def _samples(names: pd.Series) -> str:
    held = list(dict.fromkeys(name for name in names.astype(str) if name))
    return ", ".join(held) if len(held) <= 3 else f"{len(held):,} samples"


def manifest_section(run: RunFolder, study: Study) -> Section | None:  # noqa: ARG001
    """Return what ran, how long, on what machine, with which versions and inputs."""
    manifest = run.manifest()
    steps = manifest.get("steps", [])
    if not steps:
        return None
    frame = pd.DataFrame(steps)
    grouped = frame.groupby("step", sort=False)
    table = grouped.agg(
        says=("says", "first"),
        tasks=("status", "size"),
        done=("status", lambda s: int((s == "done").sum())),
        seconds=("seconds", "sum"),
        device=("device", lambda d: ", ".join(sorted(set(d.astype(str))))),
    ).reset_index()
    columns = [
        Column("step", "step"),
        Column("says", "what it does"),
        Column("tasks", "tasks", "count"),
        Column("done", "done", "count"),
        Column("seconds", "seconds", "number"),
        Column("device", "device"),
    ]
    platform = manifest.get("platform", {})
    machine = ", ".join(
        part
        for part in (
            str(platform.get("system", "")),
            f"Python {platform['python']}" if platform.get("python") else "",
            counted(int(platform["cores"]), one="core") if platform.get("cores") else "",
            f"{platform['memory_gb']} GB memory" if platform.get("memory_gb") else "",
            f"device {platform['device']}" if platform.get("device") else "",
        )
        if part
    )
    versions = ", ".join(f"{name} {version}" for name, version in sorted(manifest.get("packages", {}).items()))
    seed = manifest.get("study", {}).get("seed", "")
    paragraphs = (
        f"Started {manifest.get('started', '–')}, finished {manifest.get('finished', '–')}; seed {seed}.",
        f"Machine: {machine}.",
        f"Packages: {versions}." if versions else "",
    )
    inputs = pd.DataFrame(manifest.get("inputs", []), columns=["path", "sha256"])
    tables = [make_table(table, columns=columns, caption="Steps", top=_MOST_ROWS, source="manifest.json")]
    if len(inputs):
        named = [Column("path", "file"), Column("sha256", "SHA-256")]
        tables.append(make_table(inputs, columns=named, caption="Input files", source="manifest.json"))
    lead = "What is needed to do this again."
    return Section("record", "Record", lead, paragraphs=tuple(p for p in paragraphs if p), tables=tuple(tables))

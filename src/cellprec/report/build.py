"""From a run folder to one self-contained page: collect the sections, put the alerts on top, write it whole."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from cellprec.report.figure import write_atomic
from cellprec.report.section import Alert, Make, RunFolder, Section, Study
from cellprec.report.sections import alerts, biomarkers, clones, cytometry, headline, methods, planted, record, rna
from cellprec.report.sections import samples as samples_section
from cellprec.report.table import counted

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

REPORT = "report.html"
METHODS = "methods.md"
ORDER = {"error": 0, "warning": 1, "info": 2}
SECTIONS: tuple[tuple[str, Make], ...] = (
    ("planted", planted.section),
    ("headline", headline.section),
    ("samples", samples_section.section),
    ("cytometry", cytometry.section),
    ("rna", rna.section),
    ("clones", clones.section),
    ("biomarkers", biomarkers.section),
    ("methods", methods.section),
    ("settings", record.settings_section),
    ("notes", record.notes_section),
    ("record", record.manifest_section),
)


def build_report(run: RunFolder, study: Study, *, sections: Sequence[tuple[str, Make]] = SECTIONS) -> Path:
    """Write ``report.html``: what was found, what needs a look, and how it was done, in one file that needs no network.

    Also writes ``methods.md`` and ``figures/<stage>.<thing>.svg`` and ``.png``. The report computes nothing: every
    number stands in a table of the run. Built twice from the same run it is the same file, byte for byte.

    Parameters
    ----------
    run
        The run folder: data, tables, manifest, notes.
    study
        The study: its name, its design, its planted truth where it is simulated.
    sections
        The chapters in their order: a key and the function that makes the chapter. One that fails becomes an alert.

    Returns
    -------
    The path of the report.
    """
    manifest = run.manifest()
    made, broken = _collect(run, study, sections)
    found = [*alerts.run_alerts(run, study), *broken, *(alert for section in made for alert in section.alerts)]
    found.sort(key=lambda alert: ORDER[alert.level])
    interactive = any(section.interactives for section in made)
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            study=study,
            facts=_facts(manifest, study),
            alerts=found,
            sections=made,
            plotly=get_plotlyjs() if interactive else "",
        )
    )
    write_atomic(run.path / METHODS, methods.as_markdown(run, study))
    return write_atomic(run.path / REPORT, page)


def _collect(run: RunFolder, study: Study, sections: Sequence[tuple[str, Make]]) -> tuple[list[Section], list[Alert]]:
    made, broken = [], []
    for key, make in sections:
        try:
            section = make(run, study)
        except Exception as error:
            log.exception("the section %s of the report could not be made", key)
            broken.append(
                Alert(
                    level="error",
                    title=f"The section “{key}” could not be made",
                    text=f"{type(error).__name__}: {error}".splitlines()[0],
                    fix="The rest of the report is not affected. log.txt has the details; please report them.",
                )
            )
        else:
            if section is not None:
                made.append(section)
    return made, broken


def _facts(manifest: dict[str, Any], study: Study) -> list[tuple[str, str]]:
    sheet = study.design.samples
    patients = sheet["patient_id"].astype(str).str.strip() if "patient_id" in sheet else None
    named = set() if patients is None else set(patients) - {"", "nan"}
    if not named and study.design.patients is not None:
        named = set(study.design.patients.index.astype(str))  # a table of features names its patients itself
    n_patients = len(named)
    facts = [("Run finished", _when(str(manifest.get("finished") or "")))]
    if n_patients:
        facts.append(("Patients", f"{n_patients:,}"))
    kinds = sheet["modality"].astype(str).value_counts().sort_index().to_dict() if "modality" in sheet else {}
    files = ", ".join(counted(int(n), one=f"{kind} file") for kind, n in kinds.items())
    facts.append(("Files", f"{len(sheet):,}" + (f" ({files})" if files else "")))
    facts.append(("cellprec", str(manifest.get("cellprec", ""))))
    return facts


def _when(stamp: str) -> str:
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return stamp or "not finished"
    return f"{moment:%Y-%m-%d %H:%M} {moment.tzname() or ''}".strip()


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("cellprec.report"),
        autoescape=True,  # everything: names out of files must never become markup
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )

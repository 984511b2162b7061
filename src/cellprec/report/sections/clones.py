"""Clones: how diverse each sample is, which clones grew or fell, and whether the negative control stays silent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from cellprec import keys
from cellprec.report.section import Alert, Parts, Section
from cellprec.report.sections.clone_figures import (
    NEGATIVE,
    draw_clones,
    draw_diversity,
    draw_replicates,
    draw_volcanoes,
    ranked,
)
from cellprec.report.table import TOP, Column, as_text, counted, make_table, short, some, with_interval

if TYPE_CHECKING:
    from anndata import AnnData

    from cellprec.report.section import RunFolder, Study
    from cellprec.report.table import Table

LOW_COVERAGE = 0.9
FAR_SHIFT = 3.0  # log2: eightfold
SAMPLING = "sampling only"


def section(run: RunFolder, study: Study) -> Section | None:
    """Return the chapter about clones; None where the study has none.

    >>> from types import SimpleNamespace
    >>> section(SimpleNamespace(table=lambda name: None), None) is None
    True
    """
    samples = run.table("clones.samples")
    if samples is None:
        return None
    contrasts, tests = run.table("clones.contrasts"), run.table("clones.tests")
    clones = run.data("clones")
    parts = Parts()
    parts.alerts += [*_coverage_alerts(samples, clones), *control_alerts(contrasts), *shift_alerts(contrasts)]
    draw_diversity(parts, run, samples)
    if clones is not None and clones.n_vars:
        draw_clones(parts, run, study, clones)
    if tests is not None and len(tests) and contrasts is not None:
        draw_volcanoes(parts, run, tests, contrasts)
    replicates = run.table("clones.replicates")
    if replicates is not None and len(replicates):
        draw_replicates(parts, run, replicates)
    _add_tables(parts, samples, contrasts, tests, replicates)
    n_clones = f"{clones.n_vars:,} clones" if clones is not None else "Clones"
    lead = f"{n_clones} in {counted(len(samples), one='sample')}, counted in {_unit(clones)}. {_yardstick(contrasts)}"
    lead += "Frequencies are shares of a sample: where a few clones take over, the others fall without dying."
    return parts.section(key="clones", title="Clones", lead=lead)


def _yardstick(contrasts: pd.DataFrame | None) -> str:
    kinds = contrasts["kind"].astype(str) if contrasts is not None else pd.Series(dtype=str)
    sampled = kinds.str.contains(SAMPLING)
    said = ""
    if (~sampled).any():
        said += (
            "A clone is called enriched or depleted only if it changes more than replicates of the same arm differ "
            "from each other by chance: that difference, from splitting, passaging and sequencing, is measured in this "
            "study and is the yardstick. "
        )
    if sampled.any():
        said += (
            "Where there is one sample per timepoint (“sampling only”), a call says only that the draw of cells does "
            "not explain the change; nothing shows how much two samples of the same day would differ. "
        )
    return said


def _unit(clones: AnnData | None) -> str:
    return str(clones.uns.get(keys.UNS, {}).get(keys.UNIT, "counts")) if clones is not None else "counts"


def control_alerts(contrasts: pd.DataFrame | None) -> list[Alert]:
    """Return alerts about negative controls that are not silent or are missing, and contrasts that cannot tell.

    >>> contrasts = pd.DataFrame({"contrast": ["halves"], "kind": ["negative control"], "n_tested": [100]})
    >>> contrasts = contrasts.assign(n_enriched=2, n_depleted=1, verdict="3 clones called")
    >>> control_alerts(contrasts)[0].title
    'The negative control halves is not silent: 3 of 100 clones called'
    """
    if contrasts is None or not len(contrasts):
        return []
    alerts = []
    controls = contrasts[contrasts["kind"].astype(str) == NEGATIVE]
    for _, row in controls.iterrows():
        called = int(row["n_enriched"]) + int(row["n_depleted"])
        if called:
            alerts.append(
                Alert(
                    level="warning",
                    title=f"The negative control {row['contrast']} is not silent: {called} of "
                    f"{int(row['n_tested']):,} clones called",
                    text="Untreated samples are compared with untreated samples here, so every call is a false one. "
                    "The calls of the other contrasts are as doubtful.",
                    fix="Look for a swapped or contaminated library among the control replicates.",
                )
            )
    if controls.empty and (contrasts["kind"].astype(str) == "drug").any():
        alerts.append(
            Alert(
                level="info",
                title="There is no negative control",
                text="With fewer than two untreated replicates nothing shows how many clones are called by chance.",
                fix="Plan at least two, better four, replicates of the untreated arm.",
            )
        )
    doubtful = contrasts[contrasts["verdict"].astype(str).str.lower().str.startswith("cannot tell")]
    for verdict, own in doubtful.groupby("verdict", sort=False):
        names = own["contrast"].astype(str).tolist()
        title = f"{names[0]}: {verdict}" if len(names) == 1 else f"{len(names)} contrasts: {verdict}"
        alerts.append(Alert(level="info", title=title, text="" if len(names) == 1 else f"{some(names)}."))
    return alerts


def shift_alerts(contrasts: pd.DataFrame | None) -> list[Alert]:
    """Return an alert about contrasts in which the typical clone itself moved far: a few clones took over, or fell.

    >>> contrasts = pd.DataFrame({"contrast": ["drug", "other"], "shift": [-3.2, 0.4]})
    >>> [(alert.title, alert.text.split(":")[0]) for alert in shift_alerts(contrasts)]
    [('The typical clone moves far in 1 contrast', 'drug (share falls 9-fold)')]
    """
    if contrasts is None or "shift" not in contrasts:
        return []
    shift = pd.to_numeric(contrasts["shift"], errors="coerce")
    far = shift.abs() >= FAR_SHIFT
    if not far.any():
        return []
    told = [
        f"{name} (share {'falls' if value < 0 else 'rises'} {2 ** abs(value):,.0f}-fold)"
        for name, value in zip(contrasts["contrast"].astype(str)[far], shift[far], strict=True)
    ]
    return [
        Alert(
            level="warning",
            title=f"The typical clone moves far in {counted(int(far.sum()), one='contrast')}",
            text=f"{some(told, top=6)}: most clones moved together, because few took over or fell. A clone is called "
            "only if it also moves against the typical one.",
            fix="Read folds of these contrasts beside the typical clone, not as growth; count cells to tell the two "
            "apart.",
        )
    ]


def _coverage_alerts(samples: pd.DataFrame, clones: AnnData | None) -> list[Alert]:
    names = samples["sample_id"].astype(str)
    alerts = []
    flagged: list[str] = []
    if clones is not None and "low_depth" in clones.obs:
        flagged = clones.obs_names[clones.obs["low_depth"].astype(bool)].astype(str).tolist()
    if flagged:
        alerts.append(
            Alert(
                level="warning",
                title=f"{counted(len(flagged), one='library', many='libraries')} of low depth",
                text=f"{some(flagged, top=8)}: far fewer counts than the others; rare clones are not seen there.",
                fix="Sequence these libraries deeper, or leave them out of samples.csv.",
            )
        )
    if "coverage" in samples:
        poor = samples["coverage"] < LOW_COVERAGE
        if poor.any():
            shown = [
                f"{name} ({as_text(share, kind='fraction')})"
                for name, share in zip(names[poor], samples["coverage"][poor], strict=True)
            ]
            alerts.append(
                Alert(
                    # cells are always few beside the clones of a repertoire; reads need not be
                    level="info" if _unit(clones) == "cells" else "warning",
                    title=f"{counted(int(poor.sum()), one='sample')} seen to less than 90 %",
                    text=f"Estimated share of the sample that belongs to clones seen: {some(shown, top=8)}. "
                    "A clone that is not seen there is not a clone that died.",
                    fix="Compare diversity at equal depth only; sequence deeper or sample more cells.",
                )
            )
    return alerts


def _add_tables(
    parts: Parts,
    samples: pd.DataFrame,
    contrasts: pd.DataFrame | None,
    tests: pd.DataFrame | None,
    replicates: pd.DataFrame | None,
) -> None:
    if contrasts is not None and len(contrasts):
        columns = [
            Column("contrast", "contrast"),
            Column("kind", "kind"),
            Column("n_treated", "replicates", "count"),
            Column("n_control", "control replicates", "count"),
            Column("n_tested", "clones tested", "count"),
            Column("n_enriched", "enriched", "count"),
            Column("n_depleted", "depleted", "count"),
            Column("detection_limit", "detection limit", "p"),
            Column("verdict", "verdict"),
        ]
        source = "tables/clones.contrasts.csv"
        parts.tables.append(make_table(ranked(contrasts), columns=columns, caption="Contrasts", source=source))
    if tests is not None and len(tests):
        parts.tables.append(_tests_table(tests))
    columns = [
        Column("sample_id", "sample"),
        Column("total", "counts", "count"),
        Column("n_clones", "clones", "count"),
        Column("hill_1", "effective clones", "number"),
        Column("interval", "95 % interval", "interval"),
        Column("hill_1_equal", "at equal depth", "number"),
        Column("clonality", "clonality", "number"),
        Column("gini", "Gini", "number"),
        Column("coverage", "coverage", "fraction"),
    ]
    source = "tables/clones.samples.csv"
    told = with_interval(samples, low="hill_1_low", high="hill_1_high")
    parts.tables.append(make_table(told, columns=columns, caption="Diversity", source=source))
    if replicates is not None and len(replicates):
        columns = [
            Column("patient_id", "patient"),
            Column("arm", "arm"),
            Column("timepoint", "timepoint"),
            Column("sample_a", "one"),
            Column("sample_b", "other"),
            Column("r", "r (log frequency)", "number"),
            Column("n_shared", "clones in both", "count"),
            Column("top_overlap", "largest in common", "fraction"),
            Column("control_overlap", "in control", "fraction"),
        ]
        source = "tables/clones.replicates.csv"
        parts.tables.append(make_table(replicates, columns=columns, caption="Replicates", source=source))


def _tests_table(tests: pd.DataFrame) -> Table:
    order = {"enriched": 0, "depleted": 1}
    ordered = tests.assign(place=tests["call"].astype(str).map(order).fillna(2))
    ordered = ordered.sort_values(["place", "p"], kind="stable").head(TOP)
    ordered = ordered.assign(clone=[short(name) for name in ordered["clone"].astype(str)])
    columns = [
        Column("contrast", "contrast"),
        Column("clone", "clone"),
        Column("call", "call"),
        Column("log2fc", "log2 fold", "number"),
        Column("interval", "95 % interval", "interval"),
        Column("p", "p", "p"),
        Column("q", "q", "p"),
        Column("frequency_treated", "frequency", "fraction"),
        Column("frequency_control", "in control", "fraction"),
        Column("n_treated", "n", "count"),
        Column("n_control", "n control", "count"),
    ]
    caption = "Clones, enriched ones first"
    made = make_table(with_interval(ordered), columns=columns, caption=caption, source="tables/clones.tests.csv")
    return replace(made, n_rows=len(tests))

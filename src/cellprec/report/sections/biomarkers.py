"""Biomarkers: what goes with each outcome, what may be the batch, and whether anything foretells it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from cellprec.pl.forest import forest, readable, readable_names
from cellprec.pl.roc import boxes, roc
from cellprec.report.figure import add_figure
from cellprec.report.section import Alert, Parts, Section
from cellprec.report.table import TOP, Column, as_text, counted, make_table, some, with_interval

if TYPE_CHECKING:
    from anndata import AnnData

    from cellprec.report.section import RunFolder, Study

CONFOUNDED_P = 0.05
_ASSOCIATIONS = (
    Column("feature", "feature"),
    Column("verdict", "verdict"),
    Column("effect", "AUC", "number"),
    Column("interval", "95 % interval", "interval"),
    Column("p", "p", "p"),
    Column("q", "q", "p"),
    Column("p_within_batch", "p within batch", "p"),
    Column("batch_p", "p of batch", "p"),
    Column("n", "patients", "count"),
    Column("n_positive", "with it", "count"),
    Column("difference", "difference", "number"),
)
_PREDICTION = (
    Column("outcome", "outcome"),
    Column("model", "model"),
    Column("n", "patients", "count"),
    Column("n_events", "with it", "count"),
    Column("auc", "AUC", "number"),
    Column("interval", "95 % interval", "interval"),
    Column("p_permutation", "p (permutation)", "p"),
    Column("brier", "Brier", "number"),
    Column("verdict", "verdict"),
)
_CONFOUNDING = (
    Column("outcome", "outcome"),
    Column("column", "column"),
    Column("v", "Cramér's V", "number"),
    Column("interval", "95 % interval", "interval"),
    Column("p", "p", "p"),
    Column("sentence", "what it means"),
)
_LEAD = (
    "The patient is the unit of every test: thousands of cells of one patient are one observation. The AUC is the "
    "chance that a patient with the outcome has a higher value than one without; 0.5 means that the feature says "
    "nothing. The q-value corrects for the number of features tested for an outcome. A feature that goes with the "
    "outcome only because both go with the batch is named as confounded."
)
_PREDICTED = (
    "The prediction is judged on patients it has never seen: everything, choice of features included, is done inside "
    "the training part of each split. The clinical-only model stands beside it; a feature is useful only if it adds to "
    "what is known anyway. An association above does not mean that the outcome of a single patient can be foretold."
)


def section(run: RunFolder, study: Study) -> Section | None:
    """Return the chapter about biomarkers; None where the study asks for none.

    >>> from types import SimpleNamespace
    >>> section(SimpleNamespace(table=lambda name: None), None) is None
    True
    """
    associations = run.table("biomarkers.associations")
    if associations is None:
        return None
    prediction, predictions = run.table("biomarkers.prediction"), run.table("biomarkers.predictions")
    confounding, patients = run.table("biomarkers.confounding"), run.data("patients")
    parts = Parts()
    parts.alerts += confounding_alerts(confounding, associations)
    parts.alerts += _cannot_tell(associations, prediction)
    for place, (outcome, own) in enumerate(associations.groupby("outcome", sort=False), start=1):
        _draw_forest(parts, run, str(outcome), own, place=place)
        if predictions is not None and (predictions["outcome"].astype(str) == str(outcome)).any():
            _draw_roc(parts, run, str(outcome), predictions, prediction, place=place)
        if patients is not None:
            _draw_boxes(parts, run, str(outcome), own, patients, _observed(study, str(outcome)), place=place)
        caption = f"{outcome}: features, the strongest first"
        source = "tables/biomarkers.associations.csv"
        parts.tables.append(
            make_table(with_interval(own), columns=_ASSOCIATIONS, caption=caption, source=source, top=TOP)
        )
    if prediction is not None and len(prediction):
        source = "tables/biomarkers.prediction.csv"
        parts.tables.append(
            make_table(with_interval(prediction), columns=_PREDICTION, caption="Prediction", source=source)
        )
    if confounding is not None and len(confounding):
        confounding = confounding.assign(sentence=[same_for(text) for text in confounding["sentence"].astype(str)])
        source = "tables/biomarkers.confounding.csv"
        caption = "What the outcome goes with by design"
        parts.tables.append(
            make_table(with_interval(confounding), columns=_CONFOUNDING, caption=caption, source=source)
        )
    paragraphs = (_PREDICTED,) if prediction is not None else ()
    return parts.section(key="biomarkers", title="Biomarkers", lead=_LEAD, paragraphs=paragraphs)


def confounding_alerts(confounding: pd.DataFrame | None, associations: pd.DataFrame) -> list[Alert]:
    """Return alerts about outcomes that go with the batch, and about features named as confounded.

    >>> table = pd.DataFrame({"outcome": ["response"], "column": ["batch"], "p": [0.01], "sentence": ["Most were."]})
    >>> none = pd.DataFrame({"outcome": [], "feature": [], "verdict": []})
    >>> confounding_alerts(table, none)[0].title
    'response goes with the batch'
    """
    alerts = []
    if confounding is not None:
        p = pd.to_numeric(confounding["p"], errors="coerce")
        for _, row in confounding[p < CONFOUNDED_P].iterrows():
            alerts.append(
                Alert(
                    level="warning",
                    title=f"{row['outcome']} goes with the batch ({row['column']})"
                    if str(row["column"]) != "batch"
                    else f"{row['outcome']} goes with the batch",
                    text=same_for(str(row["sentence"])),
                    fix="Trust only features that also differ within each batch (column “p within batch”); "
                    "spread the patients over batches in the next experiment.",
                )
            )
    verdicts = associations["verdict"].astype(str)
    names = readable_names(associations["feature"].astype(str))
    for outcome, own in associations[verdicts.str.startswith("confounded")].groupby("outcome", sort=False):
        told = some([names[name] for name in own["feature"].astype(str)], top=5)
        alerts.append(
            Alert(
                level="warning",
                title=f"{outcome}: {counted(len(own), one='feature')} confounded with the batch",
                text=f"{told}: higher or lower where the batch is, not where the outcome is.",
                fix="Do not carry these forward as markers.",
            )
        )
    return alerts


def same_for(sentence: str) -> str:
    """Say how many kinds of data a sentence also holds for, instead of naming their columns one by one.

    >>> same_for("Batch goes along. The same holds for clones@baseline, rna@baseline, rna@day14.")
    'Batch goes along. The clones and the rna files divide the patients in the same way.'
    >>> same_for("Batch goes along. The same holds for site.")
    'Batch goes along. The column site divides the patients in the same way.'
    """
    head, found, tail = sentence.partition(" The same holds for ")
    if not found:
        return sentence
    columns = tail.rstrip(". ").split(", ")
    kinds = list(dict.fromkeys(column.split("@")[0] for column in columns if "@" in column))
    plain = [column for column in columns if "@" not in column]
    parts = [f"the {kind}" for kind in kinds]
    who = some(parts) + (" files" if kinds else "")
    named = f"the {'column' if len(plain) == 1 else 'columns'} {some(plain)}" if plain else ""
    subject = " and ".join(part for part in (named, who) if part)
    verb = "divides" if len(plain) == 1 and not kinds else "divide"
    return f"{head} {subject[:1].upper()}{subject[1:]} {verb} the patients in the same way."


def _cannot_tell(associations: pd.DataFrame, prediction: pd.DataFrame | None) -> list[Alert]:
    alerts = []
    if prediction is not None:
        mute = prediction["verdict"].astype(str).str.lower().str.startswith("cannot tell")
        answered = set(prediction.loc[~mute & (prediction["model"].astype(str) == "features"), "outcome"])
        # without covariates there is no clinical model: no news where the features have their answer
        expected = prediction["verdict"].astype(str).str.contains("no covariates were named")
        doubtful = prediction[mute & ~(expected & prediction["outcome"].isin(answered))]
        for (outcome, verdict), own in doubtful.groupby(["outcome", "verdict"], sort=False):
            models = some(own["model"].astype(str).tolist()) if "model" in own else "all models"
            title, text = f"No prediction of {outcome!s}", f"{verdict!s} (models: {models})"
            alerts.append(Alert(level="info", title=title, text=text))
    verdicts = associations["verdict"].astype(str).str.lower()
    silent = associations[verdicts.str.startswith("cannot tell")]
    for outcome, own in silent.groupby("outcome", sort=False):
        total = int((associations["outcome"] == outcome).sum())
        alerts.append(
            Alert(
                level="info",
                title=f"{outcome!s}: nothing can be said about {len(own):,} of {counted(total, one='feature')}",
                text=f"Most often: {own['verdict'].astype(str).mode().iloc[0]}.",
            )
        )
    return alerts


def _draw_forest(parts: Parts, run: RunFolder, outcome: str, own: pd.DataFrame, *, place: int) -> None:
    counts = own["verdict"].astype(str).str.split(":").str[0].value_counts()
    verdicts = some([f"{n} {verdict}" for verdict, n in zip(counts.index.astype(str), counts, strict=True)])
    first = own.iloc[0]
    add_figure(
        parts,
        run.path,
        lambda: forest(own),
        name=f"biomarkers.forest_{place}",
        alt=f"{outcome}: AUC with 95 % interval of the strongest of {counted(len(own), one='feature')} "
        f"({verdicts}). First: {readable(str(first['feature']))}, AUC "
        f"{as_text(first['effect'], kind='number')} ({as_text(first['low'], kind='number')} to "
        f"{as_text(first['high'], kind='number')}), {first['verdict']}.",
        caption=f"{outcome}: the strongest features. Right of 0.5, higher in patients with the outcome; left, lower. "
        "An interval that crosses 0.5 leaves both open.",
    )


def _draw_roc(
    parts: Parts,
    run: RunFolder,
    outcome: str,
    predictions: pd.DataFrame,
    prediction: pd.DataFrame | None,
    *,
    place: int,
) -> None:
    seen = []
    if prediction is not None:
        own = prediction[prediction["outcome"].astype(str) == outcome]
        seen = [f"{model} {as_text(auc, kind='number')}" for model, auc in zip(own["model"], own["auc"], strict=True)]
    add_figure(
        parts,
        run.path,
        lambda: roc(predictions, outcome=outcome, table=prediction),
        name=f"biomarkers.roc_{place}",
        alt=f"{outcome}: sensitivity against false positive rate of each model, out of sample. AUC: {some(seen)}."
        if seen
        else f"{outcome}: sensitivity against false positive rate of each model, out of sample.",
        caption=f"{outcome}: how well patients never seen are told apart. The diagonal is guessing.",
    )


def _observed(study: Study, outcome: str) -> pd.Series | None:
    known = {o.name: o.yes for o in study.design.outcomes}.get(outcome, {})
    held = pd.Series({str(patient): yes for patient, yes in known.items()}, name=outcome, dtype=float).dropna()
    return held.astype(bool) if len(held) else None


def _draw_boxes(
    parts: Parts,
    run: RunFolder,
    outcome: str,
    own: pd.DataFrame,
    patients: AnnData,
    observed: pd.Series | None,
    *,
    place: int,
) -> None:
    if observed is None:
        return
    verdicts = own["verdict"].astype(str)
    chosen = [own[verdicts == "associated"].head(1), own[verdicts.str.startswith("confounded")].head(1)]
    for number, (_, row) in enumerate(pd.concat(chosen).iterrows(), start=1):
        feature = str(row["feature"])
        if feature not in patients.var_names:
            continue
        add_figure(
            parts,
            run.path,
            partial(boxes, patients, feature=feature, outcome=observed),
            name=f"biomarkers.feature_{place}_{number}",
            alt=f"{readable(feature)} in {int(observed.sum())} patients with {outcome} and {int((~observed).sum())} "
            f"without, one point per patient. AUC {as_text(row['effect'], kind='number')}, {row['verdict']}.",
            caption=f"{readable(feature)}: each point is a patient, its color and shape the batch. "
            f"Verdict: {row['verdict']}.",
        )

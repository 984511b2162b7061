"""Found against planted: in a simulated study the truth is known, and the report must answer for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from cellprec.pl.forest import readable
from cellprec.report.section import Alert, Section
from cellprec.report.table import Column, as_text, make_table

if TYPE_CHECKING:
    from cellprec.report.section import RunFolder, Study

_LEAD = (
    "This study was simulated, so what is in it is known. Below stands what was planted beside what the analysis, "
    "which never saw the truth, made of it."
)


def section(run: RunFolder, study: Study) -> Section | None:
    """Return the comparison of found with planted; None for a real study.

    >>> from types import SimpleNamespace
    >>> section(None, SimpleNamespace(truth=None)) is None
    True
    """
    if study.truth is None:
        return None
    truth = pd.read_csv(study.truth, dtype={"kind": str, "question": str, "name": str})
    alerts: list[Alert] = []
    tables = []
    features = truth[truth["kind"].isin(["feature", "confounded"])]
    associations = run.table("biomarkers.associations")
    if len(features) and associations is not None:
        found = compare_features(features, associations)
        columns = (
            Column("question", "outcome"),
            Column("name", "planted"),
            Column("planted", "as"),
            Column("rank", "rank", "count"),
            Column("auc", "AUC", "number"),
            Column("q", "q", "p"),
            Column("verdict", "verdict"),
            Column("right", "right?"),
        )
        tables.append(make_table(found, columns=columns, caption="Planted features and what became of them"))
        alerts += [_miss(row.name_, row.verdict) for row in _renamed(found) if row.right == "no"]
    clones = truth[truth["kind"] == "clone"]
    tests, contrasts = run.table("clones.tests"), run.table("clones.contrasts")
    if len(clones) and tests is not None and contrasts is not None:
        recall = compare_clones(clones, tests, contrasts, sequences=_sequences(run))
        counts = (
            Column("contrast", "contrast"),
            Column("planted", "planted", "count"),
            Column("above", "above the detection limit", "count"),
            Column("found", "of those found", "count"),
            Column("recall", "recall above the limit", "fraction"),
            Column("recall_all", "recall of all planted", "fraction"),
            Column("called", "called enriched", "count"),
            Column("false", "of those not planted", "count"),
            Column("fdr", "false discoveries", "fraction"),
        )
        tables.append(make_table(recall, columns=counts, caption="Planted resistant clones and what became of them"))
    if not tables:
        alerts.append(
            Alert(level="warning", title="The planted truth could not be compared with anything", text="No results.")
        )
    return Section("planted", "Found against planted", _LEAD, alerts=tuple(alerts), tables=tuple(tables))


def compare_features(planted: pd.DataFrame, associations: pd.DataFrame) -> pd.DataFrame:
    """Look up each planted feature among the associations of its outcome: rank, effect, q, verdict, and whether right.

    A planted feature is right if it is called associated; a confounded decoy is right if it is not.

    >>> planted = pd.DataFrame({"kind": ["feature"], "question": ["response"], "name": ["cd8"], "effect": [1.0]})
    >>> found = pd.DataFrame({"outcome": ["response"], "feature": ["cd8"], "effect": [0.9], "q": [0.01]})
    >>> compare_features(planted, found.assign(verdict="associated"))[["rank", "right"]].to_numpy().tolist()
    [[1, 'yes']]
    """
    rows = []
    for item in planted.itertuples():
        own = associations[associations["outcome"].astype(str) == item.question].reset_index(drop=True)
        hit = own[own["feature"].astype(str) == item.name]
        decoy = item.kind == "confounded"
        row = {"question": item.question, "name": item.name, "planted": "confounded decoy" if decoy else "effect"}
        if hit.empty:
            absent = {"rank": None, "auc": None, "q": None, "verdict": "not among the features", "right": "no"}
            rows.append({**row, **absent})
            continue
        place = int(hit.index[0])
        verdict = str(hit.at[place, "verdict"])
        right = (verdict == "associated") != decoy
        numbers = {"rank": place + 1, "auc": hit.at[place, "effect"], "q": hit.at[place, "q"]}
        rows.append({**row, **numbers, "verdict": verdict, "right": "yes" if right else "no"})
    return pd.DataFrame(rows)


def compare_clones(
    planted: pd.DataFrame, tests: pd.DataFrame, contrasts: pd.DataFrame, *, sequences: dict[str, str] | None = None
) -> pd.DataFrame:
    """Count, per contrast, the planted clones above the detection limit that were found, and the calls not planted.

    >>> planted = pd.DataFrame({"question": ["drug vs vehicle"] * 2, "name": ["AA", "CC"]})
    >>> tests = pd.DataFrame({"contrast": ["drug vs vehicle"] * 3, "clone": ["AA", "CC", "GG"]})
    >>> tests = tests.assign(frequency_control=[0.1, 1e-9, 0.1], call=["enriched", "none", "enriched"])
    >>> contrasts = pd.DataFrame({"contrast": ["drug vs vehicle"], "detection_limit": [1e-4]})
    >>> compare_clones(planted, tests, contrasts)[["planted", "above", "found", "called", "false"]].iloc[0].tolist()
    [2, 1, 1, 2, 1]
    """
    names = tests["clone"].astype(str)
    tests = tests.assign(sequence=names.map(sequences).fillna(names) if sequences else names)
    rows = []
    for question, group in planted.groupby("question", sort=False):
        for contrast in contrasts.itertuples():
            name = str(contrast.contrast)
            if name != question and not name.startswith(f"{question} "):
                continue
            own = tests[tests["contrast"].astype(str) == name]
            limit = pd.to_numeric(pd.Series([contrast.detection_limit]), errors="coerce").iloc[0]
            is_planted = own["sequence"].isin(group["name"])
            above = is_planted & (own["frequency_control"].fillna(0.0) >= (limit if pd.notna(limit) else float("inf")))
            called = own["call"].astype(str) == "enriched"
            rows.append(
                {
                    "contrast": name,
                    "planted": len(group),
                    "above": int(above.sum()),
                    "found": int((above & called).sum()),
                    "recall": _recall(found=int((above & called).sum()), of=int(above.sum()), limit=float(limit)),
                    "recall_all": int((is_planted & called).sum()) / len(group),
                    "called": int(called.sum()),
                    "false": int((called & ~is_planted).sum()),
                    "fdr": (called & ~is_planted).sum() / called.sum() if called.any() else 0.0,
                }
            )
    columns = ["contrast", "planted", "above", "found", "recall", "recall_all", "called", "false", "fdr"]
    return pd.DataFrame(rows, columns=columns)


def _recall(*, found: int, of: int, limit: float) -> float | str:
    if pd.isna(limit):
        return "cannot tell: no detection limit"
    return found / of if of else "cannot tell: none above the limit"


def _sequences(run: RunFolder) -> dict[str, str]:
    clones = run.data("clones")
    if clones is None or "sequence" not in clones.var:
        return {}
    sequences = clones.var["sequence"].astype(str)
    return {str(name): value for name, value in sequences.items() if value not in {"", "nan"}}


def _renamed(found: pd.DataFrame) -> list[pd.Series]:
    # a tuple of pandas calls its own index "name"
    return [row for _, row in found.rename(columns={"name": "name_"}).iterrows()]


def _miss(name: str, verdict: str) -> Alert:
    return Alert(
        level="warning",
        title=f"The planted {readable(name)} was not judged as it was planted",
        text=f"The verdict was: {as_text(verdict)}.",
        fix="Look at its row in “Found against planted” and at its distribution under Biomarkers.",
    )

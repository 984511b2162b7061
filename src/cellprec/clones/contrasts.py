"""Which comparisons a study holds, what each found, and how well replicates agree in the first place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
import pandas as pd
from anndata import AnnData

from cellprec import keys
from cellprec.clones.table import LOW_DEPTH, told
from cellprec.clones.verdict import NEGATIVE, SAMPLING, verdict
from cellprec.errors import UsageError

__all__ = ["DRUG", "NEGATIVE", "SAMPLING", "TIME", "Contrast", "contrast_table", "contrasts", "replicate_table"]

DRUG = "drug"
TIME = "time"


@dataclass(frozen=True)
class Contrast:
    """One comparison: which libraries against which, as :func:`~cellprec.clones.dynamics.dynamics` takes them.

    >>> Contrast("drug vs vehicle", "drug", {"arm": "drug"}, {"arm": "vehicle"}).kind
    'drug'
    """

    name: str
    kind: str
    treated: dict[str, str | Sequence[str]] = field(default_factory=dict)
    control: dict[str, str | Sequence[str]] = field(default_factory=dict)


def contrasts(
    obs: pd.DataFrame,
    *,
    control_arm: str | None,
    timepoints: Sequence[str] = (),
    every_timepoint: bool = False,
    by: Sequence[str] = (),
) -> list[Contrast]:
    """List the comparisons a study can make: arms against the control arm, or times against the first, and a null.

    Parameters
    ----------
    obs
        The design: one row per library with PCR replicates summed (``obs`` of the clones object).
    control_arm
        The arm that the others are compared with, within a patient where there are patients. None compares each
        timepoint with the first, within each arm and patient.
    timepoints
        The order of time; names that are missing here follow in natural order (d2 before d10).
    every_timepoint
        Compare at each timepoint that an arm shares with the control arm, not at the last alone.
    by
        Further columns that split arms (a dose, a schedule); the control arm is not split by them.

    Returns
    -------
    list of Contrast
        Low-depth libraries do not count, nor do libraries of which no design column is filled in: nothing says whose
        replicates they are. Wherever a control has two or more replicates, one half of them against the
        other is a contrast of kind ``negative control``: whatever it calls is false.

    Raises
    ------
    UsageError
        If the control arm or a column of ``by`` is not there.

    Examples
    --------
    >>> design = pd.DataFrame({"arm": ["A", "A", "B", "B"], "timepoint": ["d7"] * 4, "replicate": list("1212")})
    >>> [contrast.name for contrast in contrasts(design, control_arm="B")]
    ['A vs B at d7', 'B halves at d7']
    """
    text, arms = design(obs, by=by), set(design(obs, deep_only=False)[keys.ARM]) - {""}
    if control_arm is not None and control_arm not in arms:
        found = ", ".join(sorted(arms)) or "none"
        raise UsageError(f"there is no arm {control_arm!r}", fix=f"Arms: {found}. Set the control arm to one of them.")
    order = _time_order(set(text[keys.TIMEPOINT]), timepoints)
    found_here: list[Contrast] = []
    for _, patient in text.groupby(keys.PATIENT_ID, sort=True):
        if control_arm is None:
            found_here += _over_time(patient, order, by)
        elif control_arm in set(patient[keys.ARM]):
            found_here += _over_arms(patient, control_arm, order, every_timepoint, by)
    filled = [column for column in (keys.PATIENT_ID, keys.ARM, keys.TIMEPOINT) if (text[column] != "").any()]
    found_here = [_exact(contrast, filled) for contrast in found_here]
    names = [contrast.name for contrast in found_here]
    if len(set(names)) < len(names):
        raise UsageError(f"two contrasts are named {next(n for n in names if names.count(n) > 1)!r}")
    return found_here


def contrast_table(results: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Summarize contrasts, one row each: what was tested, what was called, and a sentence that says so.

    Parameters
    ----------
    results
        Tables of :func:`~cellprec.clones.dynamics.dynamics`.

    Returns
    -------
    DataFrame
        ``contrast``, ``kind``, ``n_tested``, ``n_enriched``, ``n_depleted``, ``n_treated``, ``n_control`` (replicates),
        ``detection_limit`` (frequency in the control), ``shift``, ``n_clones`` (tested or not), ``verdict``.

    Examples
    --------
    >>> one = pd.DataFrame({"contrast": ["A vs B"], "kind": ["drug"], "p": [0.2], "call": ["none"], "reason": [""],
    ...     "n_treated": [3], "n_control": [3], "detection_limit": [1e-4], "shift": [0.0]})
    >>> contrast_table([one])["verdict"].item()
    'no clone rose or fell by more than drift explains (the one clone could be tested, 3 against 3 replicates)'
    """
    rows = []
    for result in results:
        first = result.iloc[0]
        calls = result["call"].value_counts()
        row = {
            "contrast": first["contrast"],
            "kind": first["kind"],
            "n_tested": int(result["p"].notna().sum()),
            "n_enriched": int(calls.get("enriched", 0)),
            "n_depleted": int(calls.get("depleted", 0)),
            "n_treated": int(first["n_treated"]),
            "n_control": int(first["n_control"]),
            "detection_limit": float(first["detection_limit"]),
            "shift": float(first["shift"]),
            "n_clones": len(result),
        }
        rows.append({**row, "verdict": verdict(row, reasons=result["reason"])})
    return pd.DataFrame(rows)


def replicate_table(adata: AnnData, *, control_arm: str | None = None, top: int = 20) -> pd.DataFrame:
    """Compare each pair of replicates, with the agreement of control replicates beside it.

    Two replicates of any culture share most of their largest clones, drug or not, because they were founded from
    one pool; only what exceeds the control's own agreement speaks of selection.

    Parameters
    ----------
    adata
        samples × clones, PCR replicates summed.
    control_arm
        The arm whose replicates are the reference; None leaves ``control_overlap`` missing.
    top
        How many of the largest clones are compared.

    Returns
    -------
    DataFrame
        One row per pair of replicates of a patient, arm and timepoint (libraries of which none of these nor
        ``replicate`` is filled in are no pairs): ``sample_a``, ``sample_b``, ``r`` (Pearson, log
        frequency, clones seen in both), ``n_shared``, ``top_overlap`` (share of the ``top`` largest in common),
        ``control_overlap`` (mean of the control pairs at that timepoint).

    Examples
    --------
    >>> obs = pd.DataFrame({"arm": ["A", "A"], "replicate": ["1", "2"]}, index=["x", "y"])
    >>> counts = np.array([[8, 4, 2, 1.0], [9, 4, 1, 2.0]], dtype=np.float32)
    >>> replicate_table(AnnData(counts, obs=obs), top=2)[["r", "top_overlap"]].round(2).values.tolist()
    [[0.81, 1.0]]
    """
    text = design(adata.obs)
    counts = np.asarray(adata.X, dtype=np.float64)
    frequency = pd.DataFrame(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), index=adata.obs_names)
    rows = []
    group = [keys.PATIENT_ID, keys.ARM, keys.TIMEPOINT]
    for (patient, arm, timepoint), members in text.groupby(group, sort=True):
        for a, b in combinations(members.index, 2):
            x, y = frequency.loc[a].to_numpy(), frequency.loc[b].to_numpy()
            both = (x > 0) & (y > 0)
            varied = both.sum() > 2 and np.ptp(x[both]) > 0 and np.ptp(y[both]) > 0
            r = float(np.corrcoef(np.log(x[both]), np.log(y[both]))[0, 1]) if varied else float("nan")
            n = min(top, int((x > 0).sum()), int((y > 0).sum()))
            largest = set(np.argsort(-x, kind="stable")[:n]) & set(np.argsort(-y, kind="stable")[:n])
            overlap = len(largest) / n if n else float("nan")
            rows.append((patient, arm, timepoint, a, b, r, int(both.sum()), overlap))
    columns = [*group, "sample_a", "sample_b", "r", "n_shared", "top_overlap"]
    pairs = pd.DataFrame(rows, columns=columns)
    reference = pairs[pairs[keys.ARM] == control_arm].groupby([keys.PATIENT_ID, keys.TIMEPOINT])["top_overlap"].mean()
    at = zip(pairs[keys.PATIENT_ID], pairs[keys.TIMEPOINT], strict=True)
    pairs["control_overlap"] = np.array([reference.get(place, np.nan) for place in at], dtype=np.float64)
    return pairs


def design(obs: pd.DataFrame, *, by: Sequence[str] = (), deep_only: bool = True) -> pd.DataFrame:
    """Return patient, arm, timepoint and replicate of the libraries that name any of them, as text, empty if missing.

    >>> design(pd.DataFrame({"arm": ["A", None], "low_depth": [False, False]}))["arm"].tolist()
    ['A']
    """
    absent = [column for column in by if column not in obs]
    if absent:
        raise UsageError(f"there is no column {absent[0]!r}", fix=f"Columns: {', '.join(map(str, obs.columns))}.")
    usable = obs[~obs[LOW_DEPTH].astype(bool)] if deep_only and LOW_DEPTH in obs else obs
    text = pd.DataFrame(index=usable.index)
    for column in (keys.PATIENT_ID, keys.ARM, keys.TIMEPOINT, keys.REPLICATE, *by):
        text[column] = told(usable[column]) if column in usable else ""
    return text[(text != "").any(axis=1)]


def _time_order(found: set[str], given: Sequence[str]) -> list[str]:
    def natural(name: str) -> list[tuple[int, float, str]]:
        parts = re.findall(r"-?\d+\.?\d*|\D+", name)
        return [(0, float(p), "") if re.fullmatch(r"-?\d+\.?\d*", p) else (1, 0.0, p) for p in parts]

    return [t for t in given if t in found] + sorted(found - set(given), key=natural)


def _pick(**values: str) -> dict[str, str | Sequence[str]]:
    return {column: value for column, value in values.items() if value}


def _exact(contrast: Contrast, filled: Sequence[str]) -> Contrast:
    """Select rows that leave a column empty as such, wherever other rows fill it in."""
    empty = dict.fromkeys(filled, "")
    return replace(contrast, treated={**empty, **contrast.treated}, control={**empty, **contrast.control})


def _label(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _over_arms(
    patient: pd.DataFrame, control_arm: str, order: list[str], every: bool, by: Sequence[str]
) -> list[Contrast]:
    who = str(patient[keys.PATIENT_ID].iloc[0])
    control = patient[patient[keys.ARM] == control_arm]
    columns = [keys.ARM, *by]
    found, compared = [], []
    named = patient[~patient[keys.ARM].isin([control_arm, ""])]
    for values, treated in named.groupby(columns, sort=True):
        chosen = {column: str(v) for column, v in zip(columns, values, strict=True)}
        shared = [t for t in order if t in set(treated[keys.TIMEPOINT]) & set(control[keys.TIMEPOINT])]
        for time in shared if every else shared[-1:]:
            at = f" at {time}" if time else ""
            name = _label(who, *chosen.values(), "vs", control_arm) + at
            place = {keys.PATIENT_ID: who, keys.TIMEPOINT: time}
            against = _pick(**{keys.ARM: control_arm}, **place)
            found.append(Contrast(name, DRUG, _pick(**chosen, **place), against))
            compared.append(time)
    for time in [t for t in order if t in compared]:
        found += _halves(control[control[keys.TIMEPOINT] == time], who, control_arm, time)
    return found


def _over_time(patient: pd.DataFrame, order: list[str], by: Sequence[str]) -> list[Contrast]:
    who = str(patient[keys.PATIENT_ID].iloc[0])
    found = []
    columns = [keys.ARM, *by]
    for values, group in patient.groupby(columns, sort=True):
        chosen = {column: str(v) for column, v in zip(columns, values, strict=True)}
        times = [t for t in order if t and t in set(group[keys.TIMEPOINT])]
        base = {keys.PATIENT_ID: who, **chosen}
        for time in times[1:]:
            name = _label(who, *chosen.values(), time, "vs", times[0])
            treated = _pick(**base, **{keys.TIMEPOINT: time})
            found.append(Contrast(name, TIME, treated, _pick(**base, **{keys.TIMEPOINT: times[0]})))
        if times[1:]:
            found += _halves(group[group[keys.TIMEPOINT] == times[0]], who, str(chosen[keys.ARM]), times[0])
    return found


def _halves(rows: pd.DataFrame, who: str, arm: str, time: str) -> list[Contrast]:
    names = sorted(set(rows[keys.REPLICATE]) - {""})
    if len(names) < 2:
        return []
    at = f" at {time}" if time else ""
    place = {keys.PATIENT_ID: who, keys.ARM: arm, keys.TIMEPOINT: time}
    one, other = names[: len(names) // 2], names[len(names) // 2 :]
    return [
        Contrast(
            _label(who, arm, "halves") + at,
            NEGATIVE,
            {**_pick(**place), keys.REPLICATE: tuple(one)},
            {**_pick(**place), keys.REPLICATE: tuple(other)},
        )
    ]

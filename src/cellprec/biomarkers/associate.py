"""Which features differ between patients with and without an outcome, and which only follow the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from cellprec import keys
from cellprec.biomarkers import ranks
from cellprec.errors import JoinError, UsageError

if TYPE_CHECKING:
    from anndata import AnnData

# fewer patients on one side than this give no test worth its name: with 3 against 10 the smallest p is .007
_MIN_GROUP = 4
_MAX_MISSING = 0.5

ASSOCIATED = "associated"
CONFOUNDED = "confounded with batch"
NOT_SIGNIFICANT = "not significant"
CANNOT_TELL = "cannot tell"

# the within-batch test is a check on a claim made over all patients, so a hint of a shift is enough to demand it
_BATCH_ALPHA = 0.1
_HAS_BATCH = "has_batch"
_NUMBERS = ["effect", "low", "high", "difference", "p", "q", "p_within_batch", "batch_p"]


def associate(
    adata: AnnData,
    *,
    outcome: pd.Series,
    name: str,
    batch: pd.Series | pd.DataFrame | None = None,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Test every feature against one outcome, and tell true associations from those that follow the batch.

    ``adata`` is patients × features; ``outcome`` holds yes, no or missing by patient. ``batch`` is one batch
    per patient, or one column per ``modality@timepoint`` (``adata.uns["batches"]``). The patient is the unit.

    One row per feature, the strongest evidence first: ``effect`` is the AUC, the probability that a patient
    with the outcome has the higher value (0.5: none), with a 95 % interval (Newcombe 2006); ``difference`` the
    Hodges–Lehmann shift in the feature's ``unit``; ``p`` Mann–Whitney, ``q`` Benjamini–Hochberg over all
    features tested for this outcome; ``p_within_batch`` van Elteren's test, which compares patients of the
    same batch only; ``batch_p`` whether the feature shifts with the batch among patients of equal outcome.

    ``verdict``: "associated" (q ≤ alpha, and seen within batches or free of a batch shift), "confounded with
    batch" (p ≤ alpha, but not within batches, and it shifts with the batch or no batch holds both outcomes),
    "not significant", or "cannot tell: …" with the reason. The order is by the weaker of ``p`` and
    ``p_within_batch``: a feature that only follows the batch is strong in one and not in the other.

    Raises UsageError where the outcome is not yes and no, JoinError where it shares no patient with the data.

    >>> import anndata, numpy as np
    >>> patients = [f"P{i}" for i in range(12)]
    >>> values = np.column_stack([np.arange(12.0), np.tile([0.0, 1.0], 6)]).astype("float32")
    >>> adata = anndata.AnnData(values, obs=pd.DataFrame(index=patients), var=pd.DataFrame(index=["tells", "noise"]))
    >>> outcome = pd.Series(np.arange(12) >= 6, index=patients)
    >>> associate(adata, outcome=outcome, name="response")[["feature", "effect", "verdict"]]
       feature  effect          verdict
    0    tells     1.0       associated
    1    noise     0.5  not significant
    """
    known = known_outcome(adata, outcome=outcome, name=name)
    values = pd.DataFrame(np.asarray(adata.X, dtype=float), index=adata.obs_names, columns=adata.var_names)
    values = values.loc[known.index]
    batches = _batches(batch, patients=known.index)
    cache: ranks.Cache = {}
    rows = []
    for feature in adata.var_names:
        about = _about(adata.var.loc[feature])
        strata = batches.get(_column(about) if isinstance(batch, pd.DataFrame) else "", None)
        rows.append({"outcome": name, "feature": feature, **about} | _test(values[feature], known, strata, cache))
    table = pd.DataFrame(rows, columns=[*_columns(), _HAS_BATCH])
    return _judged(table, alpha=alpha)[_columns()]


def known_outcome(adata: AnnData, *, outcome: pd.Series, name: str) -> pd.Series:
    """Return the outcome of the patients that have one and are in the data, as plain booleans in their order.

    Raises UsageError where a value is not yes, no or missing, JoinError where no patient is shared.

    >>> import anndata
    >>> adata = anndata.AnnData(obs=pd.DataFrame(index=["P1", "P2"]))
    >>> known_outcome(adata, outcome=pd.Series({"P2": True, "P3": False}), name="response").to_dict()
    {'P2': True}
    """
    stated = outcome.dropna()
    if not stated.isin([True, False]).all():
        odd = stated[~stated.isin([True, False])].iloc[0]
        raise UsageError(
            f"the outcome {name} holds {odd!r}, which is neither yes nor no",
            where=f"patient {stated.index[~stated.isin([True, False])][0]}",
            fix="give a boolean series: name the positive values of the column, or a threshold",
        )
    shared = [patient for patient in adata.obs_names if patient in stated.index]
    if not shared:
        raise JoinError(
            f"no patient of the data has the outcome {name}",
            where=f"data: {', '.join(adata.obs_names[:3])}; outcome: {', '.join(map(str, outcome.index[:3]))}",
            fix="use the same patient names in samples.csv and patients.csv, and fill in the outcome",
        )
    return pd.Series(stated.loc[shared].astype(bool).to_numpy(), index=pd.Index(shared), name=name)


def _columns() -> list[str]:
    about = ["outcome", "feature", "modality", "timepoint", "family", "unit", "n", "n_positive"]
    return [*about, *_NUMBERS, "verdict"]


def _about(row: pd.Series) -> dict[str, str]:
    held = {key: row.get(key, "") for key in (keys.MODALITY, keys.TIMEPOINT, keys.FAMILY, keys.FEATURE_UNIT)}
    return {key: "" if pd.isna(value) else str(value) for key, value in held.items()}


def _column(about: dict[str, str]) -> str:
    return f"{about[keys.MODALITY]}@{about[keys.TIMEPOINT]}".replace("/", "|")


def _batches(batch: pd.Series | pd.DataFrame | None, *, patients: pd.Index) -> dict[str, pd.Series]:
    """Return the usable batch columns by name: two batches or more, "" and missing taken as not stated."""
    if batch is None:
        return {}
    columns = batch if isinstance(batch, pd.DataFrame) else batch.to_frame("")
    found = {}
    for column in columns.columns:
        stated = columns[column].astype("object").reindex(patients)
        stated = stated.where(stated.notna() & (stated.astype(str) != "")).dropna().astype(str)
        if stated.nunique() > 1:
            found[str(column)] = stated
    return found


def _test(feature: pd.Series, outcome: pd.Series, batch: pd.Series | None, cache: ranks.Cache) -> dict[str, Any]:
    seen = feature.dropna()
    values, positive = seen.to_numpy(float), outcome.loc[seen.index].to_numpy(bool)
    n_positive = int(positive.sum())
    row: dict[str, Any] = {
        "n": values.size,
        "n_positive": n_positive,
        **dict.fromkeys(_NUMBERS, np.nan),
        _HAS_BATCH: False,
    }
    reason = _reason(values, n_positive, n_patients=outcome.size)
    row["verdict"] = f"{CANNOT_TELL}: {reason}" if reason else ""
    if reason:
        return row
    row["effect"] = ranks.auc(values, positive=positive)
    row["low"], row["high"] = ranks.auc_interval(
        row["effect"], n_positive=n_positive, n_negative=values.size - n_positive
    )
    row["difference"] = ranks.hodges_lehmann(values, positive=positive)
    row["p"] = ranks.rank_test(values, positive=positive, cache=cache)
    if batch is not None:
        stated = seen.index.isin(batch.index)
        values, positive = values[stated], positive[stated]
        strata = batch.loc[seen.index[stated]].to_numpy(str)
        row["p_within_batch"] = ranks.rank_test(values, positive=positive, strata=strata, cache=cache)
        row["batch_p"] = ranks.group_test(values, groups=strata, strata=positive)
        row[_HAS_BATCH] = np.unique(strata).size > 1
    return row


def _reason(values: ranks.Floats, n_positive: int, *, n_patients: int) -> str:
    smaller = min(n_positive, values.size - n_positive)
    if values.size < n_patients * (1 - _MAX_MISSING):
        return f"measured in {values.size} of {n_patients} patients only"
    if smaller < _MIN_GROUP:
        return f"{n_positive} patients with and {values.size - n_positive} without the outcome, {_MIN_GROUP} needed"
    if np.ptp(values) == 0:
        return "every patient has the same value"
    return ""


def _judged(table: pd.DataFrame, *, alpha: float) -> pd.DataFrame:
    tested = table["p"].notna()
    if tested.any():
        table.loc[tested, "q"] = stats.false_discovery_control(table.loc[tested, "p"])
    for row in table.index[tested]:
        table.loc[row, "verdict"] = _verdict(table.loc[row], alpha=alpha)
    weaker = table[["p", "p_within_batch"]].max(axis=1)
    tier = np.select([table["verdict"] == ASSOCIATED, tested], [0, 1], default=2)
    order = np.lexsort((table["feature"], -(table["effect"] - 0.5).abs(), weaker, tier))
    return table.iloc[order].reset_index(drop=True)


def _verdict(row: pd.Series, *, alpha: float) -> str:
    if row["p"] > alpha:
        return NOT_SIGNIFICANT
    # a test that cannot be made (no batch holds both outcomes) leaves the batch as an explanation
    within = row["p_within_batch"] <= alpha
    shifts = not row["batch_p"] > _BATCH_ALPHA
    if row[_HAS_BATCH] and shifts and not within:
        return CONFOUNDED
    return ASSOCIATED if row["q"] <= alpha else NOT_SIGNIFICANT

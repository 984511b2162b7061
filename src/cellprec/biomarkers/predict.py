"""Whether an outcome can be foretold in patients the model has not seen, and whether the clinic already could."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cellprec.biomarkers import ranks
from cellprec.biomarkers.associate import CANNOT_TELL, known_outcome
from cellprec.biomarkers.folds import cross_validate
from cellprec.errors import UsageError

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from cellprec.biomarkers.folds import Bools, Floats, Ints, Scores

CLINICAL = "clinical only"
FEATURES = "features"
BOTH = "features + clinical"

BETTER = "better than chance"
NOT_BETTER = "no better than chance"
WITHIN = " within batches"
NO_GAIN = ", not shown to add to the clinical covariates"

_MIN_EVENTS = 8
_MIN_PATIENTS = 20
_MAX_MISSING = 0.5
_BOOTSTRAPS = 2000
_ALPHA = 0.05
_NO_PAIRS = "no patients with and without the outcome were held out together; use fewer folds"
# sets of labels fitted together: bounds memory, and part of what a seed means
_CHUNK = 20

_TABLE = ["outcome", "model", "auc", "low", "high", "p_permutation", "brier", "brier_prevalence", "gain", "gain_low"]
_TABLE += ["gain_high", "n", "n_events", "n_features", "verdict"]
_PREDICTIONS = ["outcome", "patient_id", "model", "probability", "observed"]
_SELECTED = ["outcome", "model", "feature", "frequency", "weight"]


@dataclass(frozen=True)
class Prediction:
    """What came of a prediction: one row per model, per patient and model, per model and feature."""

    table: pd.DataFrame
    predictions: pd.DataFrame
    selected: pd.DataFrame


def predict(
    adata: AnnData,
    *,
    outcome: pd.Series,
    name: str,
    covariates: list[str],
    batch: pd.Series | None = None,
    seed: int = 0,
    folds: int = 5,
    repeats: int = 5,
    permutations: int = 200,
) -> Prediction:
    """Foretell one outcome out of sample: from the clinic alone, from the features, and from both.

    ``adata`` is patients × features, ``covariates`` columns of its ``obs``, ``outcome`` yes, no or missing by
    patient. The model is a ridge-penalized logistic regression on the 3 or 10 features that differ most; imputing
    (training mean), scaling, selecting and tuning happen inside each fold of a repeated stratified
    cross-validation (Varma & Simon 2006: anything less is optimistic). Covariates skip the selection.

    ``table``, one row per model: ``auc``, over pairs of patients held out together, with the wider of a bootstrap
    over patients and Newcombe's interval (both take the fitted models as given, so the true uncertainty is
    larger); ``p_permutation``, the whole procedure run again with the labels shuffled, within ``batch`` where
    given, so that what the batch foretells is no merit; ``brier`` beside that of always saying the prevalence;
    ``gain``, the AUC beyond the clinical-only model, with its bootstrap interval; ``verdict`` "better than
    chance", "no better than chance" (… "within batches"), or "cannot tell: …"; p-values are per model.
    ``predictions``: the mean held-out ``probability`` of each patient. ``selected``: how often each feature was
    chosen, and its mean weight per SD over all folds.

    With fewer than 8 patients on a side, or 20 in all, it says so and gives no number, and also where no batch
    holds patients both with and without the outcome; with fewer than 19
    ``permutations`` no p can reach .05, and the verdict is "cannot tell". Raises UsageError for an unknown
    covariate, JoinError where outcome and data share no patient.

    >>> import anndata
    >>> adata = anndata.AnnData(np.ones((3, 1), dtype="float32"), obs=pd.DataFrame(index=["P1", "P2", "P3"]))
    >>> outcome = pd.Series([True, False, True], index=["P1", "P2", "P3"])
    >>> predict(adata, outcome=outcome, name="response", covariates=[]).table["verdict"][1]
    'cannot tell: 2 patients with the outcome and 1 without; 8 on each side and 20 in all are needed'
    """
    known = known_outcome(adata, outcome=outcome, name=name)
    y = known.to_numpy(bool)
    designs = _designs(adata[known.index], covariates=covariates)
    if min(y.sum(), (~y).sum()) < _MIN_EVENTS or y.size < _MIN_PATIENTS:
        needed = f"{_MIN_EVENTS} on each side and {_MIN_PATIENTS} in all are needed"
        reason = f"{y.sum()} patients with the outcome and {(~y).sum()} without; {needed}"
        return _gathered({}, designs=designs, known=known, reasons=dict.fromkeys(designs, reason), seed=seed)
    strata = _strata(batch, patients=known.index)
    if batch is not None and not any(0 < y[strata == stratum].sum() < (strata == stratum).sum() for stratum in strata):
        # shuffling within such batches changes no label: chance would be compared with itself
        reason = "no batch holds patients both with and without the outcome"
        return _gathered({}, designs=designs, known=known, reasons=dict.fromkeys(designs, reason), seed=seed)
    labels = _labels(y, strata=strata, permutations=permutations, seed=seed)
    reasons = {model: design.lacks for model, design in designs.items() if design.lacks}
    told = {}
    for number, (model, design) in enumerate(designs.items()):
        if model not in reasons:
            rng = np.random.default_rng([seed, number])
            result = _validated(design, labels=labels, folds=folds, repeats=repeats, rng=rng)
            if result.pairs.any():
                told[model] = result
            else:
                reasons[model] = _NO_PAIRS
    within = "" if batch is None else WITHIN
    return _gathered(told, designs=designs, known=known, reasons=reasons, seed=seed, within=within)


@dataclass(frozen=True)
class _Design:
    """The columns of one model, those that skip the selection, and why there are none."""

    values: Floats
    names: list[str]
    always: Bools
    lacks: str = ""


@dataclass(frozen=True)
class _Validated:
    """What one model achieved: concordance per pair, the AUC of every set of labels, probabilities, choices."""

    wins: Floats
    pairs: Floats
    aucs: Floats
    probability: Floats
    chosen: Floats
    weight: Floats

    @property
    def auc(self) -> float:
        return float(self.aucs[0])


def _designs(adata: AnnData, *, covariates: list[str]) -> dict[str, _Design]:
    unknown = [column for column in covariates if column not in adata.obs]
    if unknown:
        raise UsageError(
            f"the covariate {unknown[0]} is not a column of the clinical table",
            where=f"columns: {', '.join(map(str, adata.obs.columns))}",
            fix="name columns of patients.csv",
        )
    features = _usable(pd.DataFrame(np.asarray(adata.X, dtype=float), columns=adata.var_names))
    clinical = _usable(_clinical(adata.obs[covariates]).reset_index(drop=True))
    no_features = "" if features.shape[1] else "no feature varies and is measured in half of the patients"
    no_clinical = "" if clinical.shape[1] else ("no covariate varies" if covariates else "no covariates were named")
    both = pd.concat([features, clinical], axis=1)
    always = np.arange(both.shape[1]) >= features.shape[1]
    return {
        CLINICAL: _Design(
            clinical.to_numpy(), clinical.columns.tolist(), np.ones(clinical.shape[1], dtype=bool), no_clinical
        ),
        FEATURES: _Design(
            features.to_numpy(), features.columns.tolist(), np.zeros(features.shape[1], dtype=bool), no_features
        ),
        BOTH: _Design(both.to_numpy(), both.columns.tolist(), always, no_features or no_clinical),
    }


def _usable(table: pd.DataFrame) -> pd.DataFrame:
    """Leave out what says nothing whatever the outcome: no label is used, so this may stand outside the folds."""
    keep = [table[c].notna().mean() > 1 - _MAX_MISSING and table[c].nunique() > 1 for c in table]
    return table.loc[:, keep]


def _clinical(obs: pd.DataFrame) -> pd.DataFrame:
    """Return covariates as numbers: words become one 0/1 column per level but the first."""
    columns = {}
    for name in obs:
        values = obs[name]
        if pd.api.types.is_numeric_dtype(values):
            columns[f"clinical:{name}"] = values.astype(float)
            continue
        words = values.astype("object").where(values.notna() & (values.astype(str) != ""))
        for level in sorted(words.dropna().astype(str).unique())[1:]:
            columns[f"clinical:{name}={level}"] = (words.astype(str) == level).astype(float).where(words.notna())
    return pd.DataFrame(columns, index=obs.index)


def _strata(batch: pd.Series | None, *, patients: pd.Index) -> NDArray[np.str_]:
    if batch is None:
        return np.full(len(patients), "")
    return batch.reindex(patients).astype("object").fillna("").to_numpy(str)


def _labels(y: Bools, *, strata: NDArray[np.str_], permutations: int, seed: int) -> Bools:
    """Return the labels, then shuffled ones, one set a row."""
    rng = np.random.default_rng([seed, 99])
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    labels = np.tile(y, (permutations + 1, 1))
    for row in labels[1:]:
        for member in members:
            row[member] = rng.permutation(row[member])
    return labels


def _validated(design: _Design, *, labels: Bools, folds: int, repeats: int, rng: np.random.Generator) -> _Validated:
    aucs: list[float] = []
    kept: list[Scores] = []
    for start in range(0, labels.shape[0], _CHUNK):
        some = labels[start : start + _CHUNK]
        scores = cross_validate(design.values, labels=some, always=design.always, folds=folds, repeats=repeats, rng=rng)
        for number, y in enumerate(some):
            wins, pairs = _concordance(scores.logit[number], fold=scores.fold[number], y=y)
            aucs.append(float(_share(wins.sum(), pairs.sum())))
        kept = kept or [scores]
    observed = kept[0]
    wins, pairs = _concordance(observed.logit[0], fold=observed.fold[0], y=labels[0])
    probability = 1 / (1 + np.exp(-observed.logit[0]))
    return _Validated(wins, pairs, np.array(aucs), probability, observed.chosen[0], observed.weight[0])


def _share(wins: Floats, pairs: Floats) -> Floats:
    """Return wins per pair, NaN where no pair was held out together."""
    share: Floats = np.divide(wins, pairs, out=np.full(np.shape(pairs), np.nan), where=np.asarray(pairs) > 0)
    return share


def _concordance(logit: Floats, *, fold: Ints, y: Bools) -> tuple[Floats, Floats]:
    """Return, per positive × negative, how often they were held out together and how often ordered rightly.

    Only such pairs were scored by one fitted model. Pooling pairs over folds is biased: the patients that a
    model has not seen have lower prevalence when those it has seen have higher.
    """
    ahead = logit[y][:, None, :] - logit[~y][None, :, :]
    together = fold[y][:, None, :] == fold[~y][None, :, :]
    return (together * ((ahead > 0) + 0.5 * (ahead == 0))).sum(axis=2), together.sum(axis=2).astype(float)


def _gathered(
    told: dict[str, _Validated],
    *,
    designs: dict[str, _Design],
    known: pd.Series,
    reasons: dict[str, str],
    seed: int,
    within: str = "",
) -> Prediction:
    y = known.to_numpy(bool)
    rng = np.random.default_rng([seed, 98])
    draws = [rng.multinomial(m, np.full(m, 1 / m), size=_BOOTSTRAPS).astype(float) for m in (y.sum(), (~y).sum()) if m]
    boots = {model: _bootstrap(result, draws) for model, result in told.items()}
    rows, predictions, selected = [], [], []
    for model, design in designs.items():
        row: dict[str, object] = {"outcome": known.name, "model": model, "n": y.size, "n_events": int(y.sum())}
        row["n_features"] = len(design.names)
        if model in reasons:
            rows.append(row | {"verdict": f"{CANNOT_TELL}: {reasons[model]}"})
            continue
        result = told[model]
        rows.append(row | _numbers(result, boot=boots[model], y=y) | _gain(model, told=told, boots=boots))
        rows[-1]["verdict"] = _verdict(rows[-1], permutations=result.aucs.size - 1, within=within)
        about = {"outcome": known.name, "model": model}
        mean = result.probability.mean(axis=1)
        predictions.append(pd.DataFrame({**about, "patient_id": known.index, "probability": mean, "observed": y}))
        chosen = {"feature": design.names, "frequency": result.chosen, "weight": result.weight}
        selected.append(pd.DataFrame({**about, **chosen}).query("frequency > 0"))
    table = pd.DataFrame(rows).reindex(columns=_TABLE)
    return Prediction(
        table.astype(dict.fromkeys(_TABLE[2:11], float)),
        pd.concat(predictions)[_PREDICTIONS].reset_index(drop=True) if told else pd.DataFrame(columns=_PREDICTIONS),
        _ordered(pd.concat(selected)) if told else pd.DataFrame(columns=_SELECTED),
    )


def _ordered(selected: pd.DataFrame) -> pd.DataFrame:
    order = selected.sort_values(["frequency", "feature"], ascending=[False, True], kind="stable")
    by_model = order.sort_values("model", key=lambda c: c.map({CLINICAL: 0, FEATURES: 1, BOTH: 2}), kind="stable")
    return by_model[_SELECTED].reset_index(drop=True)


def _bootstrap(result: _Validated, draws: list[Floats]) -> Floats:
    positive, negative = draws
    wins = ((positive @ result.wins) * negative).sum(axis=1)
    pairs = ((positive @ result.pairs) * negative).sum(axis=1)
    return _share(wins, pairs)


def _numbers(result: _Validated, *, boot: Floats, y: Bools) -> dict[str, object]:
    low, high = ranks.auc_interval(result.auc, n_positive=int(y.sum()), n_negative=int((~y).sum()))
    null = result.aucs[1:]
    return {
        "auc": result.auc,
        "low": min(low, float(np.nanquantile(boot, 0.025))),
        "high": max(high, float(np.nanquantile(boot, 0.975))),
        "p_permutation": (1 + (null >= result.auc - 1e-12).sum()) / (1 + null.size),
        "brier": float(((result.probability - y[:, None]) ** 2).mean()),
        "brier_prevalence": float(y.mean() * (1 - y.mean())),
    }


def _gain(model: str, *, told: dict[str, _Validated], boots: dict[str, Floats]) -> dict[str, object]:
    if model == CLINICAL or CLINICAL not in told:
        return {}
    difference = boots[model] - boots[CLINICAL]
    low, high = np.nanquantile(difference, [0.025, 0.975])
    return {"gain": told[model].auc - told[CLINICAL].auc, "gain_low": float(low), "gain_high": float(high)}


def _verdict(row: dict[str, object], *, permutations: int, within: str) -> str:
    if 1 / (1 + permutations) > _ALPHA:
        return f"{CANNOT_TELL}: too few permutations"
    if not float(str(row["p_permutation"])) <= _ALPHA:
        return NOT_BETTER + within
    beats = float(str(row.get("gain_low", 1.0))) > 0
    return BETTER + within + ("" if beats else NO_GAIN)

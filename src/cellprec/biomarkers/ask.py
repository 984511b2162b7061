"""Every outcome of a study, asked the same questions in the same order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from anndata import AnnData

from cellprec import keys
from cellprec.biomarkers.associate import associate
from cellprec.biomarkers.confounding import confounding
from cellprec.biomarkers.headline import headline
from cellprec.biomarkers.predict import predict


def ask(
    adata: AnnData,
    *,
    outcomes: Mapping[str, Mapping[str, float]],
    covariates: Sequence[str] = (),
    seed: int = 0,
    repeats: int = 5,
    permutations: int = 200,
) -> dict[str, pd.DataFrame]:
    """Ask for each outcome which features go with it, what the design confounds, and whether it can be foretold.

    Parameters
    ----------
    adata
        Patients × features, from :func:`cellprec.biomarkers.patients`.
    outcomes
        By name, yes (1), no (0) or missing (NaN) of each patient.
    covariates
        Clinical columns of ``obs``: the baseline to beat.
    seed, repeats, permutations
        Of the cross-validation and its permutation test.

    Returns
    -------
    dict
        Tables ``associations``, ``confounding``, ``prediction``, ``predictions``, ``selected`` and ``headlines``
        (``outcome``, ``sentence``). Where no batch is stated, ``confounding`` holds a row that says so.
    """
    found: dict[str, list[pd.DataFrame]] = {name: [] for name in _TABLES}
    batches = adata.uns.get("batches")
    single = _single_batch(adata)
    batch = single if single[single != ""].nunique() > 1 else None
    for name, yes in outcomes.items():
        outcome = pd.Series(yes, name=name, dtype=float).reindex(adata.obs_names)
        associations = associate(adata, outcome=outcome, name=name, batch=batches if batches is not None else batch)
        told = predict(
            adata,
            outcome=outcome,
            name=name,
            covariates=list(covariates),
            batch=batch,
            seed=seed,
            repeats=repeats,
            permutations=permutations,
        )
        design = pd.DataFrame({keys.BATCH: single} if single.any() else {}, index=adata.obs_names)
        design = design if batches is None else design.join(batches)
        stated = len(design.columns) > 0
        found["confounding"].append(confounding(outcome, design) if stated else _no_batch(outcome))
        found["associations"].append(associations)
        found["prediction"].append(told.table)
        found["predictions"].append(told.predictions)
        found["selected"].append(told.selected)
        sentence = headline(associations, told, name=name)
        found["headlines"].append(pd.DataFrame({"outcome": [name], "sentence": [sentence]}))
    return {name: _stacked(parts, _TABLES[name]) for name, parts in found.items()}


_TABLES: dict[str, list[str]] = {
    "associations": ["outcome", "feature", "verdict"],
    "confounding": ["outcome", "column", "v", "p", "sentence"],
    "prediction": ["outcome", "model", "verdict"],
    "predictions": ["outcome", "patient_id", "model", "probability", "observed"],
    "selected": ["outcome", "model", "feature", "frequency", "weight"],
    "headlines": ["outcome", "sentence"],
}


def _single_batch(adata: AnnData) -> pd.Series:
    """Return the one batch of each patient as text, "" where none is stated."""
    if keys.BATCH not in adata.obs:
        return pd.Series("", index=adata.obs_names)
    stated = adata.obs[keys.BATCH].astype("object")
    words: pd.Series = stated.where(stated.notna(), "").astype(str).str.strip()
    return words


def _no_batch(outcome: pd.Series) -> pd.DataFrame:
    """Return the row that says that no batch was stated, so that silence is not taken for a clean design."""
    known = outcome.dropna()
    sentence = f"what follows a batch cannot be told from what follows {outcome.name}."
    row = {
        "outcome": outcome.name,
        "column": keys.BATCH,
        "n": known.size,
        "n_positive": int(known.sum()),
        "n_levels": 0,
        **dict.fromkeys(["v", "low", "high", "p", "within"], float("nan")),
        "sentence": f"No batch is stated in samples.csv: {sentence}",
    }
    return pd.DataFrame([row])


def _stacked(parts: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)

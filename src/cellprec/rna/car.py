"""Which cells carry the CAR, as far as their RNA shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from cellprec import keys
from cellprec.errors import InputError, UsageError
from cellprec.notes import add_note
from cellprec.rna.panel import count_matrix, kept, near_misses, samples_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

TRANSGENE = "transgene"
_MEASURES = ("n_detected", "fraction", "low", "high", "median_umis")


def car(adata: AnnData, *, transgenes: Sequence[str]) -> None:
    """Count the CAR molecules of every cell.

    ``transgenes`` are the names of the CAR construct's own sequences in the reference (all of them are summed).
    A cell with at least one molecule is "detected". That is a lower bound of the cells that carry the CAR: its RNA is
    scarce, and in published CD19 CAR-T cells about three in ten show none.

    Writes ``obs["car_umis"]`` (molecules), ``obs["car_detected"]`` (at least one), and ``var["transgene"]``, by which
    the construct is kept out of the highly variable genes. Raises InputError where a transgene is not among the genes
    (near misses are named), UsageError where none is given.

    >>> import anndata, numpy as np
    >>> adata = anndata.AnnData(np.array([[0, 5], [2, 5]], dtype="float32"))
    >>> adata.var_names = ["CAT_scFv", "CD3D"]
    >>> car(adata, transgenes=["CAT_scFv"])
    >>> list(adata.obs["car_detected"])
    [False, True]
    """
    if isinstance(transgenes, str) or not transgenes:
        raise UsageError(
            "no transgene is named", fix="give a list with the CAR's name in the reference, such as [CAT_scFv]"
        )
    names = adata.var_names.astype(str)
    missing = [gene for gene in transgenes if gene not in set(names)]
    if missing:
        hints = {gene: near_misses(gene, names=names) for gene in missing}
        said = "; ".join(f"{gene} (near: {', '.join(hits) or 'nothing alike'})" for gene, hits in hints.items())
        raise InputError(
            f"not among the {len(names):,} genes: {said}",
            where="transgenes",
            why="without the CAR's sequence in the reference its RNA cannot be counted",
            fix="correct the name, or align the reads again to a reference that holds the CAR's sequence",
        )
    held = names.isin(transgenes)
    umis = np.asarray(count_matrix(adata)[:, np.flatnonzero(held)].sum(axis=1)).ravel()
    adata.obs[keys.CAR_UMIS] = umis.astype(np.int64)
    adata.obs[keys.CAR_DETECTED] = umis > 0
    adata.var[TRANSGENE] = np.asarray(held, dtype=bool)
    add_note(
        adata,
        "cells.car_lower_bound",
        f"A cell counts as CAR-positive where at least one molecule of {', '.join(transgenes)} was seen. This is a "
        "lower bound: in published CD19 CAR-T cells about 3 in 10 true CAR-T cells show no CAR molecule.",
    )


def car_table(adata: AnnData) -> pd.DataFrame:
    """Tell, sample by sample, in how many of the kept cells the CAR was seen.

    Returns one row per sample: ``sample_id``, ``n_cells`` (kept cells), ``n_detected``, ``fraction``, ``low`` and
    ``high`` (95 % Wilson interval), ``median_umis`` (CAR molecules of a detected cell), ``reason``. The interval tells
    how well the cells at hand pin down the fraction within this one sample; it says nothing about other patients.
    Where a sample has no kept cell, the numbers are missing and ``reason`` says "cannot tell" and why; it is empty
    elsewhere. Where no transgene was counted, nothing was asked and the table has no rows.

    Source of the interval: Wilson 1927 (JASA 22:209).

    >>> import anndata, numpy as np
    >>> adata = anndata.AnnData(np.array([[0, 5], [2, 5]], dtype="float32"))
    >>> adata.var_names = ["CAT_scFv", "CD3D"]
    >>> adata.obs["sample_id"] = "P01"
    >>> car(adata, transgenes=["CAT_scFv"])
    >>> car_table(adata).round(2).to_dict("records")[0]["high"]
    0.91
    """
    keep = kept(adata)
    sample = samples_of(adata).to_numpy()
    rows = []
    if keys.CAR_UMIS in adata.obs:
        umis = adata.obs[keys.CAR_UMIS].to_numpy(dtype=float)
        for name in sorted(set(sample)):
            mine = umis[(sample == name) & keep]
            reason = "" if mine.size else "cannot tell: no cell was kept"
            rows.append({keys.SAMPLE_ID: name, "n_cells": mine.size, **_fraction(mine), "reason": reason})
    return pd.DataFrame(rows, columns=[keys.SAMPLE_ID, "n_cells", *_MEASURES, "reason"])


def _fraction(umis: np.ndarray) -> dict[str, float]:
    if not umis.size:
        return {"n_detected": 0, **dict.fromkeys(_MEASURES[1:], float("nan"))}
    detected = umis[umis > 0]
    low, high = proportion_confint(detected.size, umis.size, alpha=0.05, method="wilson")
    return {
        "n_detected": detected.size,
        "fraction": detected.size / umis.size,
        "low": float(low),
        "high": float(high),
        "median_umis": float(np.median(detected)) if detected.size else float("nan"),
    }

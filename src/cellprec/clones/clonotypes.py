"""T-cell clonotypes as clones: cells per clonotype and sample, and which expand between two draws of a patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import stats
from statsmodels.stats.multitest import multipletests

from cellprec import keys
from cellprec.clones.table import table
from cellprec.errors import InputError
from cellprec.notes import add_note

CLONOTYPE = "clonotype"
_MIN_CELLS = 5


def clonotypes(cells: Mapping[str, AnnData], *, sheet: pd.DataFrame, min_cells: int = 1) -> AnnData:
    """Count the cells of every clonotype in every sample, clonotypes being kept apart between patients.

    Parameters
    ----------
    cells
        By sample, its cells with ``obs["clonotype"]`` (empty: none).
    sheet
        The sample sheet. With a column ``patient_id`` clonotypes are named ``patient:clonotype``, since equal
        receptors in two people are not one clone; without, over all samples.
    min_cells
        Clonotypes with fewer cells in the whole study are dropped, with a note.

    Returns
    -------
    AnnData
        samples × clonotypes in cells (``uns["cellprec"]["unit"]``), ``var["source"]`` "TCR", otherwise as
        :func:`~cellprec.clones.table.table`. Cells without clonotype are noted, by sample.

    Raises
    ------
    InputError
        If a sample has no column ``clonotype``, or no cell of the study has one.

    Examples
    --------
    >>> one = AnnData(obs=pd.DataFrame({"clonotype": ["CASSF", "CASSF", ""]}, index=["s1:a", "s1:b", "s1:c"]))
    >>> sheet = pd.DataFrame({"sample_id": ["s1"], "patient_id": ["P1"]})
    >>> clonotypes({"s1": one}, sheet=sheet).to_df().to_dict("list")
    {'P1:CASSF': [2.0]}
    """
    named = cell_clones(cells, sheet=sheet)
    if named.empty:
        raise InputError(
            "no cell of the study has a clonotype", fix="Check that the contig files hold productive TCRs."
        )
    parts = {}
    for name in cells:
        counted = named.loc[named[keys.SAMPLE_ID] == name, keys.CLONE_ID].value_counts(sort=False)
        var = pd.DataFrame(index=counted.index.astype(str))
        var[keys.SEQUENCE] = [clone.split(":", 1)[-1] for clone in var.index]
        var[keys.SOURCE] = "TCR"
        parts[name] = AnnData(counted.to_numpy(np.float32)[None, :], var=var, uns={keys.UNS: {keys.UNIT: "cells"}})
    adata = table(parts, sheet=sheet, min_total=min_cells)
    for name, data in cells.items():
        lacking = data.n_obs - int((named[keys.SAMPLE_ID] == name).sum())
        if lacking:
            text = f"{lacking} of {data.n_obs} cells have no clonotype and count for none"
            add_note(adata, "clones.no_clonotype", text, count=lacking, sample=name)
    return adata


def cell_clones(cells: Mapping[str, AnnData], *, sheet: pd.DataFrame) -> pd.DataFrame:
    """Name the clone of every cell that has one, the names being those of :func:`clonotypes`.

    Returns a table by cell name with ``clone_id`` and ``sample_id``; cells without clonotype are not in it.

    >>> one = AnnData(obs=pd.DataFrame({"clonotype": ["CASSF", ""]}, index=["s1:a", "s1:b"]))
    >>> cell_clones({"s1": one}, sheet=pd.DataFrame({"sample_id": ["s1"]}))["clone_id"].to_dict()
    {'s1:a': 'CASSF'}
    """
    rows = sheet.set_index(keys.SAMPLE_ID) if keys.SAMPLE_ID in sheet else sheet
    parts = []
    for name, data in cells.items():
        if CLONOTYPE not in data.obs:
            raise InputError("the cells carry no column 'clonotype'", where=f"sample {name}")
        if name not in rows.index:
            raise InputError("the sample is not in the sheet", where=f"sample {name}")
        patient = str(rows.loc[name, keys.PATIENT_ID]) if keys.PATIENT_ID in rows else ""
        text = data.obs[CLONOTYPE].astype(object).where(data.obs[CLONOTYPE].notna(), "").astype(str)
        text = text[text != ""]
        clone = f"{patient}:" + text if patient else text
        parts.append(pd.DataFrame({keys.CLONE_ID: clone, keys.SAMPLE_ID: name}))
    return pd.concat(parts) if parts else pd.DataFrame(columns=[keys.CLONE_ID, keys.SAMPLE_ID])


def expansion(
    adata: AnnData, *, timepoints: Sequence[str] = (), alpha: float = 0.05, min_fold: float = 2.0, name: str = ""
) -> pd.DataFrame:
    """Find the clonotypes whose share of the cells drawn changes between two timepoints of a patient.

    Parameters
    ----------
    adata
        samples × clonotypes in cells, from :func:`clonotypes`.
    timepoints
        The order of time; each later one is compared with the patient's first. Empty: sorted by name.
    alpha
        False discovery rate (Benjamini & Hochberg 1995) over the clonotypes of one pair of samples.
    min_fold
        The fold that matters: clonotypes whose whole interval lies below it are not called.
    name
        Only the contrast of this name; empty: all.

    Returns
    -------
    DataFrame
        One row per clonotype and pair: ``contrast``, ``clone``, ``patient_id``, ``log2fc`` with ``low`` and ``high``
        (95 %, Haldane-Anscombe half cell added; Katz 1978), ``p`` (Fisher's exact test), ``q``, ``frequency_treated``,
        ``frequency_control``, ``n_treated`` and ``n_control`` (samples: 1 and 1), ``cells_treated``, ``cells_control``,
        ``call`` (enriched, depleted, none, cannot tell) and ``reason``. Clonotypes with fewer than 5 cells in both
        samples together cannot be told.

    Notes
    -----
    The unit is one clonotype in one pair of draws. There is no second draw, so the interval holds the sampling of
    cells only, not what differs between two blood draws, sorts or libraries of one day. "Enriched" says that the
    share in these two tubes differs; that the patient's clone grew takes replicates to say.

    Examples
    --------
    >>> obs = pd.DataFrame({"patient_id": ["P", "P"], "timepoint": ["d0", "d7"]}, index=["a", "b"])
    >>> counts = np.array([[5, 95.0], [60, 40.0]], dtype=np.float32)
    >>> var = pd.DataFrame(index=["X", "Y"])
    >>> expansion(AnnData(counts, obs=obs, var=var))[["clone", "log2fc", "call"]].round(1).values.tolist()
    [['X', 3.5, 'enriched'], ['Y', -1.2, 'depleted']]
    """
    missing = [column for column in (keys.PATIENT_ID, keys.TIMEPOINT) if column not in adata.obs]
    if missing:
        raise InputError(f"the sheet has no column {missing[0]!r}", why="expansion is within a patient, over time")
    obs = adata.obs[[keys.PATIENT_ID, keys.TIMEPOINT]].astype(str)
    counts = pd.DataFrame(np.asarray(adata.X, dtype=np.float64), index=obs.index, columns=adata.var_names)
    order = {t: i for i, t in enumerate([*timepoints, *sorted(set(obs[keys.TIMEPOINT]) - set(timepoints))])}
    parts = []
    for patient, rows in obs.groupby(keys.PATIENT_ID, sort=True):
        # samples of one timepoint (two sorts, two tissues) are added: they are parts of one draw
        summed = counts.loc[rows.index].groupby(rows[keys.TIMEPOINT]).sum()
        times = [t for t in sorted(summed.index, key=lambda t: order[t]) if summed.loc[t].sum() > 0]
        for time in times[1:]:
            label = f"{patient} {time} vs {times[0]}"
            if name in ("", label):
                pair = _pair(summed.loc[time], summed.loc[times[0]], alpha=alpha, min_fold=min_fold)
                pair.insert(0, "contrast", label)
                pair.insert(1, "kind", "time, sampling only")
                pair.insert(3, keys.PATIENT_ID, patient)
                parts.append(pair)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _pair(after: pd.Series, before: pd.Series, *, alpha: float, min_fold: float) -> pd.DataFrame:
    seen = (after + before) > 0
    a, b = after[seen].to_numpy(), before[seen].to_numpy()
    n, m = float(after.sum()), float(before.sum())
    log_ratio = np.log(((a + 0.5) / (n + 0.5)) / ((b + 0.5) / (m + 0.5)))
    error = np.sqrt(np.maximum(1 / (a + 0.5) - 1 / (n + 0.5) + 1 / (b + 0.5) - 1 / (m + 0.5), 0))
    width = stats.norm.ppf(0.975) * error
    tested = a + b >= _MIN_CELLS
    p = np.full(len(a), np.nan)
    p[tested] = [_fisher(x, n, y, m) for x, y in zip(a[tested], b[tested], strict=True)]
    q = np.full(len(a), np.nan)
    if tested.any():
        q[tested] = multipletests(p[tested], method="fdr_bh")[1]
    low, high = (log_ratio - width) / np.log(2), (log_ratio + width) / np.log(2)
    call = np.full(len(a), "none", dtype=object)
    bound = np.log2(min_fold)
    significant = np.nan_to_num(q, nan=1.0) <= alpha
    call[significant & (log_ratio > 0) & (high >= bound)] = "enriched"
    call[significant & (log_ratio < 0) & (low <= -bound)] = "depleted"
    call[~tested] = "cannot tell"
    reason = np.where(tested, "one draw at each time: sampling of cells only", f"fewer than {_MIN_CELLS} cells")
    return pd.DataFrame(
        {
            "clone": after.index[seen].astype(str),
            "log2fc": log_ratio / np.log(2),
            "low": low,
            "high": high,
            "p": p,
            "q": q,
            "frequency_treated": a / n,
            "frequency_control": b / m,
            "n_treated": 1,
            "n_control": 1,
            "cells_treated": a.astype(int),
            "cells_control": b.astype(int),
            "call": call,
            "reason": reason,
            "detection_limit": np.nan,
            "shift": 0.0,
        }
    )


def _fisher(a: float, n: float, b: float, m: float) -> float:
    return float(stats.fisher_exact([[int(a), int(n - a)], [int(b), int(m - b)]])[1])

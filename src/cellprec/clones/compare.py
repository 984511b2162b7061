"""From whatever names clones in a study to one table of them, and every comparison that the study holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from anndata import AnnData

from cellprec import keys
from cellprec.clones.clonotypes import clonotypes, expansion
from cellprec.clones.contrasts import contrast_table, contrasts
from cellprec.clones.dynamics import dynamics
from cellprec.clones.table import collapse, table
from cellprec.notes import add_note

_USUAL_CONTROLS = ("vehicle", "dmso", "untreated", "control", "mock", "pbs")
_TESTS = ("contrast", "clone", "log2fc", "low", "high", "p", "q", "call")
_CONTRASTS = ("contrast", "kind", "n_tested", "n_enriched", "n_depleted", "n_treated", "n_control", "verdict")


def assemble(
    *,
    counts: Mapping[str, AnnData] | None = None,
    reads: Mapping[str, AnnData] | None = None,
    contigs: Mapping[str, AnnData] | None = None,
    sheet: pd.DataFrame,
) -> AnnData:
    """Put the clones of all samples into one table: barcodes or integration sites if there are any, else clonotypes.

    Parameters
    ----------
    counts, reads
        1 × clones of each library, from count tables or from FASTQ; PCR replicates are summed.
    contigs
        Cells with their receptor, of each sample. Left out, with a note, where the study also has barcodes.
    sheet
        The rows of ``samples.csv``.

    Returns
    -------
    AnnData
        samples × clones.
    """
    libraries = {**(counts or {}), **(reads or {})}
    if libraries:
        made = collapse(table(libraries, sheet=sheet[sheet[keys.MODALITY].isin(["counts", "fastq"])]))
        if contigs:
            text = "clones are those of the barcodes; clonotypes were read and are left to the single-cell data"
            add_note(made, "clones.two_kinds", text, count=len(contigs))
        return made
    return clonotypes(contigs or {}, sheet=sheet[sheet[keys.MODALITY] == "vdj"])


def compare(
    adata: AnnData, *, control: str = "", timepoints: Sequence[str] = (), alpha: float = 0.05, min_fold: float = 2.0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make every comparison the study holds, and the null comparison between control halves beside them.

    Parameters
    ----------
    adata
        samples × clones, from :func:`assemble`.
    control
        The untreated arm. Empty: an arm with a usual name (vehicle, DMSO, …) is taken, with a note.
    timepoints
        The order of time.
    alpha, min_fold
        As in :func:`cellprec.clones.dynamics.dynamics`.

    Returns
    -------
    tuple
        One row per contrast, and one row per contrast and clone.
    """
    if adata.uns[keys.UNS][keys.UNIT] == "cells" and {keys.PATIENT_ID, keys.TIMEPOINT} <= set(adata.obs):
        pairs = expansion(adata, timepoints=timepoints, alpha=alpha, min_fold=min_fold)
        pairs = pairs.assign(detection_limit=np.nan, shift=np.nan)
        parts = [part for _, part in pairs.groupby("contrast")] if len(pairs) else []
        return _stacked(contrast_table(parts) if parts else None, _CONTRASTS), _stacked(pairs, _TESTS)
    arm = control or _usual_control(adata)
    if keys.ARM not in adata.obs and keys.TIMEPOINT not in adata.obs:
        add_note(adata, "clones.no_design", "samples.csv has neither arm nor timepoint: there is nothing to compare")
        return _stacked(None, _CONTRASTS), _stacked(None, _TESTS)
    found = contrasts(adata.obs, control_arm=arm or None, timepoints=timepoints)
    tests = [
        dynamics(adata, treated=c.treated, control=c.control, name=c.name, kind=c.kind, alpha=alpha, min_fold=min_fold)
        for c in found
    ]
    return _stacked(contrast_table(tests) if tests else None, _CONTRASTS), _stacked(
        pd.concat(tests, ignore_index=True) if tests else None, _TESTS
    )


def _usual_control(adata: AnnData) -> str:
    arms = sorted({str(arm) for arm in adata.obs.get(keys.ARM, [])} - {""})
    usual = [arm for arm in arms if arm.lower() in _USUAL_CONTROLS]
    if len(usual) == 1:
        add_note(adata, "clones.control", f"arm {usual[0]!r} was taken for the control; set `control` to say otherwise")
        return usual[0]
    return ""


def _stacked(frame: pd.DataFrame | None, columns: Sequence[str]) -> pd.DataFrame:
    return frame if frame is not None and len(frame.columns) else pd.DataFrame(columns=list(columns))

"""From whatever names clones in a study to one table of them, and every comparison that the study holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from anndata import AnnData

from cellprec import keys
from cellprec.clones.clonotypes import clonotypes, expansion
from cellprec.clones.contrasts import NEGATIVE, contrast_table, contrasts, design
from cellprec.clones.dynamics import dynamics
from cellprec.clones.table import DESIGN, collapse, table, told
from cellprec.clones.uncompared import uncompared
from cellprec.errors import InputError
from cellprec.notes import add_note

_TESTS = ("contrast", "clone", "log2fc", "low", "high", "p", "q", "call")
_CALLS = ("n_tested", "n_enriched", "n_depleted", "n_treated", "n_control")
_CONTRASTS = ("contrast", "kind", *_CALLS, "detection_limit", "shift", "n_clones", "verdict")
_BARCODES = ("counts", "fastq")
_MOST_NAMED = 30


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

    Raises
    ------
    InputError
        If the sheet names libraries and not one of them could be read, or no cell has a clonotype.
    """
    libraries = {**(counts or {}), **(reads or {})}
    barcoded = sheet[sheet[keys.MODALITY].isin(_BARCODES)]
    if libraries:
        made = collapse(table(libraries, sheet=barcoded))
        if contigs:
            text = "clones are those of the barcodes; clonotypes were read and are left to the single-cell data"
            add_note(made, "clones.two_kinds", text, count=len(contigs))
        return made
    if not contigs:
        raise _nothing_read(sheet[sheet[keys.MODALITY].isin([*_BARCODES, "vdj"])])
    made = clonotypes(contigs, sheet=sheet[sheet[keys.MODALITY] == "vdj"])
    if len(barcoded):
        text = "no library of barcodes could be read; the clones are the clonotypes of the single-cell data"
        add_note(made, "clones.no_library", text, count=len(barcoded))
    return made


def compare(
    adata: AnnData,
    *,
    control: str = "",
    timepoints: Sequence[str] = (),
    every_timepoint: bool = False,
    alpha: float = 0.05,
    min_fold: float = 2.0,
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
    every_timepoint
        Compare arms at each timepoint that they share with the control arm, not at the last alone.
    alpha, min_fold
        As in :func:`cellprec.clones.dynamics.dynamics`.

    Returns
    -------
    tuple
        One row per contrast, and one row per contrast and clone. An arm that can be compared at no timepoint is a row
        of the first, "cannot tell" with the reason; all else that is not compared is named in a note
        (``clones.not_compared``). ``low`` and ``high`` of a clone are infinite where that end of the interval lies
        beyond what the side that did not see the clone could have seen.
    """
    _note_design(adata)
    if adata.uns[keys.UNS][keys.UNIT] == "cells" and _filled(adata, keys.PATIENT_ID) and _filled(adata, keys.TIMEPOINT):
        return _draws(adata, control=control, timepoints=timepoints, alpha=alpha, min_fold=min_fold)
    arm = control_arm(adata, control=control) or None
    if not _filled(adata, keys.ARM) and not _filled(adata, keys.TIMEPOINT):
        add_note(adata, "clones.no_design", "samples.csv fills in neither arm nor timepoint: nothing can be compared")
        return _stacked(None, _CONTRASTS), _stacked(None, _TESTS)
    found = contrasts(adata.obs, control_arm=arm, timepoints=timepoints, every_timepoint=every_timepoint)
    tests = [
        dynamics(adata, treated=c.treated, control=c.control, name=c.name, kind=c.kind, alpha=alpha, min_fold=min_fold)
        for c in found
    ]
    left = uncompared(adata.obs, found=found, control_arm=arm)
    _note_left(adata, left, control_arm=arm)
    silent = _silent(left, control_arm=arm, n_clones=adata.n_vars)
    rows = [part for part in (contrast_table(tests) if tests else None, silent) if part is not None and len(part)]
    summary = pd.concat(rows, ignore_index=True) if rows else None
    return _stacked(summary, _CONTRASTS), _stacked(pd.concat(tests, ignore_index=True) if tests else None, _TESTS)


def control_arm(adata: AnnData, *, control: str = "") -> str:
    """Return the arm that others are compared with: the one given, or the one arm with a usual name, with a note.

    >>> one = AnnData(np.ones((2, 1)), obs=pd.DataFrame({"arm": ["DMSO", "drug"]}, index=["a", "b"]))
    >>> control_arm(one), control_arm(one, control="drug")
    ('DMSO', 'drug')
    """
    if control:
        return control
    usual = [arm for arm in _arms(adata) if arm.lower() in keys.USUAL_CONTROLS]
    if len(usual) == 1:
        add_note(adata, "clones.control", f"arm {usual[0]!r} was taken for the control; set `control` to say otherwise")
        return usual[0]
    if usual:
        text = f"arms {_listed([repr(arm) for arm in usual])} could each be the control; none was taken: set `control`"
        add_note(adata, "clones.control", text)
    return ""


def _nothing_read(rows: pd.DataFrame) -> InputError:
    names = rows[keys.SAMPLE_ID].astype(str) if keys.SAMPLE_ID in rows else rows.index.astype(str)
    kind = "contig file" if len(rows) and (rows[keys.MODALITY] == "vdj").all() else "library"
    return InputError(
        f"no {kind} could be read",
        where=_listed(list(names)),
        why="the clones of the study are counted in them",
        fix="The errors of these samples say what is wrong with each; mend one and run again.",
    )


def _draws(
    adata: AnnData, *, control: str, timepoints: Sequence[str], alpha: float, min_fold: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare the draws of each patient over time, one sample each."""
    place = pd.DataFrame({column: told(adata.obs[column]) for column in (keys.PATIENT_ID, keys.TIMEPOINT)})
    told_all = (place != "").all(axis=1).to_numpy()
    pairs = expansion(adata[told_all], timepoints=timepoints, alpha=alpha, min_fold=min_fold)
    pairs = pairs.assign(detection_limit=np.nan, shift=np.nan)
    if not told_all.all():
        names = _listed(list(adata.obs_names[~told_all].astype(str)))
        text = f"not compared, as patient or timepoint is missing: {names}"
        add_note(adata, "clones.not_compared", text, count=int((~told_all).sum()))
    times = place[told_all].groupby(keys.PATIENT_ID)[keys.TIMEPOINT].nunique()
    once = [str(name) for name in times.index[times < 2]]
    if once:
        text = f"not compared, as there is one timepoint of the patient: {_listed(once)}"
        add_note(adata, "clones.not_compared", text, count=len(once))
    if control or len(_arms(adata)) > 1:
        text = (
            f"arms ({_listed(_arms(adata))}) were not compared with each other: clonotypes are compared over time "
            "within a patient, and the samples of a timepoint are added"
        )
        add_note(adata, "clones.not_compared", text)
    parts = [part for _, part in pairs.groupby("contrast")] if len(pairs) else []
    return _stacked(contrast_table(parts) if parts else None, _CONTRASTS), _stacked(pairs, _TESTS)


def _note_design(adata: AnnData) -> None:
    unnamed = adata.n_obs - len(design(adata.obs, deep_only=False))
    if unnamed:
        names = _listed(list(adata.obs_names[~adata.obs_names.isin(design(adata.obs, deep_only=False).index)]))
        text = (
            f"samples.csv says nothing of the design of {names}: without {', '.join(DESIGN[:-1])} or {DESIGN[-1]} they "
            "are neither replicates of one another nor compared"
        )
        add_note(adata, "clones.no_design", text, count=unnamed)


def _note_left(adata: AnnData, left: pd.DataFrame, *, control_arm: str | None) -> None:
    arms = _arms(adata)
    if control_arm is None and len(arms) > 1:
        text = (
            f"arms ({_listed(arms)}) were not compared with each other, as none is known for the control: set "
            "`control` of the step clones to the arm that the others are to be compared with"
        )
        if not _filled(adata, keys.TIMEPOINT):
            text += ", or fill in timepoint to compare over time"
        add_note(adata, "clones.not_compared", text, count=len(arms))
    for (kind, reason), own in left.groupby(["kind", "reason"], sort=False):
        what = "no negative control" if kind == NEGATIVE else "not compared"
        add_note(adata, "clones.not_compared", f"{what}, as {reason}: {_places(own)}", count=len(own))


def _places(rows: pd.DataFrame) -> str:
    """Name places by patient and arm, the timepoints of each together."""
    said = []
    for (who, arm), own in rows.groupby([keys.PATIENT_ID, keys.ARM], sort=False):
        times = [str(time) for time in own[keys.TIMEPOINT] if time]
        name = " ".join(part for part in (str(who), str(arm) or "no arm") if part)
        said.append(f"{name} at {_listed(times)}" if times else name)
    return "; ".join(said[:_MOST_NAMED]) + (f"; and {len(said) - _MOST_NAMED} more" if said[_MOST_NAMED:] else "")


def _silent(left: pd.DataFrame, *, control_arm: str | None, n_clones: int) -> pd.DataFrame | None:
    """Return a row for each arm that is compared at no timepoint; without a control there is nothing to name it by."""
    own = left[left["silent"] & (left[keys.ARM] != "")]
    if control_arm is None or own.empty:
        return None
    rows = []
    for (who, arm), places in own.groupby([keys.PATIENT_ID, keys.ARM], sort=True):
        times = [time for time in places[keys.TIMEPOINT] if time]
        at = f" ({_listed(times)})" if times else ""
        row = {
            "contrast": " ".join(part for part in (str(who), str(arm), "vs", control_arm) if part),
            "kind": "drug",
            **dict.fromkeys(("n_tested", "n_enriched", "n_depleted", "n_control"), 0),
            "n_treated": int(places["n"].max()),
            "detection_limit": np.nan,
            "shift": np.nan,
            "n_clones": n_clones,
            "verdict": f"cannot tell: {places['reason'].iloc[-1]}{at}",
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _arms(adata: AnnData) -> list[str]:
    return sorted(set(told(adata.obs[keys.ARM])) - {""}) if keys.ARM in adata.obs else []


def _filled(adata: AnnData, column: str) -> bool:
    return column in adata.obs and bool((told(adata.obs[column]) != "").any())


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:_MOST_NAMED])
    if len(names) > len(shown):
        return f"{', '.join(shown)} and {len(names) - len(shown)} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


def _stacked(frame: pd.DataFrame | None, columns: Sequence[str]) -> pd.DataFrame:
    return frame if frame is not None and len(frame.columns) else pd.DataFrame(columns=list(columns))

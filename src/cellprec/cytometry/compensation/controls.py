"""The controls of a study: what each is stained with, what they say together, and how it is applied to a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import pandas as pd
from anndata import AnnData

from cellprec import keys
from cellprec.cytometry.compensation.compensate import compensate
from cellprec.cytometry.compensation.residual import compensation_errors
from cellprec.cytometry.compensation.spectra import reference_spectra, spectra_pairs
from cellprec.cytometry.compensation.spillover import estimate_spillover, spillover_table
from cellprec.cytometry.compensation.unmix import unmix
from cellprec.errors import Problem, StudyError
from cellprec.notes import add_note

if TYPE_CHECKING:
    from collections.abc import Mapping

Method = Literal["ols", "weighted", "nnls"]


def name_controls(controls: Mapping[str, AnnData], *, sheet: pd.DataFrame) -> tuple[dict[str, AnnData], AnnData | None]:
    """Return the stained controls by what their row in the sheet says they are stained for, and the unstained one.

    controls: events by sample. sheet: by sample, with ``column``: the channel, the marker or the dye, or ``unstained``.

    Raises StudyError where a control has no column, two have the same, or nothing is stained.

    >>> sheet = pd.DataFrame({"column": ["PE-A", "unstained"]}, index=["c1", "c2"])
    >>> stained, unstained = name_controls({"c1": AnnData(shape=(1, 1)), "c2": AnnData(shape=(2, 1))}, sheet=sheet)
    >>> list(stained), unstained.n_obs
    (['PE-A'], 2)
    """
    problems: list[Problem] = []
    stained: dict[str, AnnData] = {}
    unstained: AnnData | None = None
    for sample, adata in controls.items():
        stain = str(sheet[keys.COLUMN].get(sample, "")).strip() if keys.COLUMN in sheet else ""
        what = ""
        if not stain:
            what = "the control does not say what it is stained for"
        elif stain.casefold() == keys.UNSTAINED:
            if unstained is not None:
                what = "there are two unstained controls"
            unstained = adata
        elif stain in stained:
            what = f"there are two controls for {stain}"
        else:
            stained[stain] = adata
        if what:
            fix = f"Write the channel, or {keys.UNSTAINED}, into the column `{keys.COLUMN}` of samples.csv; each once."
            problems.append(Problem("controls.stain", what, sample=sample, column=keys.COLUMN, fix=fix))
    if not stained and not problems:
        problems.append(Problem("controls.none", "no control is stained", fix="Add the single-stained controls."))
    if problems:
        raise StudyError(problems, what="the controls cannot be used")
    return stained, unstained


def spillover_of(
    stained: Mapping[str, AnnData], *, unstained: AnnData | None = None
) -> tuple[AnnData, dict[str, pd.DataFrame]]:
    """Estimate the spillover matrix of a study and hold it against the controls it came from.

    Returns the matrix as dyes × detectors, for ``apply_matrix``, and the tables ``pairs`` (``spillover_table``) and
    ``errors`` (``compensation_errors`` of every control, compensated with the matrix). Errors: as
    ``estimate_spillover``.
    """
    matrix = estimate_spillover(stained, unstained=unstained)
    pairs = spillover_table(stained, unstained=unstained)
    blank = _compensated(unstained, matrix) if unstained is not None else None
    left = []
    for control, dye in pairs.drop_duplicates("control")[["control", "dye"]].astype(str).to_numpy():
        errors = compensation_errors(_compensated(stained[control], matrix), stained=dye, unstained=blank)
        left.append(errors.assign(control=control))
    return _packed(matrix, unmixing=""), {"pairs": pairs, "errors": pd.concat(left, ignore_index=True)}


def spectra_of(
    stained: Mapping[str, AnnData], *, unstained: AnnData | None = None, unmixing: Method = "weighted", seed: int = 0
) -> tuple[AnnData, dict[str, pd.DataFrame]]:
    """Read the spectra of the dyes of a study, and say which look alike.

    Returns the spectra as dyes × detectors, for ``apply_matrix``, and the tables ``pairs`` (``spectra_pairs``) and
    ``errors`` (empty: every event tells its own misfit after unmixing). Errors: as ``reference_spectra``.
    """
    spectra = reference_spectra(stained, unstained=unstained, seed=seed)
    return _packed(spectra, unmixing=unmixing), {"pairs": spectra_pairs(spectra), "errors": pd.DataFrame()}


def apply_matrix(adata: AnnData, *, matrix: AnnData) -> AnnData:
    """Compensate, or unmix, one sample with what the controls said; the sample to go on with is returned.

    matrix: from ``spillover_of`` or ``spectra_of``.
    """
    frame = matrix.to_df()
    if is_spectral(matrix):
        return unmix(adata, spectra=frame, method=cast("Method", str(matrix.uns[keys.UNMIXING])))
    compensate(adata, spillover=frame)
    return adata


def is_spectral(matrix: AnnData) -> bool:
    """Whether the controls gave spectra to unmix with, not a spillover matrix."""
    return bool(matrix.uns[keys.UNMIXING])


def _compensated(adata: AnnData, matrix: pd.DataFrame) -> AnnData:
    own = adata.copy()
    compensate(own, spillover=matrix)
    return own


def _packed(matrix: pd.DataFrame, *, unmixing: str) -> AnnData:
    adata = AnnData(
        matrix.to_numpy(dtype=np.float64),
        obs=pd.DataFrame(index=matrix.index.astype(str)),
        var=pd.DataFrame(index=matrix.columns.astype(str)),
    )
    adata.uns[keys.UNMIXING] = unmixing
    for remark in matrix.attrs.get("notes", ()):
        if isinstance(remark, str):
            add_note(adata, "controls.remark", remark)
        else:
            add_note(adata, remark["code"], remark["text"], count=remark["count"], sample=remark["sample"])
    return adata

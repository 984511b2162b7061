"""One row per patient, features from every modality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import cellprec as cp
from cellprec.steps.contract import Artifacts, Design, Result, step

if TYPE_CHECKING:
    from anndata import AnnData


@step(tables=("features",), patients=True, mem_gb=6)
def patients(
    design: Design,
    cytometry: AnnData | None,
    rna: AnnData | None,
    clones: AnnData | None,
    table: Artifacts | None,
    *,
    until: Annotated[list[str], "timepoints that may foretell; the first of the study if empty"] = [],  # noqa: B006
) -> Result:
    """Gather the features of every patient from all modalities."""
    assert design.patients is not None  # noqa: S101 - the plan has no such step without patients.csv
    made = cp.biomarkers.patients(
        sheet=design.samples,
        clinical=design.patients,
        cytometry=cytometry,
        rna=rna,
        clones=clones,
        tables=table or {},
        until=tuple(until) or design.timepoints[:1] or None,
    )
    return Result(made, {"features": made.var.rename_axis("feature").reset_index()})

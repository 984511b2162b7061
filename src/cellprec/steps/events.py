"""The events of one cytometry file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cellprec as cp
from cellprec.steps.contract import Sample, step

if TYPE_CHECKING:
    from anndata import AnnData


@step(modality="cytometry", mem_gb=2)
def events(
    sample: Sample,
    compensation: AnnData | None,
    *,
    spillover: Annotated[Path | None, "matrix (CSV, workspace) instead of that of the files or the controls"] = None,
    template: Annotated[Path | None, "YAML gating template, for files without a workspace"] = None,
    margins: Annotated[bool, "drop events at the edge of a detector's range"] = True,
    acquisition: Annotated[bool, "drop events measured during clogs, bubbles and drifts"] = True,
    doublets: Annotated[bool, "drop doublets, debris and calibration beads"] = True,
    dead: Annotated[bool, "drop cells that take up a viability stain"] = True,
) -> AnnData:
    """Read, compensate, clean and gate the events of one file."""
    adata = cp.io.read_fcs(sample.path, sample_id=sample.sample_id)
    checks = {"margins": margins, "acquisition": acquisition, "doublets": doublets}
    if spillover is None and compensation is not None and cp.cytometry.is_spectral(compensation):
        # saturation is seen on the detectors, the stain of dead cells on the dyes
        cp.cytometry.clean(adata, **checks, dead=False)
        adata = cp.cytometry.apply_matrix(adata, matrix=compensation)
        if dead:
            cp.cytometry.drop_dead(adata)
    else:
        if spillover is not None:
            cp.cytometry.compensate(adata, spillover=cp.io.read_compensation(spillover, sample=sample.path.name))
        elif compensation is not None:
            cp.cytometry.apply_matrix(adata, matrix=compensation)
        else:
            cp.cytometry.compensate(adata)
        cp.cytometry.clean(adata, **checks, dead=dead)
    if sample.gates is not None:
        cp.io.apply_gates(adata, gates=sample.gates)
    elif template is not None:
        cp.cytometry.gate(adata, rules=template, seed=sample.seed)
    return adata

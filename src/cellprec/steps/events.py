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
    *,
    spillover: Annotated[Path | None, "CSV matrix that replaces the one in the files"] = None,
    margins: Annotated[bool, "drop events at the edge of a detector's range"] = True,
    doublets: Annotated[bool, "drop doublets by FSC-A against FSC-H"] = True,
) -> AnnData:
    """Read, compensate and clean the events of one file."""
    adata = cp.io.read_fcs(sample.path, sample_id=sample.sample_id)
    if sample.gates is not None:
        cp.io.apply_gates(adata, gates=sample.gates, sample_name=sample.path.name)
    matrix = cp.io.read_compensation(spillover) if spillover is not None else None
    cp.cytometry.compensate(adata, spillover=matrix)
    cp.cytometry.clean(adata, margins=margins, doublets=doublets)
    return adata

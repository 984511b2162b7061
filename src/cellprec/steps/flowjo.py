"""Populations and clusters back into FCS files, for FlowJo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cellprec as cp
from cellprec.steps.contract import Result, Sample, step

if TYPE_CHECKING:
    from anndata import AnnData


@step(modality="cytometry", mem_gb=3)
def flowjo(sample: Sample, cytometry: AnnData) -> Result:
    """Write populations and clusters back beside the events, for FlowJo."""
    original = cp.io.read_fcs(sample.path, sample_id=sample.sample_id)
    return Result(files=cp.io.flowjo_files(original, cytometry, sample_id=sample.sample_id))

"""A table of patients × features from anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cellprec as cp
from cellprec.steps.contract import Sample, step

if TYPE_CHECKING:
    from anndata import AnnData


@step(modality="table", mem_gb=1)
def table(sample: Sample) -> AnnData:
    """Read one table of patients and measurements."""
    return cp.io.read_table(sample.path, sample_id=sample.sample_id, timepoint=sample.sheet.get("timepoint", ""))

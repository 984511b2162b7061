"""One single-stained control."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cellprec as cp
from cellprec.steps.contract import Sample, step

if TYPE_CHECKING:
    from anndata import AnnData


@step(modality="control", mem_gb=1)
def controls(sample: Sample) -> AnnData:
    """Read one single-stained or unstained control."""
    return cp.io.read_fcs(sample.path, sample_id=sample.sample_id)

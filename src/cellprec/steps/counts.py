"""The clone counts of one library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cellprec as cp
from cellprec.steps.contract import Sample, step

if TYPE_CHECKING:
    from anndata import AnnData


@step(modality="counts", mem_gb=1)
def counts(sample: Sample) -> AnnData:
    """Read the clone counts of one library."""
    return cp.io.read_counts(sample.path, sample_id=sample.sample_id, column=sample.sheet.get("column") or None)

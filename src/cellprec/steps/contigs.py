"""The T- and B-cell receptors of one sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cellprec as cp
from cellprec.steps.contract import Sample, step

if TYPE_CHECKING:
    from anndata import AnnData


@step(modality="vdj", mem_gb=1)
def contigs(sample: Sample) -> AnnData:
    """Read the receptor contigs of one sample."""
    return cp.io.read_vdj(sample.path, sample_id=sample.sample_id)

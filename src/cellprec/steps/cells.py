"""The cells of one single-cell RNA sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Interval

import cellprec as cp
from cellprec.steps.contract import Sample, step

if TYPE_CHECKING:
    from anndata import AnnData


@step(modality="rna", mem_gb=2)
def cells(
    sample: Sample,
    *,
    min_genes: Annotated[int, "cells with fewer genes are dropped", Ge(0)] = 200,
    max_mito: Annotated[
        float | None, "cells with a larger mitochondrial fraction are dropped", Interval(ge=0, le=1)
    ] = None,
    doublets: Annotated[bool, "find and drop doublets"] = True,
    transgenes: Annotated[list[str], "names of the CAR transgene in the reference"] = [],  # noqa: B006 - never mutated
) -> AnnData:
    """Read the cells of one sample and judge their quality."""
    adata = cp.io.read_rna(sample.path, sample_id=sample.sample_id)
    cp.rna.qc(adata, min_genes=min_genes, max_mito=max_mito)
    if doublets:
        cp.rna.doublets(adata, seed=sample.seed)
    if transgenes:
        cp.rna.car(adata, transgenes=transgenes)
    return adata

"""All clones of the study: barcodes, clonotypes or integration sites."""

from __future__ import annotations

from typing import Annotated

import cellprec as cp
from cellprec.steps.contract import Artifacts, Design, Result, step


@step(tables=("samples", "contrasts", "tests", "replicates"), mem_gb=6)
def clones(
    design: Design,
    counts: Artifacts | None,
    reads: Artifacts | None,
    contigs: Artifacts | None,
    *,
    control: Annotated[str, "name of the untreated arm in the column `arm`"] = "",
    alpha: Annotated[float, "false discovery rate of the calls"] = 0.05,
    every_timepoint: Annotated[bool, "compare arms at every timepoint they share, not at the last alone"] = False,
    min_fold: Annotated[float, "a clone whose whole 95 % interval lies below this fold is not called"] = 2.0,
) -> Result:
    """Count the clones of all samples and find those that grow or fall."""
    table = cp.clones.assemble(counts=counts, reads=reads, contigs=contigs, sheet=design.samples)
    contrasts, tests = cp.clones.compare(
        table,
        control=control,
        timepoints=design.timepoints,
        every_timepoint=every_timepoint,
        alpha=alpha,
        min_fold=min_fold,
    )
    arm = cp.clones.control_arm(table, control=control)
    tables = {
        "samples": cp.clones.diversity(table, seed=design.seed).rename_axis("sample_id").reset_index(),
        "contrasts": contrasts,
        "tests": tests,
        "replicates": cp.clones.replicate_table(table, control_arm=arm or None),
    }
    return Result(table, tables)

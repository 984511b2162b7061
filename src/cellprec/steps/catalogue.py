"""All steps, upstream first: what the runner, Snakemake, the schema and the report are made from."""

from __future__ import annotations

from typing import Final

from cellprec.steps.biomarkers import biomarkers
from cellprec.steps.cells import cells
from cellprec.steps.clones import clones
from cellprec.steps.compensation import compensation
from cellprec.steps.contigs import contigs
from cellprec.steps.contract import Step
from cellprec.steps.controls import controls
from cellprec.steps.counts import counts
from cellprec.steps.cytometry import cytometry
from cellprec.steps.events import events
from cellprec.steps.flowjo import flowjo
from cellprec.steps.patients import patients
from cellprec.steps.reads import reads
from cellprec.steps.rna import rna
from cellprec.steps.table import table

CATALOGUE: Final[dict[str, Step]] = {
    each.name: each
    for each in (
        controls,
        compensation,
        events,
        cytometry,
        flowjo,
        cells,
        contigs,
        rna,
        counts,
        reads,
        clones,
        table,
        patients,
        biomarkers,
    )
}

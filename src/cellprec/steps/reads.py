"""The barcodes of one FASTQ file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

import cellprec as cp
from cellprec.errors import InputError
from cellprec.steps.contract import Sample, step

if TYPE_CHECKING:
    from anndata import AnnData


@step(modality="fastq", mem_gb=2)
def reads(
    sample: Sample,
    *,
    left: Annotated[str, "constant sequence before the barcode"] = "",
    right: Annotated[str, "constant sequence after the barcode"] = "",
    pattern: Annotated[str, "the barcode in IUPAC letters, such as N20 or WSWSWS"] = "",
    max_mismatches: Annotated[int, "mismatches allowed in a constant sequence", Interval(ge=0, le=3)] = 1,
) -> AnnData:
    """Find the barcodes in the reads of one file and correct their errors."""
    if not left and not right:
        raise InputError(
            "the constant sequences around the barcode are not given",
            where="settings.reads",
            why="without them no read can be told to hold a barcode",
            fix="Set `left`, `right` and `pattern` under settings.reads in study.yaml.",
        )
    found = cp.barcodes.extract(
        sample.path,
        sample_id=sample.sample_id,
        left=left,
        right=right,
        pattern=pattern,
        max_mismatches=max_mismatches,
    )
    return cp.barcodes.correct(found)

"""The names of every slot: the one place where a column, layer or key of an AnnData is spelled."""

from __future__ import annotations

from typing import Final

SCHEMA_VERSION: Final = "1"

# uns["cellprec"]: what was done to the object
UNS: Final = "cellprec"
NOTES: Final = "notes"
STEPS: Final = "steps"
UNIT: Final = "unit"

# sheet columns that travel with every row
SAMPLE_ID: Final = "sample_id"
PATIENT_ID: Final = "patient_id"
MODALITY: Final = "modality"
TIMEPOINT: Final = "timepoint"
BATCH: Final = "batch"
ARM: Final = "arm"
REPLICATE: Final = "replicate"
PCR_REPLICATE: Final = "pcr_replicate"
# the column of a wide table that a row takes; of a single-stained control, what it is stained for
COLUMN: Final = "column"

# what an untreated arm is usually called, in lower case
USUAL_CONTROLS: Final = frozenset({"vehicle", "dmso", "untreated", "control", "mock", "pbs"})

# cytometry: events × channels
RAW: Final = "raw"
COMPENSATED: Final = "compensated"
KEEP: Final = "keep"
DROP_REASON: Final = "drop_reason"
DROP_REASONS: Final = "drop_reasons"
ACQUISITION: Final = "acquisition"
CLUSTER: Final = "cluster"
POPULATION: Final = "population"
POPULATION_CONFIDENCE: Final = "population_confidence"
CHANNEL: Final = "channel"
MARKER: Final = "marker"
KIND: Final = "kind"
RANGE: Final = "range"
TRANSFORM: Final = "transform"
GATES: Final = "gates"
GATES_COMPENSATION: Final = "gates_compensation"
UNMIXING: Final = "unmixing"
UNMIXING_RESIDUAL: Final = "unmixing_residual"
SPECTRA: Final = "spectra"
BEAD: Final = "bead"
BEAD_ALONE: Final = "bead_alone"
BEAD_FACTOR: Final = "bead_factor"
BEADS: Final = "beads"
DEBARCODE: Final = "debarcode"
DEBARCODED_SAMPLE: Final = "debarcoded_sample"
BC_REASON: Final = "bc_reason"
BC_SEPARATION: Final = "bc_separation"
BC_DISTANCE: Final = "bc_distance"
POOL: Final = "pool"
SPILLOVER: Final = "spillover"
UNASSIGNED: Final = "unassigned"
UNSTAINED: Final = "unstained"

# rna: cells × genes
COUNTS: Final = "counts"
CAR_UMIS: Final = "car_umis"
CAR_DETECTED: Final = "car_detected"
CAR_PROBABILITY: Final = "car_probability"
DOUBLET_SCORE: Final = "doublet_score"
GENE_ID: Final = "gene_id"
HIGHLY_VARIABLE: Final = "highly_variable"
X_PCA: Final = "X_pca"
X_SCVI: Final = "X_scVI"
X_UMAP: Final = "X_umap"
CLONE_ID: Final = "clone_id"
CLONE_CONFIDENCE: Final = "clone_confidence"

# clones: samples × clones
FREQUENCY: Final = "frequency"
CELLS: Final = "cells"
SEQUENCE: Final = "sequence"
SOURCE: Final = "source"

# patients: patients × features
MISSING: Final = "missing"
FAMILY: Final = "family"
FEATURE_UNIT: Final = "unit"


def cell_name(sample_id: str, barcode: str) -> str:
    """Return the name of a cell, the same in every object: ``sample_id:barcode``.

    >>> cell_name("P01_d7", "AAAC-1")
    'P01_d7:AAAC-1'
    """
    return f"{sample_id}:{barcode}"

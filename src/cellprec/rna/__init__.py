"""Cells × genes: quality, doublets, the CAR transgene, clusters, signatures."""

from cellprec.rna.annotate import annotate
from cellprec.rna.car import car, car_table
from cellprec.rna.cluster import cluster
from cellprec.rna.doublets import doublets
from cellprec.rna.join import join
from cellprec.rna.normalize import normalize
from cellprec.rna.qc import qc
from cellprec.rna.receptors import attach_clones
from cellprec.rna.signatures import score_signatures
from cellprec.rna.tables import cluster_table, population_table, sample_table, sample_tables

__all__ = [
    "annotate",
    "attach_clones",
    "car",
    "car_table",
    "cluster",
    "cluster_table",
    "doublets",
    "join",
    "normalize",
    "population_table",
    "qc",
    "sample_table",
    "sample_tables",
    "score_signatures",
]

"""Raw events become clean, gated, clustered, named events."""

from cellprec.cytometry.annotate import annotate, cluster_table, population_table
from cellprec.cytometry.clean import clean
from cellprec.cytometry.cluster import cluster
from cellprec.cytometry.compensate import compensate
from cellprec.cytometry.embed import embed
from cellprec.cytometry.gate import gate
from cellprec.cytometry.gated import gate_table, name_by_gates, sample_table
from cellprec.cytometry.join import join
from cellprec.cytometry.signs import default_signs, read_signs
from cellprec.cytometry.transform import estimate_transform, inverse_transform, transform

__all__ = [
    "annotate",
    "clean",
    "cluster",
    "cluster_table",
    "compensate",
    "default_signs",
    "embed",
    "estimate_transform",
    "gate",
    "gate_table",
    "inverse_transform",
    "join",
    "name_by_gates",
    "population_table",
    "read_signs",
    "sample_table",
    "transform",
]

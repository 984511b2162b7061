"""Raw events become clean, gated, clustered, named events."""

from cellprec.cytometry.acquisition import acquisition_table, find_anomalies
from cellprec.cytometry.annotate import annotate, cluster_table, population_table
from cellprec.cytometry.clean import clean
from cellprec.cytometry.cluster import cluster
from cellprec.cytometry.compensate import compensate
from cellprec.cytometry.controls import apply_matrix, name_controls, spectra_of, spillover_of
from cellprec.cytometry.debarcode import debarcode, debarcode_table, split_debarcoded
from cellprec.cytometry.embed import embed
from cellprec.cytometry.gate import gate
from cellprec.cytometry.gated import name_by_gates, sample_tables
from cellprec.cytometry.join import join
from cellprec.cytometry.mass_spillover import compensate_mass, estimate_mass_spillover
from cellprec.cytometry.normalize import normalize_beads
from cellprec.cytometry.residual import compensation_errors
from cellprec.cytometry.scales import biexponential, biexponential_inverse, logicle, logicle_inverse
from cellprec.cytometry.signs import default_signs, read_signs
from cellprec.cytometry.spectra import reference_spectra, spectra_pairs
from cellprec.cytometry.spillover import estimate_spillover, spillover_table
from cellprec.cytometry.transform import estimate_transform, inverse_transform, transform
from cellprec.cytometry.unmix import unmix

__all__ = [
    "acquisition_table",
    "annotate",
    "apply_matrix",
    "biexponential",
    "biexponential_inverse",
    "clean",
    "cluster",
    "cluster_table",
    "compensate",
    "compensate_mass",
    "compensation_errors",
    "debarcode",
    "debarcode_table",
    "default_signs",
    "embed",
    "estimate_mass_spillover",
    "estimate_spillover",
    "estimate_transform",
    "find_anomalies",
    "gate",
    "inverse_transform",
    "join",
    "logicle",
    "logicle_inverse",
    "name_by_gates",
    "name_controls",
    "normalize_beads",
    "population_table",
    "read_signs",
    "reference_spectra",
    "sample_tables",
    "spectra_of",
    "spectra_pairs",
    "spillover_of",
    "spillover_table",
    "split_debarcoded",
    "transform",
    "unmix",
]

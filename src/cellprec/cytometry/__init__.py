"""Raw events become clean, gated, clustered, named events."""

from cellprec.cytometry.annotate import annotate, cluster_table, population_table
from cellprec.cytometry.cleaning.acquisition import acquisition_table, find_anomalies
from cellprec.cytometry.cleaning.clean import clean, drop_dead
from cellprec.cytometry.cluster import cluster
from cellprec.cytometry.compensation.compensate import compensate
from cellprec.cytometry.compensation.controls import apply_matrix, is_spectral, name_controls, spectra_of, spillover_of
from cellprec.cytometry.compensation.residual import compensation_errors
from cellprec.cytometry.compensation.spectra import reference_spectra, spectra_pairs
from cellprec.cytometry.compensation.spillover import estimate_spillover, spillover_table
from cellprec.cytometry.compensation.unmix import unmix
from cellprec.cytometry.embed import embed
from cellprec.cytometry.gate import gate
from cellprec.cytometry.gated import name_by_gates, sample_tables
from cellprec.cytometry.join import join
from cellprec.cytometry.mass.debarcode import debarcode, debarcode_table, split_debarcoded
from cellprec.cytometry.mass.normalize import normalize_beads
from cellprec.cytometry.mass.spillover import compensate_mass, estimate_mass_spillover
from cellprec.cytometry.scales.logicle import biexponential, biexponential_inverse, logicle, logicle_inverse
from cellprec.cytometry.scales.transform import estimate_transform, inverse_transform, transform
from cellprec.cytometry.signs import default_signs, read_signs

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
    "drop_dead",
    "embed",
    "estimate_mass_spillover",
    "estimate_spillover",
    "estimate_transform",
    "find_anomalies",
    "gate",
    "inverse_transform",
    "is_spectral",
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

"""Plots, one kind a file: data first, axes back, nothing shown or saved."""

from cellprec.pl.acquisition import acquisition
from cellprec.pl.clones import enrichment_map, rank_abundance, replicate_overlap, trajectories
from cellprec.pl.embedding import embedding
from cellprec.pl.forest import forest
from cellprec.pl.gating import density
from cellprec.pl.populations import fractions, marker_heatmap
from cellprec.pl.rna import car_fraction, dot_plot, qc_violins
from cellprec.pl.roc import boxes, roc
from cellprec.pl.spillover import spillover
from cellprec.pl.volcano import volcano

__all__ = [
    "acquisition",
    "boxes",
    "car_fraction",
    "density",
    "dot_plot",
    "embedding",
    "enrichment_map",
    "forest",
    "fractions",
    "marker_heatmap",
    "qc_violins",
    "rank_abundance",
    "replicate_overlap",
    "roc",
    "spillover",
    "trajectories",
    "volcano",
]

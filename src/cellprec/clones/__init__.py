"""Samples × clones: diversity, and which clones grow or fall."""

from cellprec.clones.clonotypes import cell_clones, clonotypes, expansion
from cellprec.clones.compare import assemble, compare, control_arm
from cellprec.clones.contrasts import Contrast, contrast_table, contrasts, replicate_table
from cellprec.clones.diversity import diversity
from cellprec.clones.dynamics import dynamics
from cellprec.clones.table import collapse, table

__all__ = [
    "Contrast",
    "assemble",
    "cell_clones",
    "clonotypes",
    "collapse",
    "compare",
    "contrast_table",
    "contrasts",
    "control_arm",
    "diversity",
    "dynamics",
    "expansion",
    "replicate_table",
    "table",
]

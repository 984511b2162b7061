"""One file per format: bytes to AnnData and back."""

from cellprec.io.compensation import read_compensation
from cellprec.io.counts import read_counts
from cellprec.io.export import write_fcs
from cellprec.io.fcs import FcsHeader, read_fcs, read_fcs_events, read_fcs_header
from cellprec.io.flowjo import export_fcs, flowjo_files
from cellprec.io.gates import apply_gates, gate_counts, label_populations
from cellprec.io.reads import iterate_reads
from cellprec.io.rna import read_rna
from cellprec.io.schema import check
from cellprec.io.table import read_table
from cellprec.io.template import GateRule, read_template
from cellprec.io.vdj import read_vdj

__all__ = [
    "FcsHeader",
    "GateRule",
    "apply_gates",
    "check",
    "export_fcs",
    "flowjo_files",
    "gate_counts",
    "iterate_reads",
    "label_populations",
    "read_compensation",
    "read_counts",
    "read_fcs",
    "read_fcs_events",
    "read_fcs_header",
    "read_rna",
    "read_table",
    "read_template",
    "read_vdj",
    "write_fcs",
]

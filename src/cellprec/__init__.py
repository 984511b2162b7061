"""FCS files, single-cell RNA and lineage barcodes in; resistant clones and honest biomarkers out."""

__version__ = "0.1.0"

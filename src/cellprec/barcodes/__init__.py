"""Reads become barcodes."""

from cellprec.barcodes.correct import correct
from cellprec.barcodes.extract import extract

__all__ = ["correct", "extract"]

"""Reads become barcodes."""

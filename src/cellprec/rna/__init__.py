"""Cells × genes: quality, doublets, the CAR transgene, signatures."""

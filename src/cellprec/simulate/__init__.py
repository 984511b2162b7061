"""Studies with known truth, written as real files."""

from cellprec.simulate.barcoding import simulate_barcoding, simulate_counts
from cellprec.simulate.cart import simulate_cart
from cellprec.simulate.growth import Culture
from cellprec.simulate.reads import simulate_reads
from cellprec.simulate.spectral import simulate_spectral
from cellprec.simulate.tubes import simulate_tubes

__all__ = [
    "Culture",
    "simulate_barcoding",
    "simulate_cart",
    "simulate_counts",
    "simulate_reads",
    "simulate_spectral",
    "simulate_tubes",
]

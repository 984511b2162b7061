"""Batches join in one latent space."""

from cellprec.integrate.scvi import scvi

__all__ = ["scvi"]

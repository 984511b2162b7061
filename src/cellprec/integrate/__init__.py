"""Batches join in one latent space."""

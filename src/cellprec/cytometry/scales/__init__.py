"""Scales on which cells form round clouds, exact and fast, and which one a channel gets."""

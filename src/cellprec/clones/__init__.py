"""Samples × clones: diversity, and which clones grow or fall."""

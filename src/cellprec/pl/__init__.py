"""Plots, one kind a file: data first, axes back, nothing shown or saved."""

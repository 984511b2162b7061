"""The study as its user describes it."""

"""What each dye shows in each detector: read from controls, taken out, and what is left of it."""

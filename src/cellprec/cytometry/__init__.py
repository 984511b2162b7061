"""Raw events become clean, gated, clustered, named events."""

"""Studies with known truth, written as real files."""

"""One chapter of the report per file: ``section(run, study)`` gives it, or None where there is no such data."""

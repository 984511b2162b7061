"""Patients × features: what is associated with an outcome, and what foretells it."""

"""Which events are no single, whole, living, rightly measured cell."""

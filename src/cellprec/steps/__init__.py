"""The pipeline, one thin file per stage."""

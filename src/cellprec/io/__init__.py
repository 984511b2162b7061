"""One file per format: bytes to AnnData and back."""

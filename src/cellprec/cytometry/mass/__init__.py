"""What mass cytometry needs beyond that: beads over runs, metal barcodes, spillover of isotopes."""

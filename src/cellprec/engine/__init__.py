"""What is due, in order, in parallel; atomic artifacts; what ran on what."""

"""Training objectives, one file for each published method."""

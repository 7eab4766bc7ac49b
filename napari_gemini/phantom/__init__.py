"""Synthetic cohorts with known correspondence, in 2D and 3D, for the demo, tests and training."""

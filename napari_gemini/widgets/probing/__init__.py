"""The Probe dock: where one voxel goes, and what resembles it."""

"""The Features dock: an embedding of voxel features, brushed both ways."""

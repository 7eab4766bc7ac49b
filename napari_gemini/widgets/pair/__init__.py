"""The Correspondence dock: two scans and the deformation between them."""

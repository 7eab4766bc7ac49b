"""Displacement fields in one place: make them, apply them, keep them in files."""

from __future__ import annotations

from napari_gemini.volumes.applying import apply_field, map_points, moving_points
from napari_gemini.volumes.displacement import (
    DisplacementField,
    field_bytes,
    identity_field,
    lattice_for,
    total_field,
)
from napari_gemini.volumes.field_files import field_to_itk, read_field, write_field

__all__ = [
    "DisplacementField",
    "apply_field",
    "field_bytes",
    "field_to_itk",
    "identity_field",
    "lattice_for",
    "map_points",
    "moving_points",
    "read_field",
    "total_field",
    "write_field",
]

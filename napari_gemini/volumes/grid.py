"""The study grid in one place: choose it, place scans in it, take them there and back."""

from __future__ import annotations

from napari_gemini.volumes.placing import center_of_mass, place_by_affine, place_by_center_of_mass
from napari_gemini.volumes.resampling import (
    image_from_grid,
    image_to_grid,
    labels_from_grid,
    labels_to_grid,
    points_from_grid,
    points_to_grid,
    probabilities_from_grid,
)
from napari_gemini.volumes.study_grid import (
    Placement,
    StudyGrid,
    check_fits,
    choose_grid,
    grid_to_voxel,
    overhang,
    voxel_to_grid,
)

__all__ = [
    "Placement",
    "StudyGrid",
    "center_of_mass",
    "check_fits",
    "choose_grid",
    "grid_to_voxel",
    "image_from_grid",
    "image_to_grid",
    "labels_from_grid",
    "labels_to_grid",
    "overhang",
    "place_by_affine",
    "place_by_center_of_mass",
    "points_from_grid",
    "points_to_grid",
    "probabilities_from_grid",
    "voxel_to_grid",
]

"""Images, labels and points to the study grid and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_gemini.volumes.geometry import FloatArray, transform_points
from napari_gemini.volumes.sampling import (
    inside_mask,
    sample_linear,
    sample_nearest,
    slab_positions,
    slabs,
)
from napari_gemini.volumes.study_grid import Placement, StudyGrid, grid_to_voxel, voxel_to_grid
from napari_gemini.volumes.volume import Volume


def image_to_grid(
    volume: Volume, grid: StudyGrid, placement: Placement, data: NDArray[Any] | None = None
) -> NDArray[np.float32]:
    """Resample a scan onto the study grid, linearly.

    Parameters
    ----------
    volume
        The scan.
    grid, placement
        Where it goes.
    data
        Another array on the grid of the scan (normalised values); its own voxels by default.

    Returns
    -------
    ndarray
        float32 (i, j[, k]) of the grid's shape. The edge is kept to half a voxel; beyond, the
        smallest value of the scan.
    """
    data = volume.data if data is None else data
    matrix = grid_to_voxel(volume, grid, placement)
    result = np.empty(grid.shape, dtype=np.float32)
    outside = float(data.min())
    for slab in slabs(grid.shape):
        result[slab] = sample_linear(data, slab_positions(matrix, grid.shape, slab), outside)
    return result


def labels_to_grid(
    volume: Volume, grid: StudyGrid, placement: Placement, data: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Resample a label map onto the study grid: each grid voxel takes the voxel it lies in.

    Parameters
    ----------
    volume, grid, placement, data
        As for :func:`image_to_grid`.

    Returns
    -------
    ndarray
        (i, j[, k]) of the type of the labels; 0 beyond the scan.
    """
    data = volume.data if data is None else data
    matrix = grid_to_voxel(volume, grid, placement)
    result = np.empty(grid.shape, dtype=data.dtype)
    for slab in slabs(grid.shape):
        result[slab] = sample_nearest(data, slab_positions(matrix, grid.shape, slab))
    return result


def image_from_grid(
    array: NDArray[Any],
    grid: StudyGrid,
    placement: Placement,
    like: Volume,
    outside: float | None = None,
) -> NDArray[np.float32]:
    """Resample an array on the study grid onto the voxels of a scan, linearly.

    Parameters
    ----------
    array
        (i, j[, k]) on the grid.
    grid, placement
        The grid, and how the scan lies in it.
    like
        The scan.
    outside
        The value where the scan sticks out of the grid; the smallest of the array by default.

    Returns
    -------
    ndarray
        float32 of the scan's shape.
    """
    _check_on_grid(array.shape, grid)
    matrix = voxel_to_grid(like, grid, placement)
    result = np.empty(like.shape, dtype=np.float32)
    beyond = float(array.min()) if outside is None else outside
    for slab in slabs(like.shape):
        result[slab] = sample_linear(array, slab_positions(matrix, like.shape, slab), beyond)
    return result


def labels_from_grid(
    array: NDArray[Any], grid: StudyGrid, placement: Placement, like: Volume
) -> NDArray[Any]:
    """Resample labels on the study grid onto the voxels of a scan (nearest, 0 outside the grid)."""
    _check_on_grid(array.shape, grid)
    matrix = voxel_to_grid(like, grid, placement)
    result = np.empty(like.shape, dtype=array.dtype)
    for slab in slabs(like.shape):
        result[slab] = sample_nearest(array, slab_positions(matrix, like.shape, slab))
    return result


def probabilities_from_grid(
    probs: NDArray[Any], grid: StudyGrid, placement: Placement, like: Volume
) -> NDArray[Any]:
    """Turn class probabilities on the study grid into labels on the voxels of a scan.

    Every class is interpolated linearly and the largest wins, which keeps borders smoother than
    labels taken from the grid would be.

    Parameters
    ----------
    probs
        (C, i, j[, k]) on the grid; class 0 is the background. Any monotone score does.
    grid, placement, like
        As for :func:`image_from_grid`.

    Returns
    -------
    ndarray
        uint8 (uint16 above 256 classes) of the scan's shape; 0 outside the grid; a tie goes to the
        smaller label.
    """
    _check_on_grid(probs.shape[1:], grid)
    matrix = voxel_to_grid(like, grid, placement)
    result = np.zeros(like.shape, dtype=np.uint8 if len(probs) <= 256 else np.uint16)
    for slab in slabs(like.shape):
        positions = slab_positions(matrix, like.shape, slab)
        best = sample_linear(probs[0], positions, None)
        labels = result[slab]
        for label in range(1, len(probs)):
            score = sample_linear(probs[label], positions, None)
            better = score > best
            labels[better] = label
            np.copyto(best, score, where=better)
        labels[~inside_mask(positions, grid.shape)] = 0
    return result


def points_to_grid(points: ArrayLike, grid: StudyGrid, placement: Placement) -> FloatArray:
    """Map points (..., d) of a scan's world (RAS mm) to continuous study-grid voxels (..., d)."""
    return transform_points(np.linalg.inv(grid.affine) @ placement.inverse, points)


def points_from_grid(points: ArrayLike, grid: StudyGrid, placement: Placement) -> FloatArray:
    """Map continuous study-grid voxels (..., d) to points (..., d) of a scan's world (RAS mm)."""
    return transform_points(placement.matrix @ grid.affine, points)


def _check_on_grid(shape: Sequence[int], grid: StudyGrid) -> None:
    if tuple(shape) != grid.shape:
        raise ValueError(f"an array of shape {tuple(shape)} is not on the grid {grid.shape}")

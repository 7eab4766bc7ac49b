"""Inverse consistency of two total maps in mm (numpy, no torch)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from napari_gemini.errors import InputError

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ConsistencySummary:
    """Inverse-consistency error of a pair in mm.

    Attributes
    ----------
    error
        ``S`` float32, distance in mm at every fixed voxel; NaN where the counterpart lies outside
        the moving scan.
    mean, p95
        Over the voxels of the mask that have an error; None when there are none.
    """

    error: NDArray[np.float32]
    mean: float | None
    p95: float | None

    def report(self) -> dict[str, float | None]:
        """Return the numbers by their names in a report."""
        return {"mean": self.mean, "p95": self.p95}


def inverse_consistency_mm(
    there: FloatArray,
    back: FloatArray,
    fixed_affine: FloatArray,
    moving_affine: FloatArray,
    mask: NDArray[Any] | None = None,
) -> ConsistencySummary:
    """Measure how far, in mm, a fixed point lands from itself after going there and back.

    Parameters
    ----------
    there
        ``(d, *S)``: counterpart in the moving scan's world of every fixed voxel centre, mm.
    back
        ``(d, *T)``: counterpart in the fixed scan's world of every moving voxel centre, mm.
    fixed_affine, moving_affine
        ``(4, 4)`` voxel index to mm of the two scans, in the same world axes as the maps.
    mask
        ``S``, non-zero where the summary counts; everywhere by default.

    Returns
    -------
    ConsistencySummary
        Map and summary.

    Raises
    ------
    InputError
        If the maps are of different dimension or an affine is singular.
    """
    dimension = len(there)
    if there.ndim != dimension + 1 or back.ndim != dimension + 1 or len(back) != dimension:
        raise InputError(
            "The two maps of a pair need the same number of axes; "
            f"these have the shapes {there.shape} and {back.shape}."
        )
    linear = np.asarray(moving_affine, dtype=np.float64)[:dimension, :dimension]
    if abs(np.linalg.det(linear)) < 1e-12:
        raise InputError("The moving scan's affine is singular; its header has to be mended first.")
    error = np.empty(there.shape[1:], dtype=np.float32)
    inverse = np.linalg.inv(linear)
    origin = np.asarray(moving_affine, dtype=np.float64)[:dimension, 3]
    for plane in range(len(error)):
        target = np.asarray(there[:, plane], dtype=np.float64).reshape(dimension, -1)
        index = inverse @ (target - origin[:, None])
        landed = np.stack(
            [map_coordinates(back[k], index, order=1, mode="nearest") for k in range(dimension)]
        )
        home = _plane_points(error.shape, plane, fixed_affine)
        distance = np.linalg.norm(landed - home, axis=0)
        limit = np.array(back.shape[1:])[:, None] - 0.5
        outside = ((index < -0.5) | (index > limit)).any(axis=0)
        distance[outside] = np.nan
        error[plane] = distance.reshape(error.shape[1:])
    counted = np.isfinite(error)
    if mask is not None:
        counted &= np.asarray(mask).reshape(error.shape) != 0
    values = error[counted]
    if not len(values):
        return ConsistencySummary(error, None, None)
    return ConsistencySummary(
        error, float(values.mean(dtype=np.float64)), float(np.percentile(values, 95))
    )


def _plane_points(shape: tuple[int, ...], plane: int, affine: FloatArray) -> NDArray[np.float64]:
    """World position of every voxel of one plane along the first axis, (d, n)."""
    dimension = len(shape)
    index = np.indices((1, *shape[1:]), dtype=np.float64).reshape(dimension, -1)
    index[0] += plane
    matrix = np.asarray(affine, dtype=np.float64)
    points: NDArray[np.float64] = (
        matrix[:dimension, :dimension] @ index + matrix[:dimension, 3][:, None]
    )
    return points

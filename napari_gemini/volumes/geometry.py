"""Affines of scans: RAS and LPS, spacing and direction, permuted and flipped axes.

Everywhere a scan is an array in the voxel order of its file with a 4x4 affine from voxel index to
RAS millimetres (right, anterior, superior are positive). ITK, DICOM and displacement fields on disk
use LPS instead; the two differ by the sign of the first two coordinates. 2D images use the same
4x4 affine with an identity third row and column.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def ras_lps(affine: ArrayLike) -> FloatArray:
    """Turn an affine with an RAS world into one with an LPS world, or the other way round.

    Parameters
    ----------
    affine
        (4, 4) matrix from anything to world millimetres.

    Returns
    -------
    ndarray
        (4, 4) float64; applying the function twice gives the input back exactly.
    """
    flipped = np.array(affine, dtype=np.float64)
    flipped[:2] *= -1.0
    return flipped


def flip_ras_lps(points: ArrayLike) -> FloatArray:
    """Turn points or vectors (..., d) from RAS to LPS or back: the first two coordinates flip."""
    flipped = np.array(points, dtype=np.float64)
    flipped[..., :2] *= -1.0
    return flipped


def transform_points(matrix: ArrayLike, points: ArrayLike) -> FloatArray:
    """Apply a 4x4 matrix to points.

    Parameters
    ----------
    matrix
        (4, 4) affine; for 2D points its third row and column are ignored.
    points
        (..., d) with d 2 or 3.

    Returns
    -------
    ndarray
        (..., d) float64.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    points = np.asarray(points, dtype=np.float64)
    d = points.shape[-1]
    return points @ matrix[:d, :d].T + matrix[:d, 3]


def spacing_of(affine: ArrayLike, ndim: int) -> tuple[float, ...]:
    """Millimetres between neighbouring voxels along each voxel axis (column lengths)."""
    matrix = np.asarray(affine, dtype=np.float64)[:ndim, :ndim]
    return tuple(float(value) for value in np.sqrt((matrix**2).sum(axis=0)))


def decompose(affine: ArrayLike, ndim: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Split an affine into origin, spacing and direction, in the world the affine has.

    Parameters
    ----------
    affine
        (4, 4) voxel index to world millimetres.
    ndim
        2 or 3.

    Returns
    -------
    origin, spacing, direction
        (d,), (d,) and (d, d), with ``affine[:d, :d] == direction * spacing``; the columns of the
        direction have length 1 (they are orthogonal only where the affine has no shear).
    """
    matrix = np.asarray(affine, dtype=np.float64)
    spacing = np.array(spacing_of(matrix, ndim))
    return matrix[:ndim, 3].copy(), spacing, matrix[:ndim, :ndim] / spacing


def compose(origin: ArrayLike, spacing: ArrayLike, direction: ArrayLike) -> FloatArray:
    """Build the 4x4 affine of an origin (d,), a spacing (d,) and a direction (d, d)."""
    origin = np.asarray(origin, dtype=np.float64)
    affine = np.eye(4)
    d = len(origin)
    affine[:d, :d] = np.asarray(direction, dtype=np.float64).reshape(d, d) * np.asarray(spacing)
    affine[:d, 3] = origin
    return affine


def corner_indices(shape: Sequence[int]) -> FloatArray:
    """Voxel indices of the corners of an array: (2**d, d) float64."""
    return np.array(list(product(*[(0.0, float(n - 1)) for n in shape])))


def largest_distance(first: ArrayLike, second: ArrayLike, shape: Sequence[int]) -> float:
    """Millimetres by which two affines differ at most on the voxels of one array.

    The difference of two affine maps is affine, so its largest length lies at a corner.
    """
    corners = corner_indices(shape)
    difference = transform_points(first, corners) - transform_points(second, corners)
    return float(np.sqrt((difference**2).sum(axis=1)).max())


def bounding_extent(affine: ArrayLike, shape: Sequence[int]) -> FloatArray:
    """Size (d,) in mm of the world-aligned box around all voxel centres of an array."""
    d = len(shape)
    matrix = np.abs(np.asarray(affine, dtype=np.float64)[:d, :d])
    return np.asarray(matrix @ (np.array(shape, dtype=np.float64) - 1.0))


def canonical_axes(affine: ArrayLike, ndim: int) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Find the voxel axis and sign that come closest to each world axis.

    Parameters
    ----------
    affine
        (4, 4) voxel index to world.
    ndim
        2 or 3.

    Returns
    -------
    permutation, flips
        ``permutation[w]`` is the voxel axis that runs along world axis `w`; ``flips[w]`` says
        whether it runs against it.
    """
    _, _, direction = decompose(affine, ndim)
    best: tuple[float, tuple[int, ...]] = (-1.0, ())
    for permutation in _permutations(ndim):
        score = float(sum(abs(direction[w, axis]) for w, axis in enumerate(permutation)))
        if score > best[0] + 1e-9:
            best = (score, permutation)
    permutation = best[1]
    flips = tuple(bool(direction[w, axis] < 0) for w, axis in enumerate(permutation))
    return permutation, flips


def _permutations(ndim: int) -> list[tuple[int, ...]]:
    if ndim == 2:
        return [(0, 1), (1, 0)]
    return [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]


def reorient_affine(
    affine: ArrayLike, shape: Sequence[int], permutation: Sequence[int], flips: Sequence[bool]
) -> FloatArray:
    """Give the affine of an array whose axes were permuted and then flipped.

    Parameters
    ----------
    affine
        (4, 4) of the array before.
    shape
        Its shape.
    permutation, flips
        New axis `w` is old axis ``permutation[w]``, reversed where ``flips[w]``.

    Returns
    -------
    ndarray
        (4, 4) affine that gives every voxel the world position it had.
    """
    d = len(shape)
    new_to_old = np.eye(4)
    new_to_old[:d, :d] = 0.0
    for new_axis, (old_axis, flip) in enumerate(zip(permutation, flips, strict=True)):
        new_to_old[old_axis, new_axis] = -1.0 if flip else 1.0
        new_to_old[old_axis, 3] = shape[old_axis] - 1.0 if flip else 0.0
    return np.asarray(affine, dtype=np.float64) @ new_to_old


def reorient_array(data: NDArray, permutation: Sequence[int], flips: Sequence[bool]) -> NDArray:
    """Permute the axes of an array and then flip some (a view, nothing is copied)."""
    moved = np.transpose(data, permutation)
    return moved[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]


def orthonormal_error(affine: ArrayLike, ndim: int) -> float:
    """Largest entry of ``direction.T @ direction - 1``: 0 without shear."""
    _, _, direction = decompose(affine, ndim)
    return float(np.abs(direction.T @ direction - np.eye(ndim)).max())

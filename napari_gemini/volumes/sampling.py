"""Values of an array between its voxels, under the rules that ITK has.

A voxel is a box: an image reaches half a voxel beyond its outermost voxel centres, where it keeps
the value of the edge, and is nothing further out. A position half way between two voxels belongs to
the one with the higher index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gemini.volumes.geometry import FloatArray

# Positions that are handled at a time: enough to be fast, little enough to need under 100 MB.
CHUNK = 1 << 20


def inside_mask(positions: FloatArray, shape: Sequence[int]) -> NDArray[np.bool_]:
    """Whether continuous voxel positions (d, ...) lie on an array of that shape."""
    inside = np.ones(positions.shape[1:], dtype=bool)
    for axis, n in enumerate(shape):
        inside &= (positions[axis] >= -0.5) & (positions[axis] < n - 0.5)
    return inside


def sample_linear(
    data: NDArray[Any], positions: FloatArray, outside: float | None = 0.0
) -> FloatArray:
    """Interpolate linearly, in float64.

    Parameters
    ----------
    data
        (i, j[, k]) array.
    positions
        (d, ...) continuous voxel positions.
    outside
        The value beyond the array; None keeps the edge for ever.

    Returns
    -------
    ndarray
        (...) float64.
    """
    values = np.empty(positions.shape[1:], dtype=np.float64)
    flat = values.reshape(-1)  # scipy wants at least one axis
    ndimage.map_coordinates(
        data, positions.reshape(len(positions), -1), output=flat, order=1, mode="nearest"
    )
    if outside is not None:
        values[~inside_mask(positions, data.shape)] = outside
    return values


def sample_nearest(data: NDArray[Any], positions: FloatArray, outside: float = 0) -> NDArray[Any]:
    """Take the value of the voxel that a position lies in.

    Parameters
    ----------
    data
        (i, j[, k]) array of any type.
    positions
        (d, ...) continuous voxel positions.
    outside
        The value beyond the array.

    Returns
    -------
    ndarray
        (...) of the type of `data`.
    """
    inside = inside_mask(positions, data.shape)
    values = np.full(positions.shape[1:], outside, dtype=data.dtype)
    nearest = np.floor(positions[:, inside] + 0.5).astype(np.intp)
    values[inside] = data[tuple(nearest)]
    return values


def slabs(shape: Sequence[int], chunk: int = CHUNK) -> Iterator[slice]:
    """Cut an array along its first axis into slabs of about `chunk` voxels."""
    rows = max(1, chunk // max(1, int(np.prod(shape[1:]))))
    for start in range(0, shape[0], rows):
        yield slice(start, min(start + rows, shape[0]))


def slab_positions(matrix: FloatArray, shape: Sequence[int], slab: slice) -> FloatArray:
    """Map the voxels of a slab through an affine.

    Parameters
    ----------
    matrix
        (4, 4) from voxel index to anything.
    shape
        Of the whole array.
    slab
        Which part along the first axis.

    Returns
    -------
    ndarray
        (d, rows, ...) float64.
    """
    d = len(shape)
    axes = [np.arange(slab.start, slab.stop, dtype=np.float64)]
    axes += [np.arange(n, dtype=np.float64) for n in shape[1:]]
    positions = np.empty((d, *(len(axis) for axis in axes)))
    for row in range(d):
        positions[row] = matrix[row, 3]
        for axis, values in enumerate(axes):
            along = [1] * d
            along[axis] = -1
            positions[row] += (matrix[row, axis] * values).reshape(along)
    return positions

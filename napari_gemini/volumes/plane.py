"""The place of a 2D image: a slice in space becomes a plane with its own two coordinates.

A slice that lies in an anatomical plane keeps two of the three world coordinates: right and
anterior for an axial slice, right and superior for a coronal one, anterior and superior for a
sagittal one. A tilted slice is turned into the nearest of these planes without changing lengths or
angles, since a projection would shorten the anatomy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from napari_gemini.volumes.geometry import FloatArray

_EXACT = 1e-6


def squeezed_axes(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the axes that stay when a scan of one slice becomes an image.

    Parameters
    ----------
    shape
        Two or three numbers of voxels.

    Returns
    -------
    tuple of int
        All axes, or the two that are longer than 1 where exactly one axis has a single voxel.
    """
    if len(shape) == 3 and sum(n == 1 for n in shape) == 1:
        return tuple(axis for axis, n in enumerate(shape) if n > 1)
    return tuple(range(len(shape)))


def plane_affine(affine: ArrayLike, axes: Sequence[int] = (0, 1)) -> FloatArray:
    """Turn the affine of a slice in space into a 2D affine.

    Parameters
    ----------
    affine
        (4, 4) voxel index to RAS mm of the slice.
    axes
        Its two in-plane voxel axes.

    Returns
    -------
    ndarray
        (4, 4) with identity third row and column. For an axial slice it is the upper left part of
        the input, exactly.
    """
    affine = np.asarray(affine, dtype=np.float64)
    columns = affine[:3, list(axes)]
    normal = np.cross(columns[:, 0], columns[:, 1])
    # The anatomical plane nearest to the slice; an exact tie goes to the axial one.
    dropped = 2 - int(np.argmax(np.abs(normal)[::-1]))
    kept = [world for world in range(3) if world != dropped]
    flat = np.eye(4)
    flat[:2, :2] = _unfold(columns[kept], columns.T @ columns)
    flat[:2, 3] = affine[kept, 3]
    return flat


def _unfold(projected: FloatArray, gram: FloatArray) -> FloatArray:
    """Find the matrix nearest to `projected` whose columns have the lengths and angle of `gram`."""
    if np.abs(projected.T @ projected - gram).max() <= _EXACT * np.abs(gram).max():
        return projected
    values, vectors = np.linalg.eigh(gram)
    if values.min() <= 0:
        return projected
    root = vectors * np.sqrt(values) @ vectors.T
    left, _, right = np.linalg.svd(projected @ np.linalg.inv(root))
    return np.asarray(left @ right @ root)

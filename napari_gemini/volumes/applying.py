"""Send points and images through a displacement field, as ITK does."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_gemini.volumes.displacement import DisplacementField
from napari_gemini.volumes.field_files import field_to_itk
from napari_gemini.volumes.geometry import FloatArray, flip_ras_lps, transform_points
from napari_gemini.volumes.itk_image import array_to_itk, itk_geometry, itk_to_array
from napari_gemini.volumes.sampling import inside_mask, sample_linear, slab_positions, slabs
from napari_gemini.volumes.volume import Volume


def map_points(field: DisplacementField, points: ArrayLike) -> FloatArray:
    """Map points of the fixed world to the moving world.

    Parameters
    ----------
    field
        The field.
    points
        (..., d) RAS mm.

    Returns
    -------
    ndarray
        (..., d) RAS mm, float64. Beyond half a step outside the lattice points stay where they are.
    """
    points = np.asarray(points, dtype=np.float64)
    positions = np.moveaxis(transform_points(np.linalg.inv(field.affine), points), -1, 0)
    vectors = np.stack([sample_linear(part, positions, 0.0) for part in field.vectors], axis=-1)
    return points + flip_ras_lps(vectors)


def moving_points(field: DisplacementField, fixed: Volume) -> FloatArray:
    """Map every voxel centre of the fixed scan to the moving world.

    Parameters
    ----------
    field
        The field.
    fixed
        The scan that it was made for.

    Returns
    -------
    ndarray
        (d, i, j[, k]) RAS mm, float64: the total map, affine parts and all.
    """
    to_lattice = np.linalg.inv(field.affine) @ fixed.affine
    result = np.empty((field.ndim, *fixed.shape))
    for slab in slabs(fixed.shape):
        positions = slab_positions(to_lattice, fixed.shape, slab)
        inside = inside_mask(positions, field.shape)
        result[:, slab] = slab_positions(fixed.affine, fixed.shape, slab)
        for axis, part in enumerate(field.vectors):
            vector = sample_linear(part, positions, None)
            vector[~inside] = 0.0
            result[axis, slab] += -vector if axis < 2 else vector
    return result


def apply_field(
    field: DisplacementField, moving: Volume, fixed: Volume, *, labels: bool = False
) -> NDArray[Any]:
    """Bring a moving scan or its labels onto the voxels of the fixed scan.

    The work is done by ITK, with the positions that ITK computes from the two files. So the field
    on disk, applied to the files on disk by SimpleITK (or ANTs, or Slicer), gives the same voxels.

    Parameters
    ----------
    field
        From the fixed to the moving scan.
    moving
        What is sampled.
    fixed
        Whose voxels the result has.
    labels
        Take the voxel that a position lies in (a tie goes to the higher index) instead of
        interpolating linearly.

    Returns
    -------
    ndarray
        (i, j[, k]) of the fixed scan's shape: labels in the type of `moving`, images as float32
        (float64 where `moving` has 64-bit floats or integers above 16 bits). The edge of the moving
        scan is kept to half a voxel; beyond, 0.
    """
    import SimpleITK as sitk

    data = moving.data
    if not labels:
        wide = data.dtype.itemsize > 4 or (data.dtype.kind in "iu" and data.dtype.itemsize > 2)
        data = data.astype(np.float64 if wide else np.float32, copy=False)
    image = array_to_itk(data, itk_geometry(moving))
    geometry = itk_geometry(fixed)
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in fixed.shape])
    resampler.SetOutputOrigin(geometry.origin)
    resampler.SetOutputSpacing(geometry.spacing)
    resampler.SetOutputDirection(geometry.direction)
    resampler.SetTransform(field_to_itk(field))
    resampler.SetInterpolator(sitk.sitkNearestNeighbor if labels else sitk.sitkLinear)
    resampler.SetDefaultPixelValue(0)
    result = itk_to_array(resampler.Execute(image))
    return result.astype(moving.data.dtype, copy=False) if labels else result

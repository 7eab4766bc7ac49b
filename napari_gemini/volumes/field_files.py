"""Displacement fields in and out of files that every ITK program reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gemini.errors import InputError
from napari_gemini.volumes.atomic import atomic_path, make_room
from napari_gemini.volumes.checks import check_file, damaged
from napari_gemini.volumes.displacement import DisplacementField, field_bytes
from napari_gemini.volumes.itk_image import array_to_itk, geometry_of_affine, geometry_of_image
from napari_gemini.volumes.itk_writing import NOT_READ_BACK, raise_itk_failure

if TYPE_CHECKING:
    import SimpleITK as sitk

TRANSFORM_SUFFIXES = (".h5", ".hdf5", ".tfm")
# More than the header of any of these formats takes.
_HEADER_BYTES = 65_536
IMAGE_SUFFIXES = (".nrrd", ".mha", ".nii", ".nii.gz")


def write_field(path: str | Path, field: DisplacementField) -> None:
    """Write a displacement field, whole or not at all.

    Parameters
    ----------
    path
        ``.h5`` (an ITK ``DisplacementFieldTransform``: float64, LPS mm, fixed to moving), or
        ``.nrrd``, ``.mha``, ``.nii.gz`` (an image of such vectors).
    field
        The field.

    Raises
    ------
    InputError
        If the suffix is none of these, or the folder is missing or read-only.
    EngineError
        If the disk is full.
    """
    import SimpleITK as sitk

    path = Path(path)
    as_transform = _is_transform(path)
    with atomic_path(path) as temporary:
        make_room(temporary, field_bytes(field.shape) + _HEADER_BYTES)
        try:
            if as_transform:
                sitk.WriteTransform(field_to_itk(field), str(temporary))
            else:
                sitk.WriteImage(_vector_image(field), str(temporary), useCompression=False)
            # ITK does not notice every write that fails.
            if not np.array_equal(_read(temporary).vectors, field.vectors):
                raise RuntimeError(NOT_READ_BACK)
        except RuntimeError as error:
            raise_itk_failure(error, temporary, field_bytes(field.shape))


def read_field(path: str | Path) -> DisplacementField:
    """Read a displacement field written by this program, SimpleITK, ANTs or Slicer.

    Parameters
    ----------
    path
        As for :func:`write_field`.

    Returns
    -------
    DisplacementField
        float64.

    Raises
    ------
    InputError
        If the file is missing, damaged, or holds something else.
    """
    path = Path(path)
    _is_transform(path)
    check_file(path)
    try:
        return _read(path)
    except RuntimeError as error:
        raise damaged(path, "no displacement field can be read from it") from error


def field_to_itk(field: DisplacementField) -> sitk.DisplacementFieldTransform:
    """Give the SimpleITK transform of a field."""
    import SimpleITK as sitk

    return sitk.DisplacementFieldTransform(_vector_image(field))


def _vector_image(field: DisplacementField) -> sitk.Image:
    geometry = geometry_of_affine(field.affine, field.shape)
    return array_to_itk(np.moveaxis(field.vectors, 0, -1), geometry, vectors=True)


def _read(path: Path) -> DisplacementField:
    import SimpleITK as sitk

    if _is_transform(path):
        transform = sitk.ReadTransform(str(path))
        if transform.GetTransformEnum() == sitk.sitkComposite:
            transform = _only_part(path, sitk.CompositeTransform(transform))
        if transform.GetTransformEnum() != sitk.sitkDisplacementField:
            raise InputError(
                f"{path} holds a {transform.GetName()}, not a displacement field; give field.h5."
            )
        image = sitk.DisplacementFieldTransform(transform).GetDisplacementField()
    else:
        image = sitk.ReadImage(str(path))
        if image.GetNumberOfComponentsPerPixel() != image.GetDimension():
            raise InputError(
                f"{path} holds {image.GetNumberOfComponentsPerPixel()} values per voxel, not "
                f"displacements of {image.GetDimension()}; give a displacement field."
            )
    array: Any = sitk.GetArrayViewFromImage(image)
    geometry = geometry_of_image(image)
    # (k, j, i, d) to (d, i, j, k).
    vectors = np.ascontiguousarray(np.transpose(array), dtype=np.float64)
    return DisplacementField(vectors, geometry.affine)


def _only_part(path: Path, composite: sitk.CompositeTransform) -> sitk.Transform:
    if composite.GetNumberOfTransforms() != 1:
        raise InputError(
            f"{path} holds {composite.GetNumberOfTransforms()} transforms in a row; give a single "
            "displacement field."
        )
    return composite.GetNthTransform(0)


def _is_transform(path: Path) -> bool:
    name = path.name.lower()
    if name.endswith(TRANSFORM_SUFFIXES):
        return True
    if name.endswith(IMAGE_SUFFIXES):
        return False
    raise InputError(f"{path} has no suffix for a displacement field; use .h5, .nrrd or .nii.gz.")

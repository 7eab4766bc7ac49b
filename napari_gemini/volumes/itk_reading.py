"""Read NRRD, MetaImage, TIFF and DICOM files with SimpleITK."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gemini.errors import InputError
from napari_gemini.volumes.checks import check_announced_size, check_file, damaged
from napari_gemini.volumes.itk_image import geometry_of_image, itk_to_array, quiet_itk
from napari_gemini.volumes.plane import plane_affine, squeezed_axes
from napari_gemini.volumes.text_headers import check_meta, check_nrrd
from napari_gemini.volumes.volume import Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

# Resolutions that programs write into pictures without having measured anything.
_EMPTY_DPI = (72.0, 96.0, 100.0, 150.0, 200.0, 300.0, 600.0)
# No codec of TIFF or DICOM shrinks grey values further.
_LARGEST_RATIO = 4096


def read_with_itk(path: Path) -> Volume:
    """Read one file.

    Parameters
    ----------
    path
        ``.nrrd``, ``.nhdr``, ``.mha``, ``.mhd``, ``.tif``, ``.tiff`` or ``.dcm``.

    Returns
    -------
    Volume
        The header is the :class:`~napari_gemini.volumes.itk_image.ItkGeometry` of the file.

    Raises
    ------
    InputError
        If it is damaged, not of its kind, or has more than one value per voxel.
    """
    import SimpleITK as sitk

    size = check_file(path)
    suffix = path.suffix.lower()
    checks: dict[str, Callable[[Path], None]] = {
        ".nrrd": check_nrrd,
        ".nhdr": check_nrrd,
        ".mha": check_meta,
        ".mhd": check_meta,
        ".tif": _check_tiff,
        ".tiff": _check_tiff,
    }
    checks.get(suffix, _check_nothing)(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    image_io = {".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO", ".dcm": "GDCMImageIO"}
    reader.SetImageIO(
        image_io.get(suffix, "TIFFImageIO" if suffix.startswith(".tif") else "MetaImageIO")
    )
    try:
        with quiet_itk():
            reader.ReadImageInformation()
        _check_voxels(path, reader, 4 * size if suffix in checks else size)
        if suffix.startswith(".tif") and reader.GetDimension() > 2:
            raise InputError(f"{path} has several pages; give one 2D image per TIFF file.")
        with quiet_itk():
            image = reader.Execute()
    except RuntimeError as error:
        raise explain(path, error) from error
    known = _spacing_known(path, image)
    return volume_of_image(image, path, known)


def volume_of_image(image: sitk.Image, path: Path, spacing_known: bool = True) -> Volume:
    """Turn a SimpleITK image of one value per voxel into a volume.

    Parameters
    ----------
    image
        2D, 3D, or with axes of a single voxel beyond.
    path
        Where it came from.
    spacing_known
        Whether its spacing means millimetres.

    Raises
    ------
    InputError
        If it has more than three axes, or fewer than two that are longer than one voxel.
    """
    geometry = geometry_of_image(image)
    data = itk_to_array(image)
    if geometry.ndim > 3:
        raise InputError(f"{path} is a {geometry.ndim}D image; give a 2D or 3D image.")
    axes = squeezed_axes(geometry.shape)
    if sum(n > 1 for n in geometry.shape) < 2:
        raise InputError(f"{path} is not an image of two or three dimensions ({geometry.shape}).")
    affine = geometry.affine
    if len(axes) < geometry.ndim:
        affine = plane_affine(affine, axes)
        data = data.reshape([geometry.shape[axis] for axis in axes], order="F")
    return Volume(data, affine, spacing_known, path, geometry)


def explain(path: Path, error: RuntimeError) -> InputError:
    """Turn an exception of SimpleITK about a file into a sentence."""
    text = str(error)
    if "determinant is 0" in text:
        return InputError(
            f"{path} has a singular affine (two of its axes run in one direction); write its "
            "orientation anew and try again."
        )
    if "Zero-valued spacing" in text or "Negative spacing" in text:
        return InputError(
            f"{path} has a spacing of zero or less along an axis; correct the spacing in its "
            "header."
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reason = lines[-1].rstrip(".") if lines else "it cannot be decoded"
    return damaged(path, reason)


def _check_nothing(path: Path) -> None:
    """Leave everything to ITK."""


def _check_tiff(path: Path) -> None:
    with path.open("rb") as handle:
        magic = handle.read(4)
    if magic not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        raise InputError(f"{path} is not a TIFF image; check what kind of file it is.")


def _check_voxels(path: Path, reader: Any, size: int) -> None:
    import SimpleITK as sitk

    kind = reader.GetPixelID()
    channels = int(reader.GetNumberOfComponents())
    if kind in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64):
        raise InputError(f"{path} has complex voxels; convert it to magnitudes.")
    if channels in (3, 4) and _bytes_of(reader) == 1:
        raise InputError(f"{path} is a colour (RGB) image; convert it to grey values.")
    if channels > 1:
        raise InputError(
            f"{path} has {channels} channels per voxel; give an image with one value per voxel."
        )
    shape = [int(n) for n in reader.GetSize()]
    if len(shape) > 3 and any(n > 1 for n in shape[3:]):
        raise InputError(f"{path} is a {len(shape)}D image; give a 2D or 3D image.")
    announced = int(np.prod(shape, dtype=object)) * _bytes_of(reader)
    check_announced_size(path, announced, size * _LARGEST_RATIO, False)


def _bytes_of(reader: Any) -> int:
    import SimpleITK as sitk

    one = {sitk.sitkUInt8, sitk.sitkInt8, sitk.sitkVectorUInt8, sitk.sitkVectorInt8}
    two = {sitk.sitkUInt16, sitk.sitkInt16}
    eight = {sitk.sitkUInt64, sitk.sitkInt64, sitk.sitkFloat64}
    kind = reader.GetPixelID()
    return 1 if kind in one else 2 if kind in two else 8 if kind in eight else 4


def _spacing_known(path: Path, image: sitk.Image) -> bool:
    suffix = path.suffix.lower()
    spacing = image.GetSpacing()
    if suffix.startswith(".tif"):
        if all(value == 1.0 for value in spacing):
            return False
        dpi = 25.4 / spacing[0]
        return not any(abs(dpi - empty) < 0.01 for empty in _EMPTY_DPI)
    if suffix == ".dcm":
        tags = ("0028|0030", "0018|1164", "5200|9229", "5200|9230")
        return any(image.HasMetaDataKey(tag) for tag in tags) or image.GetDimension() == 3
    return True

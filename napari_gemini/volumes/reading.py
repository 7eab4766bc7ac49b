"""Read scans and label maps from any supported file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import InputError
from napari_gemini.volumes.checks import (
    check_file,
    check_finite,
    check_image,
    check_labels_match,
)
from napari_gemini.volumes.nifti import read_nifti
from napari_gemini.volumes.pictures import read_png
from napari_gemini.volumes.volume import Volume

__all__ = [
    "SUFFIXES",
    "check_image",
    "check_labels_match",
    "is_supported",
    "read_labels",
    "read_volume",
    "smallest_label_type",
    "suffix_of",
]

NIFTI_SUFFIXES = (".nii.gz", ".nii")
PICTURE_SUFFIXES = (".png",)
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd", ".tif", ".tiff", ".dcm")
SUFFIXES = NIFTI_SUFFIXES + PICTURE_SUFFIXES + ITK_SUFFIXES

_KINDS = "NIfTI (.nii, .nii.gz), NRRD, MHA/MHD, a DICOM folder, PNG or TIFF"


def suffix_of(path: str | Path) -> str:
    """Return the suffix that names the format, such as ``".nii.gz"``, or ``""``."""
    name = Path(path).name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


def is_supported(path: str | Path) -> bool:
    """Whether the name is one that :func:`read_volume` takes (a folder counts: DICOM)."""
    return bool(suffix_of(path)) or Path(path).is_dir()


def read_volume(
    path: str | Path, *, volume_index: int | None = None, allow_nonfinite: bool = False
) -> Volume:
    """Read a scan.

    Parameters
    ----------
    path
        NIfTI, NRRD, MHA/MHD, PNG or TIFF file, or a folder with one DICOM series.
    volume_index
        Which volume of a 4D file.
    allow_nonfinite
        Accept NaN and infinite voxels (maps that the product wrote itself may have them).

    Returns
    -------
    Volume
        Integers stay integers; a scaling in the header is applied.

    Raises
    ------
    InputError
        If there is no readable image with one value per voxel; the sentence says why.
    """
    volume = _read(Path(path), volume_index, palette_is_labels=False)
    if not allow_nonfinite:
        check_finite(volume.data, volume.name)
    return volume


def read_labels(path: str | Path) -> Volume:
    """Read a label map.

    Parameters
    ----------
    path
        Any file that :func:`read_volume` takes; a palette PNG counts by its indices.

    Returns
    -------
    Volume
        Integer voxels; whole numbers stored as floats become integers.

    Raises
    ------
    InputError
        As :func:`read_volume`, and if a value is negative or not a whole number.
    """
    volume = _read(Path(path), None, palette_is_labels=True)
    check_finite(volume.data, volume.name)
    return volume.with_data(_whole(volume.data, volume.name))


def _whole(data: NDArray[Any], name: str) -> NDArray[Any]:
    if data.size and data.min() < 0:
        raise InputError(f"{name} has negative labels ({data.min()}); labels count from 0.")
    if data.dtype.kind in "iu":
        return data
    if (data != np.rint(data)).any():
        raise InputError(
            f"{name} has labels that are not whole numbers; give a label map, not an image or a "
            "probability map."
        )
    if data.size and data.max() > np.iinfo(np.uint32).max:
        raise InputError(f"{name} has labels above {np.iinfo(np.uint32).max}; renumber them.")
    return data.astype(smallest_label_type(int(data.max(initial=0))))


def smallest_label_type(largest: int) -> np.dtype[Any]:
    """Return the smallest of uint8, uint16 and uint32 that holds a label.

    Raises
    ------
    InputError
        If none does.
    """
    for kind in (np.uint8, np.uint16, np.uint32):
        if largest <= np.iinfo(kind).max:
            return np.dtype(kind)
    raise InputError(f"The label {largest} is too large to be written; renumber the labels.")


def _read(path: Path, volume_index: int | None, palette_is_labels: bool) -> Volume:
    suffix = suffix_of(path)
    if path.is_dir():
        # SimpleITK takes long to import and is needed for some formats only.
        from napari_gemini.volumes.dicom import read_dicom_folder

        return read_dicom_folder(path)
    if not suffix:
        check_file(path)
        raise InputError(f"{path} is not a kind of image this program reads; give {_KINDS}.")
    if suffix in NIFTI_SUFFIXES:
        return read_nifti(path, volume_index)
    if volume_index not in (None, 0):
        raise InputError(f"{path} has no volume {volume_index}; only NIfTI files have several.")
    if suffix in PICTURE_SUFFIXES:
        return read_png(path, palette_is_labels)
    from napari_gemini.volumes.itk_reading import read_with_itk

    return read_with_itk(path)

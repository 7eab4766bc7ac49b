"""Read a folder that holds one DICOM series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_gemini.errors import InputError
from napari_gemini.volumes.itk_image import quiet_itk
from napari_gemini.volumes.itk_reading import explain, volume_of_image
from napari_gemini.volumes.volume import Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

_POSITION = "0020|0032"
_ORIENTATION = "0020|0037"
# Steps between slices may differ by this share (and by 0.01 mm) before a slice is missing.
_UNEVEN = 0.02


def read_dicom_folder(folder: Path) -> Volume:
    """Read the DICOM series in a folder.

    Parameters
    ----------
    folder
        Its files; what is no DICOM is passed over.

    Returns
    -------
    Volume
        Slices in the order of their positions, rescaled to the units of the modality (HU).

    Raises
    ------
    InputError
        If there is no series or more than one, if slices are missing, share a position (4D) or are
        shifted against each other (tilted gantry), or if there is more than one value per voxel.
    """
    import SimpleITK as sitk

    with quiet_itk():
        series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not series:
        raise InputError(f"{folder} is a folder without a DICOM series; give an image file.")
    if len(series) > 1:
        raise InputError(
            f"{folder} holds {len(series)} DICOM series; put each into a folder of its own and "
            "give one of them."
        )
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])
    _check_left_out(folder, names)
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames(names)
    reader.MetaDataDictionaryArrayUpdateOn()
    try:
        with quiet_itk():
            image = reader.Execute()
    except RuntimeError as error:
        raise explain(folder, error) from error
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise InputError(f"{folder} holds colour (RGB) images; convert them to grey values.")
    if len(names) > 1:
        _check_slices(folder, reader, len(names))
    return volume_of_image(image, folder)


def _check_left_out(folder: Path, names: Sequence[str]) -> None:
    """Refuse a folder with DICOM files that GDCM passed over: a truncated slice would be missing.

    Raises
    ------
    InputError
        Naming the first such file. (A DICOMDIR, the table of contents of a disc, is no slice.)
    """
    taken = {Path(name).name for name in names}
    for path in sorted(folder.iterdir()):
        if path.name in taken or path.name.upper() == "DICOMDIR" or not path.is_file():
            continue
        with path.open("rb") as handle:
            if handle.read(132)[128:] == b"DICM":
                raise InputError(
                    f"{folder} holds {path.name}, which is DICOM and no readable slice of the "
                    "series; copy it again if it is truncated, or remove it."
                )


def _check_slices(folder: Path, reader: sitk.ImageSeriesReader, count: int) -> None:
    """Make sure that the slices form the regular stack that ITK takes them for."""
    if not all(reader.HasMetaDataKey(n, tag) for n in range(count) for tag in _TAGS):
        raise InputError(
            f"{folder} holds DICOM slices without a position; export the series as NIfTI."
        )
    positions = np.array([_numbers(reader.GetMetaData(n, _POSITION)) for n in range(count)])
    turns = np.array([_numbers(reader.GetMetaData(n, _ORIENTATION)) for n in range(count)])
    if np.abs(turns - turns[0]).max() > 1e-3:
        raise InputError(
            f"{folder} holds slices that are turned against each other; give one series of "
            "parallel slices."
        )
    normal = np.cross(turns[0, :3], turns[0, 3:])
    heights = positions @ normal
    # GDCM gives up ordering where slices coincide, so they need not be neighbours.
    if np.diff(np.sort(heights)).min() < 1e-3:
        raise InputError(
            f"{folder} holds several slices at one position (a 4D series); give one 3D series."
        )
    steps = np.diff(heights)
    typical = float(np.median(steps))
    if np.abs(steps - typical).max() > max(0.01, _UNEVEN * abs(typical)):
        raise InputError(
            f"{folder} has slices {np.abs(steps).min():.3g} to {np.abs(steps).max():.3g} mm apart; "
            "a slice is missing or the spacing changes, export the series again."
        )
    sideways = positions - positions[0] - np.outer((positions - positions[0]) @ normal, normal)
    if np.abs(sideways).max() > 0.1:
        raise InputError(
            f"{folder} was scanned with a tilted gantry (slices are shifted by up to "
            f"{np.abs(sideways).max():.3g} mm); convert it to NIfTI with a tool that corrects this."
        )


_TAGS = (_POSITION, _ORIENTATION)


def _numbers(text: str) -> list[float]:
    return [float(word) for word in text.split("\\")]

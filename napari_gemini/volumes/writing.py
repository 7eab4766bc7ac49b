"""Write scans and label maps on the grid of the scan they belong to, header and all."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import InputError
from napari_gemini.volumes.atomic import atomic_path
from napari_gemini.volumes.geometry import orthonormal_error
from napari_gemini.volumes.pictures import PIXEL_AFFINE, write_png, write_tiff
from napari_gemini.volumes.reading import NIFTI_SUFFIXES, smallest_label_type, suffix_of
from napari_gemini.volumes.volume import Volume

_GZIP_LEVEL = 4


def write_volume(path: str | Path, data: NDArray[Any], like: Volume) -> None:
    """Write an image on the grid of a scan.

    Parameters
    ----------
    path
        ``.nii``, ``.nii.gz``, ``.nrrd``, ``.mha``, ``.tif`` or (2D whole numbers) ``.png``.
    data
        (i, j[, k]) array on the grid of `like`. float64 is written as float32, bool as uint8.
    like
        The scan whose place and header the file gets. From NIfTI to NIfTI, qform, sform and their
        codes are kept bit for bit.

    Raises
    ------
    InputError
        If the format cannot hold the image, or the folder is read-only.
    EngineError
        If the disk is full. In no case is a half-written file left.
    """
    path = Path(path)
    data = np.asarray(data)
    if data.shape != like.shape:
        raise ValueError(f"an array of shape {data.shape} is not on the grid {like.shape}")
    data = _storable(data)
    suffix = suffix_of(path)
    with atomic_path(path) as temporary:
        if suffix in NIFTI_SUFFIXES:
            _write_nifti(temporary, data, like, compressed=suffix == ".nii.gz")
        elif suffix == ".png":
            _check_png_place(path, like)
            write_png(temporary, data)
        elif suffix in (".tif", ".tiff"):
            write_tiff(temporary, data, like.spacing if like.spacing_known else None)
        elif suffix in (".nrrd", ".mha"):
            from napari_gemini.volumes.itk_writing import write_image

            write_image(temporary, data, like)
        else:
            raise InputError(
                f"{path} has a suffix this program does not write; use .nii.gz, .nrrd, .mha, .tif "
                "or .png."
            )


def write_labels(path: str | Path, labels: NDArray[Any], like: Volume) -> None:
    """Write a label map on the grid of a scan, as the smallest unsigned type that holds it.

    Parameters
    ----------
    path, like
        As for :func:`write_volume`.
    labels
        (i, j[, k]) array of whole numbers from 0.

    Raises
    ------
    InputError
        As :func:`write_volume`, and if a label is negative or not a whole number.
    """
    labels = np.asarray(labels)
    if labels.dtype.kind == "f":
        whole = np.rint(labels)
        if not np.array_equal(whole, labels):
            raise InputError(f"{path}: labels have to be whole numbers.")
        labels = whole.astype(np.int64)
    if labels.size and labels.min() < 0:
        raise InputError(f"{path}: labels have to be 0 or more, not {labels.min()}.")
    largest = int(labels.max(initial=0))
    write_volume(path, labels.astype(smallest_label_type(largest)), like)


def _storable(data: NDArray[Any]) -> NDArray[Any]:
    if data.dtype.kind == "b":
        return data.astype(np.uint8)
    if data.dtype.kind == "f":
        return data.astype(np.float32, copy=False)
    if data.dtype.itemsize > 4:
        # 64-bit integers are read by few programs.
        low, high = int(data.min(initial=0)), int(data.max(initial=0))
        for kind in (np.int32, np.uint32):
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return data.astype(kind)
    return data


def _write_nifti(path: Path, data: NDArray[Any], like: Volume, compressed: bool) -> None:
    header = nifti_header(like)
    header.set_data_dtype(data.dtype.newbyteorder("="))
    # Written by hand, since nibabel's images tidy the header up; and with neither a file name nor
    # the time inside, so that equal input gives equal bytes.
    with path.open("wb") as raw:
        if compressed:
            with gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0) as stream:
                _write_parts(cast(BinaryIO, stream), header, data)
        else:
            _write_parts(raw, header, data)


def _write_parts(stream: BinaryIO, header: nib.Nifti1Header, data: NDArray[Any]) -> None:
    header["vox_offset"] = 0  # nibabel then fills in what header and extensions need
    header.write_to(stream)
    stream.write(b"\0" * (int(header["vox_offset"]) - stream.tell()))
    ordered = data.astype(data.dtype.newbyteorder(header.endianness), copy=False)
    for plane in np.array_split(ordered, max(1, ordered.nbytes >> 24), axis=-1):
        stream.write(plane.tobytes(order="F"))


def nifti_header(like: Volume) -> nib.Nifti1Header:
    """Make the header of a NIfTI file on the grid of a scan.

    Parameters
    ----------
    like
        The scan. Its own NIfTI header is kept except for what belongs to its voxels (type, scaling,
        display range, intent); otherwise a header is made from its affine.

    Returns
    -------
    nibabel.Nifti1Header or nibabel.Nifti2Header
        A copy that may be changed.
    """
    if isinstance(like.header, nib.Nifti1Header):
        header = like.header.copy()
        if header["dim"][0] > 3:  # one volume of a 4D file
            header["dim"][0] = 3
            header["dim"][4:] = 1
        header.set_slope_inter(1, 0)
        header["cal_max"] = header["cal_min"] = 0
        header["intent_code"] = 0
        header["intent_name"] = b""
        return header
    header = nib.Nifti1Header() if max(like.shape) < 2**15 else nib.Nifti2Header()
    header.set_data_shape(like.shape)
    header.set_sform(like.affine, code=1)
    if orthonormal_error(like.affine, like.ndim) < 1e-6:
        header.set_qform(like.affine, code=1)
    else:
        header.set_qform(like.affine, code=0, strip_shears=True)
        header["pixdim"][1 : like.ndim + 1] = like.spacing
    if like.spacing_known:
        header.set_xyzt_units("mm")
    return header


def _check_png_place(path: Path, like: Volume) -> None:
    if like.spacing_known or not np.array_equal(like.affine, PIXEL_AFFINE):
        raise InputError(
            f"{path}: a PNG cannot keep the spacing and position of {like.name}; write .nii.gz "
            "instead."
        )

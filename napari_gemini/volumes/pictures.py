"""Read PNG and write PNG and TIFF: 2D images that know little or nothing about their place."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from napari_gemini.errors import InputError
from napari_gemini.volumes.checks import check_file, damaged
from napari_gemini.volumes.volume import Volume

_GREY = {"1", "L", "I;16", "I;16B", "I;16L", "I"}
_COLOUR = {"RGB", "RGBA", "LA", "La", "PA", "P", "CMYK", "YCbCr", "LAB", "HSV", "RGBX"}

# Pixel index to RAS of an image that says nothing: ITK's default, which is the identity in LPS.
PIXEL_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_png(path: Path, palette_is_labels: bool = False) -> Volume:
    """Read a grey PNG of 1, 8 or 16 bits.

    Parameters
    ----------
    path
        The file.
    palette_is_labels
        Take the indices of a palette image for its values (label pictures are stored so).

    Returns
    -------
    Volume
        (column, row) array; the affine counts pixels, ``spacing_known`` is False.

    Raises
    ------
    InputError
        If it is damaged, in colour or not a PNG.
    """
    check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=["PNG"]) as picture:
                mode = picture.mode
                if mode == "P" and palette_is_labels:
                    mode = "L"
                if mode not in _GREY:
                    raise InputError(
                        f"{path} is a colour (RGB) image; convert it to grey values."
                        if mode in _COLOUR
                        else f"{path} has {mode} pixels; convert it to 8 or 16 bit grey."
                    )
                if getattr(picture, "n_frames", 1) > 1:
                    raise InputError(f"{path} is an animation; give one image per file.")
                rows: NDArray[Any] = np.array(picture)
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not a PNG image; check what kind of file it is.") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(f"{path} announces too many pixels; make it smaller.") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise damaged(path, "its pixels cannot be decoded") from error
    if rows.dtype.kind == "b":
        rows = rows.astype(np.uint8)
    elif rows.dtype.itemsize > 2:
        rows = rows.astype(np.uint16)
    native = rows.astype(rows.dtype.newbyteorder("="), copy=False)
    return Volume(native.T, PIXEL_AFFINE, False, path)


def write_png(path: Path, data: NDArray[Any]) -> None:
    """Write a (column, row) array of uint8 or uint16 as a grey PNG.

    Raises
    ------
    InputError
        If it is not 2D or holds other numbers.
    """
    if data.ndim != 2:
        raise InputError(f"{path} cannot hold a 3D image; write .nii.gz instead.")
    if data.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{path} can hold only whole numbers from 0 to 65535; write .nii.gz or .tif instead."
        )
    Image.fromarray(np.ascontiguousarray(data.T)).save(path, format="PNG")


def write_tiff(path: Path, data: NDArray[Any], spacing: Sequence[float] | None) -> None:
    """Write a (column, row) array as a grey TIFF.

    Parameters
    ----------
    path
        Where to. (ITK's own writer keeps the file open when the disk is full, so it is not used.)
    data
        Float, or integers that fit into 32 bits with sign.
    spacing
        mm along column and row axis, written as the resolution; None writes none.

    Raises
    ------
    InputError
        If it is not 2D, or its numbers are too large.
    """
    if data.ndim != 2:
        raise InputError(f"{path} cannot hold a 3D image; write .nii.gz instead.")
    if data.dtype.kind == "f":
        data = data.astype(np.float32)
    elif data.dtype not in (np.uint8, np.uint16):
        if data.size and data.max() > np.iinfo(np.int32).max:
            raise InputError(f"{path} cannot hold numbers above 2147483647; write .nii.gz instead.")
        data = data.astype(np.int32)
    options: dict[str, Any] = {}
    if spacing is not None:
        options = {"resolution_unit": "cm"}
        options |= {"x_resolution": 10 / spacing[0], "y_resolution": 10 / spacing[1]}
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(data.T)).save(buffer, format="TIFF", **options)
    path.write_bytes(buffer.getbuffer())

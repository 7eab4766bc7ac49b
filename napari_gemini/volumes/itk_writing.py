"""Write images with SimpleITK, and notice when it fails."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from napari_gemini.volumes.itk_image import (
    ItkGeometry,
    array_to_itk,
    itk_geometry,
    itk_to_array,
)
from napari_gemini.volumes.volume import Volume

NOT_READ_BACK = "what was written is not what was read back"


def write_image(path: Path, data: NDArray[Any], like: Volume) -> None:
    """Write NRRD or MHA, compressed, and read it back to be sure.

    Parameters
    ----------
    path
        Where to (a temporary name with the final suffix).
    data
        (i, j[, k]) array on the grid of `like`.
    like
        The scan that gives the place.

    Raises
    ------
    OSError
        If the disk is full or what was written cannot be read back.
    """
    import SimpleITK as sitk

    geometry, data = _with_single_slice(itk_geometry(like), data, like)
    image = array_to_itk(data, geometry)
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
        # ITK does not notice every write that fails.
        written = itk_to_array(sitk.ReadImage(str(path)))
        if not np.array_equal(written, data, equal_nan=data.dtype.kind == "f"):
            raise RuntimeError(NOT_READ_BACK)
    except RuntimeError as error:
        raise_itk_failure(error, path, data.nbytes)


def raise_itk_failure(error: RuntimeError, path: Path, size: int) -> NoReturn:
    """Turn a failed write of ITK, which does not say why, into the error it must have been.

    Raises
    ------
    OSError
        ENOSPC where the disk has less than `size` bytes left, EIO otherwise.
    """
    if shutil.disk_usage(path.parent).free < size:
        raise OSError(errno.ENOSPC, "the disk is full") from error
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    raise OSError(errno.EIO, lines[-1] if lines else "unknown reason") from error


def _with_single_slice(
    geometry: ItkGeometry, data: NDArray[Any], like: Volume
) -> tuple[ItkGeometry, NDArray[Any]]:
    """Give an image of one slice its third axis back, where its file had one."""
    header = like.header
    if isinstance(header, ItkGeometry) and header.ndim > like.ndim:
        return header, data.reshape(header.shape, order="F")
    return geometry, data

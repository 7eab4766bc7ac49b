"""What a file has to be before its voxels are loaded, and what voxels have to be to be used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import InputError
from napari_gemini.volumes.geometry import largest_distance
from napari_gemini.volumes.volume import Volume

# Deflate cannot shrink anything further than this, so a header that asks for more lies.
LARGEST_DEFLATE_RATIO = 1032
# Scans whose grids differ by less than this are on one grid (mm, at the worst corner).
SAME_GRID_MM = 1e-3


def check_file(path: Path) -> int:
    """Return the size of a file in bytes after making sure that there is something to read.

    Raises
    ------
    InputError
        If it is missing, empty, not a file or not readable.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; check the name.")
    if not path.is_file():
        raise InputError(f"{path} is not a file; give an image file.")
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"{path} is empty (0 bytes); copy or export it again.")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} may not be read; change its permissions.")
    return size


def check_announced_size(path: Path, announced: int, available: int, compressed: bool) -> None:
    """Refuse a header that announces more voxels than the file or the memory can hold.

    Parameters
    ----------
    path
        The file, for the message.
    announced
        Bytes of voxels that the header asks for.
    available
        Bytes of the file after the header.
    compressed
        Whether those bytes are compressed by deflate.

    Raises
    ------
    InputError
        Before anything of that size is allocated.
    """
    limit = available * LARGEST_DEFLATE_RATIO if compressed else available
    if announced > limit:
        raise InputError(
            f"{path} is truncated or damaged: its header announces {readable_bytes(announced)} of "
            f"voxels and the file holds {readable_bytes(available)}; copy or export it again."
        )
    memory = total_memory()
    if memory is not None and announced > memory:
        raise InputError(
            f"{path} needs {readable_bytes(announced)} and this machine has "
            f"{readable_bytes(memory)} of memory; crop it or use a larger machine."
        )


def damaged(path: Path, reason: str) -> InputError:
    """Give the error of a file that cannot be decoded."""
    return InputError(f"{path} is truncated or damaged ({reason}); copy or export it again.")


def total_memory() -> int | None:
    """Bytes of physical memory, or None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def readable_bytes(count: int) -> str:
    """Write a number of bytes for people: ``"18.0 GB"``."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{int(value)} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def check_finite(data: NDArray[Any], name: str) -> None:
    """Refuse NaN and infinite voxels.

    Raises
    ------
    InputError
        With the number of such voxels.
    """
    if data.dtype.kind != "f" or data.size == 0:
        return
    # NaN and infinity survive min and max, which need no second array.
    with np.errstate(invalid="ignore"):
        extremes = (float(data.min()), float(data.max()))
    if np.isfinite(extremes).all():
        return
    count = int(data.size - np.count_nonzero(np.isfinite(data)))
    raise InputError(
        f"{name} has {count} voxels that are NaN or infinite; replace them and try again."
    )


def check_image(volume: Volume, name: str | None = None) -> None:
    """Refuse a scan that nothing can be matched on.

    Parameters
    ----------
    volume
        The scan.
    name
        What the message calls it; its path by default.

    Raises
    ------
    InputError
        If voxels are NaN or infinite, if all have one value, or if an axis has fewer than 4 voxels.
    """
    name = name or volume.name
    if min(volume.shape) < 4:
        raise InputError(
            f"{name} has only {min(volume.shape)} voxels along an axis; at least 4 are needed."
        )
    check_finite(volume.data, name)
    if volume.data.min() == volume.data.max():
        raise InputError(
            f"{name} is constant (every voxel is {volume.data.flat[0]}); give an image that shows "
            "something."
        )


def check_labels_match(image: Volume, labels: Volume) -> None:
    """Refuse labels that are not on the grid of their image.

    Parameters
    ----------
    image, labels
        Two volumes; the affines may differ by 1e-3 mm at the worst corner.

    Raises
    ------
    InputError
        If shape or position differ.
    """
    if labels.shape != image.shape:
        raise InputError(
            f"{labels.name} has {_size(labels)} voxels and {image.name} has {_size(image)}; "
            "labels have to be drawn on the grid of their image."
        )
    distance = largest_distance(image.affine, labels.affine, image.shape)
    if distance > SAME_GRID_MM:
        unit = "mm" if image.spacing_known and labels.spacing_known else "pixels"
        raise InputError(
            f"{labels.name} lies up to {distance:.3g} {unit} away from {image.name}; "
            "labels have to be drawn on the grid of their image."
        )


def _size(volume: Volume) -> str:
    return "x".join(str(n) for n in volume.shape)

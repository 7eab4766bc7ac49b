"""One scan or label map: an array in file voxel order with its place in the world."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_gemini.errors import InputError
from napari_gemini.volumes.geometry import (
    FloatArray,
    canonical_axes,
    decompose,
    ras_lps,
    spacing_of,
    transform_points,
)

_CODES = (("L", "R"), ("P", "A"), ("I", "S"))


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan or label map.

    Parameters
    ----------
    data
        (i, j, k) or (i, j) array in the voxel order of the file; in 2D `i` is the column (x) and
        `j` the row (y).
    affine
        (4, 4) voxel index to RAS mm. In 2D the third row and column are those of the identity.
    spacing_known
        False where the file says nothing about millimetres (PNG); the affine then counts pixels.
    path
        The file it came from.
    header
        What the file said besides, kept so that outputs look like the input: a nibabel NIfTI
        header or an :class:`~napari_gemini.volumes.itk_image.ItkGeometry`.

    Raises
    ------
    InputError
        If the affine is singular or not finite.
    ValueError
        If an array or a matrix has an impossible shape (a programming mistake).
    """

    data: NDArray[Any]
    affine: FloatArray
    spacing_known: bool = True
    path: Path | None = None
    header: object | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check the shapes and freeze the affine."""
        data = np.asanyarray(self.data)
        affine = np.array(self.affine, dtype=np.float64)
        if data.ndim not in (2, 3):
            raise ValueError(f"a volume has 2 or 3 axes, not {data.ndim}")
        if affine.shape != (4, 4):
            raise ValueError(f"an affine is 4x4, not {affine.shape}")
        check_affine(affine, data.ndim, self.name)
        if data.ndim == 2 and not _third_axis_is_identity(affine):
            raise ValueError("the third row and column of a 2D affine have to be the identity's")
        affine.flags.writeable = False
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "affine", affine)

    @property
    def name(self) -> str:
        """What messages call this scan: its path, or "the scan"."""
        return str(self.path) if self.path is not None else "the scan"

    @property
    def ndim(self) -> int:
        """2 or 3."""
        return int(self.data.ndim)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of voxels along each axis, file order."""
        return tuple(int(n) for n in self.data.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Millimetres (pixels where the spacing is unknown) between voxels along each axis."""
        return spacing_of(self.affine, self.ndim)

    @property
    def axcodes(self) -> tuple[str, ...]:
        """Where each voxel axis points, such as ``("L", "A", "S")``."""
        permutation, flips = canonical_axes(self.affine, self.ndim)
        codes = [""] * self.ndim
        for world, (axis, flip) in enumerate(zip(permutation, flips, strict=True)):
            codes[axis] = _CODES[world][0 if flip else 1]
        return tuple(codes)

    @property
    def is_oblique(self) -> bool:
        """Whether some voxel axis runs at an angle (over 0.006 degrees) to every world axis."""
        _, _, direction = decompose(self.affine, self.ndim)
        return bool(np.sort(np.abs(direction), axis=0)[:-1].max() > 1e-4)

    @property
    def lps_affine(self) -> FloatArray:
        """(4, 4) voxel index to LPS mm, the world of ITK and DICOM."""
        return ras_lps(self.affine)

    def voxel_to_world(self, points: ArrayLike) -> FloatArray:
        """Map voxel indices (..., d) to RAS mm (..., d)."""
        return transform_points(self.affine, points)

    def world_to_voxel(self, points: ArrayLike) -> FloatArray:
        """Map RAS mm (..., d) to continuous voxel indices (..., d)."""
        return transform_points(np.linalg.inv(self.affine), points)

    def with_data(self, data: NDArray[Any]) -> Volume:
        """Return another array on the same grid.

        Raises
        ------
        ValueError
            If the shape differs.
        """
        if np.shape(data) != self.shape:
            raise ValueError(f"an array of shape {np.shape(data)} is not on the grid {self.shape}")
        return Volume(data, self.affine, self.spacing_known, self.path, self.header)


def check_affine(affine: FloatArray, ndim: int, name: str) -> None:
    """Refuse an affine that is not finite, singular or has an axis without length.

    Raises
    ------
    InputError
        With the name of the scan and what to do.
    """
    matrix = affine[:ndim, :ndim]
    if not np.isfinite(affine).all():
        raise InputError(
            f"{name} has an affine with entries that are not numbers; "
            "write its orientation anew (sform or direction) and try again."
        )
    lengths = np.sqrt((matrix**2).sum(axis=0))
    if lengths.min() <= 0:
        raise InputError(
            f"{name} has a spacing of zero along an axis; correct the spacing in its header."
        )
    if abs(np.linalg.det(matrix / lengths)) < 1e-6:
        raise InputError(
            f"{name} has a singular affine (two of its axes run in one direction); "
            "write its orientation anew (sform or direction) and try again."
        )


def _third_axis_is_identity(affine: FloatArray) -> bool:
    identity = np.eye(4)
    return bool(
        np.array_equal(affine[2], identity[2]) and np.array_equal(affine[:, 2], identity[:, 2])
    )

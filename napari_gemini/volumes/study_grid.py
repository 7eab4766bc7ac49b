"""The study grid and how scans lie in it.

All scans of a study meet on one grid: canonical axes (right, anterior, superior), isotropic unless
asked otherwise, a multiple of 16 voxels along each axis. A placement takes a point of the grid's
world to the world of a scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import InputError
from napari_gemini.volumes.geometry import FloatArray, bounding_extent
from napari_gemini.volumes.sampling import inside_mask, slab_positions, slabs
from napari_gemini.volumes.volume import Volume

# A scan may stick out of the grid by this factor before it counts as the wrong kind of scan.
LARGEST_OVERHANG = 1.5


@dataclass(frozen=True)
class StudyGrid:
    """The common grid of a study.

    Parameters
    ----------
    shape
        Voxels along right, anterior (and superior).
    spacing
        Millimetres (pixels where spacing is unknown) per voxel: one number, or one per axis.
    """

    shape: tuple[int, ...]
    spacing: float | tuple[float, ...] = 1.0

    def __post_init__(self) -> None:
        """Check the numbers and bring them to plain types."""
        shape = tuple(int(n) for n in self.shape)
        if len(shape) not in (2, 3) or min(shape) < 1:
            raise ValueError(f"a study grid has 2 or 3 axes of at least 1 voxel, not {shape}")
        spacing = self.spacing
        if isinstance(spacing, (int, float, np.number)):
            spacing = float(spacing)
        else:
            spacing = tuple(float(value) for value in spacing)
            if len(spacing) != len(shape):
                raise ValueError(f"the spacing {spacing} does not fit the shape {shape}")
        if not np.isfinite(spacing).all() or np.min(spacing) <= 0:
            raise ValueError(f"the spacing has to be positive, not {spacing}")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "spacing", spacing)

    @property
    def ndim(self) -> int:
        """2 or 3."""
        return len(self.shape)

    @property
    def spacings(self) -> tuple[float, ...]:
        """One spacing per axis."""
        if isinstance(self.spacing, tuple):
            return self.spacing
        return (self.spacing,) * self.ndim

    @property
    def affine(self) -> FloatArray:
        """(4, 4) grid voxel to study world (RAS mm); the grid's centre is the world's origin."""
        affine = np.eye(4)
        d = self.ndim
        spacing = np.array(self.spacings)
        affine[range(d), range(d)] = spacing
        affine[:d, 3] = -(np.array(self.shape) - 1) / 2 * spacing
        return affine


@dataclass(frozen=True, eq=False)
class Placement:
    """How a scan lies in the study.

    Parameters
    ----------
    matrix
        (4, 4) affine, study world mm to scan world mm (both RAS). In 2D the third row and column
        are those of the identity.
    method
        Where it came from: ``center``, ``affine`` or ``given``.
    """

    matrix: FloatArray
    method: str = "given"

    def __post_init__(self) -> None:
        """Check and freeze the matrix."""
        matrix = np.array(self.matrix, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise ValueError("a placement is a 4x4 matrix of finite numbers")
        if abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
            raise ValueError("a placement cannot be singular")
        matrix.flags.writeable = False
        object.__setattr__(self, "matrix", matrix)

    @property
    def inverse(self) -> FloatArray:
        """(4, 4) scan world to study world."""
        return np.asarray(np.linalg.inv(self.matrix), dtype=np.float64)


def grid_to_voxel(volume: Volume, grid: StudyGrid, placement: Placement) -> FloatArray:
    """(4, 4) matrix from study-grid voxels to voxels of a scan."""
    return np.linalg.inv(volume.affine) @ placement.matrix @ grid.affine


def voxel_to_grid(volume: Volume, grid: StudyGrid, placement: Placement) -> FloatArray:
    """(4, 4) matrix from voxels of a scan to study-grid voxels."""
    return np.linalg.inv(grid.affine) @ placement.inverse @ volume.affine


def choose_grid(
    volumes: Sequence[Volume],
    spacing: float | None = None,
    multiple: int = 16,
    max_voxels: int | None = None,
) -> StudyGrid:
    """Choose the grid on which every scan of a study fits.

    Parameters
    ----------
    volumes
        The scans, all 2D or all 3D.
    spacing
        Isotropic spacing in mm; by default the median over the scans of their finest spacing.
    multiple
        Every axis gets a multiple of this many voxels.
    max_voxels
        Coarsen the spacing until the grid has at most so many voxels.

    Returns
    -------
    StudyGrid
        All voxel centres of every scan lie on it when the scan is placed by its middle.

    Raises
    ------
    InputError
        If there is no scan, if 2D and 3D are mixed, or if not even one block of voxels fits.
    """
    if not volumes:
        raise InputError("There is no scan to choose a study grid for; give at least one.")
    ndim = volumes[0].ndim
    for volume in volumes:
        if volume.ndim != ndim:
            raise InputError(
                f"{volume.name} is {volume.ndim}D and {volumes[0].name} is {ndim}D; "
                "a study holds scans of one dimension."
            )
    if spacing is None:
        spacing = float(np.median([min(volume.spacing) for volume in volumes]))
        # Headers store float32: 0.9765620231628418 is meant as 0.976562.
        spacing = float(f"{spacing:.6g}")
    elif not np.isfinite(spacing) or spacing <= 0:
        raise InputError(f"The spacing of the study grid has to be above 0 mm, not {spacing}.")
    extent = np.max([bounding_extent(v.affine, v.shape) for v in volumes], axis=0)
    shape = _enclosing_shape(extent, spacing, multiple)
    if max_voxels is not None:
        if max_voxels < multiple**ndim:
            raise InputError(
                f"A study grid needs at least {multiple**ndim} voxels, not {max_voxels}; allow "
                "more."
            )
        while np.prod(shape, dtype=float) > max_voxels:
            spacing = float(f"{spacing * 1.02:.6g}")
            shape = _enclosing_shape(extent, spacing, multiple)
    return StudyGrid(shape, spacing)


def _enclosing_shape(extent: FloatArray, spacing: float, multiple: int) -> tuple[int, ...]:
    # A little less than a voxel is forgiven, since headers are rounded to float32.
    needed = np.ceil(extent / spacing - 1e-3) + 1
    return tuple(int(np.ceil(n / multiple)) * multiple for n in needed)


def check_fits(volume: Volume, grid: StudyGrid) -> None:
    """Refuse a scan that is much larger than the study grid.

    Raises
    ------
    InputError
        If along some axis it is more than 1.5 times as long as the grid.
    """
    if volume.ndim != grid.ndim:
        raise InputError(
            f"{volume.name} is {volume.ndim}D and the study is {grid.ndim}D; give a {grid.ndim}D "
            "scan."
        )
    extent = bounding_extent(volume.affine, volume.shape)
    size = np.array(grid.shape) * np.array(grid.spacings)
    if (extent > LARGEST_OVERHANG * size).any():
        raise InputError(
            f"{volume.name} measures {_lengths(extent)} mm and the study grid {_lengths(size)} mm; "
            "crop the scan to the anatomy of the study, or make a study with a larger grid."
        )


def overhang(volume: Volume, grid: StudyGrid, placement: Placement) -> float:
    """Share (0 to 1) of the voxels of a scan that lie outside the study grid."""
    matrix = voxel_to_grid(volume, grid, placement)
    outside = 0
    for slab in slabs(volume.shape):
        inside = inside_mask(slab_positions(matrix, volume.shape, slab), grid.shape)
        outside += int(inside.size - np.count_nonzero(inside))
    return outside / float(np.prod(volume.shape))


def _lengths(values: NDArray[Any]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)

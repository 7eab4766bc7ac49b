"""Displacement fields in millimetres that take a fixed scan to a moving scan, nothing missing.

Such a field contains the way from the fixed scan to the study grid, the displacement found there
and the way from the study grid to the moving scan, so any ITK program applies it to the original
files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_gemini.volumes.geometry import FloatArray, compose, decompose
from napari_gemini.volumes.sampling import sample_linear, slab_positions, slabs
from napari_gemini.volumes.study_grid import Placement, StudyGrid
from napari_gemini.volumes.volume import Volume

# A lattice step within this share of a whole number (or unit fraction) of voxels becomes one, so
# that lattice points fall on voxel centres and nothing is interpolated twice.
_SNAP = 0.1


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """One ITK displacement field.

    Parameters
    ----------
    vectors
        (d, i, j[, k]) float64: LPS mm from a fixed point to its moving point.
    affine
        (4, 4) lattice index to RAS mm.
    """

    vectors: FloatArray
    affine: FloatArray

    def __post_init__(self) -> None:
        """Check the shapes."""
        vectors = np.asarray(self.vectors, dtype=np.float64)
        affine = np.array(self.affine, dtype=np.float64)
        if vectors.ndim not in (3, 4) or len(vectors) != vectors.ndim - 1:
            raise ValueError(f"a field has the shape (d, lattice of d axes), not {vectors.shape}")
        if affine.shape != (4, 4):
            raise ValueError(f"an affine is 4x4, not {affine.shape}")
        affine.flags.writeable = False
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "affine", affine)

    @property
    def ndim(self) -> int:
        """2 or 3."""
        return len(self.vectors)

    @property
    def shape(self) -> tuple[int, ...]:
        """Lattice points along each axis."""
        return tuple(int(n) for n in self.vectors.shape[1:])


def field_bytes(lattice_shape: Sequence[int]) -> int:
    """Bytes that a field of that many lattice points has on disk: 24 a point in 3D, 16 in 2D."""
    return 8 * len(lattice_shape) * int(np.prod(lattice_shape, dtype=np.int64))


def lattice_for(fixed: Volume, spacing: StudyGrid | float) -> tuple[tuple[int, ...], FloatArray]:
    """Lay out the lattice of a field for a fixed scan.

    Parameters
    ----------
    fixed
        The scan whose voxel centres it has to enclose.
    spacing
        Its resolution: the study grid's, or a number of mm.

    Returns
    -------
    shape, affine
        Along the axes of the scan, at least one lattice step beyond the outermost voxel centres
        (outside a lattice ITK means identity), and (4, 4) lattice index to RAS mm.
    """
    origin, voxel, direction = decompose(fixed.affine, fixed.ndim)
    if isinstance(spacing, StudyGrid):
        # The length of a step along a direction is that of the grid's ellipsoid of spacings.
        steps = 1.0 / np.linalg.norm(direction / np.array(spacing.spacings)[:, None], axis=0)
    else:
        steps = np.full(fixed.ndim, float(spacing))
    shape, starts = [], []
    for axis, n in enumerate(fixed.shape):
        steps[axis], snapped = _snap(float(steps[axis]), float(voxel[axis]))
        length = (n - 1) * voxel[axis]
        intervals = int(np.ceil(length / steps[axis] - 1e-9)) + 2
        shape.append(intervals + 1)
        starts.append(-steps[axis] if snapped else (length - intervals * steps[axis]) / 2)
    return tuple(shape), compose(origin + direction @ np.array(starts), steps, direction)


def _snap(step: float, voxel: float) -> tuple[float, bool]:
    ratio = step / voxel
    whole = round(ratio) if ratio >= 1 else round(1 / ratio)
    snapped = voxel * whole if ratio >= 1 else voxel / whole
    return (snapped, True) if abs(step - snapped) <= _SNAP * snapped else (step, False)


def identity_field(fixed: Volume) -> DisplacementField:
    """Return the field that moves nothing, on a coarse lattice around a scan."""
    _, spacing, _ = decompose(fixed.affine, fixed.ndim)
    longest = float((spacing * np.array(fixed.shape)).max())
    shape, affine = lattice_for(fixed, max(longest / 4, float(spacing.max())))
    return DisplacementField(np.zeros((fixed.ndim, *shape)), affine)


def total_field(
    u: NDArray[np.floating],
    grid: StudyGrid,
    fixed_placement: Placement,
    moving_placement: Placement,
    fixed: Volume,
    moving: Volume,
) -> DisplacementField:
    """Turn a displacement on the study grid into the total map between two scans.

    With G from grid voxels to study world, F and M the placements of the two scans, a fixed point x
    goes to ``M G (p + u(p))`` with ``p = G^-1 F^-1 x``.

    Parameters
    ----------
    u
        (d, i, j[, k]) on the grid: voxels from a fixed grid voxel to its moving position. Beyond
        the grid it keeps the value of the edge.
    grid
        The study grid.
    fixed_placement, moving_placement
        How the two scans lie in it.
    fixed
        The scan that says where the field is needed.
    moving
        The scan that the field leads to (its dimension is checked, nothing else).

    Returns
    -------
    DisplacementField
        Study resolution, along the axes of the fixed scan, enclosing all its voxel centres.
    """
    d = grid.ndim
    if u.shape != (d, *grid.shape) or fixed.ndim != d or moving.ndim != d:
        raise ValueError(f"a displacement of shape {u.shape} does not fit the grid {grid.shape}")
    shape, lattice = lattice_for(fixed, grid)
    to_grid = np.linalg.inv(grid.affine) @ fixed_placement.inverse @ lattice
    # x -> M F^-1 x - x, written so that equal placements give exactly nothing.
    change = np.zeros((4, 4))
    if not np.array_equal(fixed_placement.matrix, moving_placement.matrix):
        change = moving_placement.matrix @ fixed_placement.inverse - np.eye(4)
    change = change @ lattice
    voxels_to_mm = (moving_placement.matrix @ grid.affine)[:d, :d]
    vectors = np.empty((d, *shape))
    for slab in slabs(shape):
        positions = slab_positions(to_grid, shape, slab)
        shifts = np.stack([sample_linear(u[axis], positions, None) for axis in range(d)])
        moved = slab_positions(change, shape, slab) + np.tensordot(voxels_to_mm, shifts, 1)
        vectors[:, slab] = moved
    vectors[:2] *= -1.0  # RAS to LPS
    return DisplacementField(vectors, lattice)

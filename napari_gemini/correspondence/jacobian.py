"""Jacobian determinants of a map and whether it folds: two criteria, one pass, no torch.

A map is given by the counterpart of every voxel centre of the fixed scan, in mm, affine parts
included, so its determinant is the true change of volume. Two criteria are reported:

* **central differences**, the usual one. The displacement of a voxel itself does not enter its own
  central determinant, so folds of a checkerboard kind stay unseen;
* **digital diffeomorphism** (Liu, Chen, Wei, Carass, Prince: "On finite difference Jacobian
  computation in deformable image registration", IJCV 2024): the tetrahedra (triangles in 2D) that
  every voxel spans with its neighbours keep their orientation. In 3D these are eight corners, one
  per choice of forward or backward difference along each axis, and the two inner tetrahedra that
  the corners of a cube leave over; in 2D four triangles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import InputError

FloatArray = NDArray[np.floating[Any]]

# Voxels worked on at a time: the scratch arrays of a slab then stay in the processor's cache.
SLAB_VOXELS = 32_768

# Determinants are clipped to this range before a logarithm, as Learn2Reg does.
LOG_RANGE = (1e-9, 1e9)

NO_FOLD, DIGITAL_FOLD, CENTRAL_FOLD = 0, 1, 2


@dataclass(frozen=True)
class FoldSummary:
    """What the determinants of a map say.

    Percentages and statistics are over the voxels of the mask without the outermost ring of the
    volume; they are None where no such voxel exists.

    Attributes
    ----------
    voxels
        Number of voxels evaluated.
    fold_percent
        Share with a central-difference determinant of at most 0.
    fold_percent_digital
        Share where any of the digital criterion's determinants is at most 0.
    nondiffeomorphic_volume_percent
        Volume (2D: area) of inverted tetrahedra, relative to the volume evaluated.
    sd_log_jacobian
        Standard deviation of log J, J clipped to at least 1e-9.
    sd_log_jacobian_l2r
        The same of log(J + 3), Learn2Reg's definition.
    jacobian_min, jacobian_p01, jacobian_p99, jacobian_max
        Range and percentiles of J.
    log_jacobian
        log J at every voxel, float32; one-sided differences on the outermost ring.
    folds
        0 none, 1 by the digital criterion only, 2 by central differences; 0 on the outermost ring.
    """

    voxels: int
    fold_percent: float | None
    fold_percent_digital: float | None
    nondiffeomorphic_volume_percent: float | None
    sd_log_jacobian: float | None
    sd_log_jacobian_l2r: float | None
    jacobian_min: float | None
    jacobian_p01: float | None
    jacobian_p99: float | None
    jacobian_max: float | None
    log_jacobian: NDArray[np.float32]
    folds: NDArray[np.uint8]

    def report(self) -> dict[str, float | None]:
        """Return the five numbers that every report carries, by their names there."""
        return {
            "fold_percent": self.fold_percent,
            "fold_percent_digital": self.fold_percent_digital,
            "nondiffeomorphic_volume_percent": self.nondiffeomorphic_volume_percent,
            "sd_log_jacobian": self.sd_log_jacobian,
            "sd_log_jacobian_l2r": self.sd_log_jacobian_l2r,
        }


def displacement_points(displacement: FloatArray) -> NDArray[np.float64]:
    """Return the counterpart of every voxel of a displacement on a grid, in voxels.

    Parameters
    ----------
    displacement
        ``(d, *S)`` in voxels.

    Returns
    -------
    ndarray
        ``(d, *S)`` float64, ``p + u(p)``: a map for the functions below with `affine` None.
    """
    points = np.asarray(displacement, dtype=np.float64).copy()
    for axis, size in enumerate(points.shape[1:]):
        line = np.arange(size, dtype=np.float64)
        points[axis] += line.reshape([-1 if k == axis else 1 for k in range(len(points))])
    return points


def _linear_part(points: FloatArray, affine: FloatArray | None) -> NDArray[np.float64]:
    """Check the map and return the affine's linear part, (d, d)."""
    dimension = len(points)
    if dimension not in (2, 3) or points.ndim != dimension + 1:
        raise InputError(
            "A map has the shape (axes, *volume) with two or three axes; "
            f"this one has {points.shape}."
        )
    if affine is None:
        return np.eye(dimension)
    linear = np.asarray(affine, dtype=np.float64)[:dimension, :dimension]
    if linear.shape != (dimension, dimension) or abs(np.linalg.det(linear)) < 1e-12:
        raise InputError("The fixed scan's affine is singular; its header has to be mended first.")
    return linear


def _extended(points: FloatArray, low: int, high: int, steps: FloatArray) -> NDArray[np.float64]:
    """Return planes low-1 .. high of the map, one voxel wider on every side by extrapolation.

    Linear extrapolation makes both differences at a border the one-sided one. An axis of one
    voxel goes on by the affine's own step, as if nothing moved along it.
    """
    size = points.shape[1]
    block = np.asarray(points[:, max(low - 1, 0) : min(high + 1, size)], dtype=np.float64)
    for axis in range(1, points.ndim):
        before = axis > 1 or low == 0
        after = axis > 1 or high == size
        if not (before or after):
            continue
        first, last = block.take([0], axis), block.take([-1], axis)
        if points.shape[axis] == 1:
            step = steps[:, axis - 1].reshape(-1, *(1,) * (points.ndim - 1))
            ends = first - step, last + step
        else:
            ends = 2 * first - block.take([1], axis), 2 * last - block.take([-2], axis)
        parts = [ends[0]] if before else []
        parts.append(block)
        parts.extend([ends[1]] if after else [])
        block = np.concatenate(parts, axis)
    return block


def _determinant(columns: list[FloatArray]) -> FloatArray:
    """Return the determinant of d columns, each (d, ...)."""
    if len(columns) == 2:
        (a, c), (b, d) = columns
        return a * d - b * c
    return _dot(columns[0], _cross(columns[1], columns[2]))


def _cross(a: FloatArray, b: FloatArray) -> list[FloatArray]:
    return [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]


def _dot(a: FloatArray, b: list[FloatArray]) -> FloatArray:
    result = a[0] * b[0]
    result += a[1] * b[1]
    result += a[2] * b[2]
    return result


def _one_sided(block: NDArray[np.float64]) -> Iterator[FloatArray]:
    """Yield the 2 ** d determinants of one-sided differences inside an extended block."""
    dimension = len(block)
    inner = (slice(None), *(slice(1, -1),) * dimension)
    centre = block[inner]
    sides: list[tuple[FloatArray, FloatArray]] = []
    for axis in range(1, dimension + 1):
        upper, lower = list(inner), list(inner)
        upper[axis], lower[axis] = slice(2, None), slice(0, -2)
        sides.append((block[tuple(upper)] - centre, centre - block[tuple(lower)]))
    if dimension == 2:
        for a, b in product(*sides):
            yield _determinant([a, b])
        return
    for b, c in product(sides[1], sides[2]):
        normal = _cross(b, c)
        for a in sides[0]:
            yield _dot(a, normal)


def _stars(block: NDArray[np.float64]) -> Iterator[FloatArray]:
    """Yield the determinants of the two inner tetrahedra of the cube above each voxel (3D).

    The cube's corners with an even, and those with an odd, sum of offsets span one each. Both
    have a third of the cube's volume, so their determinant under the identity is 2.
    """

    def corner(*offset: int) -> FloatArray:
        slices = [slice(1 + o, o - 1 if o < 1 else None) for o in offset]
        return block[(slice(None), *slices)]

    even = corner(0, 0, 0)
    yield _determinant([corner(1, 1, 0) - even, corner(0, 1, 1) - even, corner(1, 0, 1) - even])
    odd = corner(1, 1, 1)
    yield _determinant([corner(0, 0, 1) - odd, corner(0, 1, 0) - odd, corner(1, 0, 0) - odd])


def _slabs(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    plane = int(np.prod(shape[1:]))
    thickness = max(1, SLAB_VOXELS // max(plane, 1))
    for low in range(0, shape[0], thickness):
        yield low, min(low + thickness, shape[0])


def jacobian_determinant(
    points: FloatArray, affine: FloatArray | None = None
) -> NDArray[np.float64]:
    """Return the Jacobian determinant of a map by central differences.

    Parameters
    ----------
    points
        ``(d, *S)``: where every fixed voxel centre goes, in mm (in voxels without `affine`).
    affine
        ``(4, 4)`` voxel index to mm of the fixed scan, any orientation; None for voxels.

    Returns
    -------
    ndarray
        ``S`` float64; one-sided differences on the outermost ring.

    Raises
    ------
    InputError
        If the shape is none of a map or the affine is singular.
    """
    linear = _linear_part(points, affine)
    result = np.empty(points.shape[1:])
    for low, high in _slabs(result.shape):
        # A determinant is linear in every column, so the mean over all choices of a forward or
        # a backward difference is the determinant of the central differences.
        corners = list(_one_sided(_extended(points, low, high, linear)))
        result[low:high] = sum(corners) / (len(corners) * np.linalg.det(linear))
    return result


def digital_determinants(
    points: FloatArray, affine: FloatArray | None = None
) -> NDArray[np.float64]:
    """Return all determinants of the digital criterion at the voxels that have all neighbours.

    Parameters
    ----------
    points, affine
        As for :func:`jacobian_determinant`.

    Returns
    -------
    ndarray
        2D: ``(4, *(S - 2))``. 3D: ``(10, *(S - 2))``, eight corners and then two inner
        tetrahedra; under the identity the corners are 1 and the inner ones 2.

    Notes
    -----
    For small volumes and tests: :func:`summarise_folds` works slab by slab.
    """
    linear = _linear_part(points, affine)
    block = np.asarray(points, dtype=np.float64)
    parts = list(_one_sided(block))
    if len(points) == 3:
        parts.extend(_stars(block))
    return np.stack(parts) / np.linalg.det(linear)


def _inner(shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(1, max(size - 1, 1)) for size in shape)


def summarise_folds(
    points: FloatArray,
    mask: NDArray[Any] | None = None,
    affine: FloatArray | None = None,
) -> FoldSummary:
    """Measure determinants and folds of a map, slab by slab.

    Parameters
    ----------
    points
        ``(d, *S)``: where every fixed voxel centre goes, in mm (in voxels without `affine`).
    mask
        ``S``, non-zero where the map is to be judged; everywhere by default.
    affine
        ``(4, 4)`` voxel index to mm of the fixed scan; None for voxels.

    Returns
    -------
    FoldSummary
        Numbers and maps.

    Raises
    ------
    InputError
        If the shapes do not fit, the map is not finite inside the mask or the affine is singular.

    Notes
    -----
    Non-diffeomorphic volume: the volumes ``-min(J, 0) / 6`` of the ten tetrahedra (areas
    ``-min(J, 0) / 2`` of the four triangles), halved because they cover space twice, Liu et al.,
    IJCV 2024.
    """
    linear = _linear_part(points, affine)
    shape = points.shape[1:]
    judged = np.zeros(shape, dtype=bool)
    inner = _inner(shape)
    judged[inner] = True if mask is None else np.asarray(mask).reshape(shape)[inner] != 0
    scale = 1 / np.linalg.det(linear)
    part_volume = 1 / 12 if len(points) == 3 else 1 / 4
    determinant = np.empty(shape, dtype=np.float32)
    folds = np.zeros(shape, dtype=np.uint8)
    lost = 0.0
    for low, high in _slabs(shape):
        block = _extended(points, low, high, linear)
        central = np.zeros((high - low, *shape[1:]))
        negative = np.zeros_like(central)
        smallest = np.full_like(central, np.inf)
        parts = [part * scale for part in _one_sided(block)]
        for part in parts:
            central += part
        central /= len(parts)
        if len(points) == 3:
            parts.extend(part * scale for part in _stars(block))
        for part in parts:
            np.minimum(smallest, part, out=smallest)
            negative -= np.minimum(part, 0)
        determinant[low:high] = central
        local = judged[low:high]
        folds[low:high][local & ~(smallest > 0)] = DIGITAL_FOLD
        folds[low:high][local & ~(central > 0)] = CENTRAL_FOLD
        lost += float(negative[local].sum()) * part_volume
    return _summary(determinant, folds, judged, lost)


def _summary(
    determinant: NDArray[np.float32],
    folds: NDArray[np.uint8],
    judged: NDArray[np.bool_],
    lost: float,
) -> FoldSummary:
    values = determinant[judged]
    count = len(values)
    if count and not (np.isfinite(lost) and np.isfinite(values).all()):
        raise InputError("The map has points that are not finite, so its folds cannot be judged.")
    log_jacobian = np.log(np.clip(determinant, *LOG_RANGE))
    numbers: dict[str, float | None] = dict.fromkeys(
        field.name for field in fields(FoldSummary) if field.type == "float | None"
    )
    if count:
        shifted = np.log(np.clip(values + np.float32(3), *LOG_RANGE))
        p01, p99 = np.percentile(values, [1, 99])
        numbers = {
            "fold_percent": 100 * int(np.count_nonzero(folds == CENTRAL_FOLD)) / count,
            "fold_percent_digital": 100 * int(np.count_nonzero(folds)) / count,
            "nondiffeomorphic_volume_percent": 100 * lost / count,
            "sd_log_jacobian": float(np.std(log_jacobian[judged], dtype=np.float64)),
            "sd_log_jacobian_l2r": float(np.std(shifted, dtype=np.float64)),
            "jacobian_min": float(values.min()),
            "jacobian_p01": float(p01),
            "jacobian_p99": float(p99),
            "jacobian_max": float(values.max()),
        }
    return FoldSummary(voxels=count, log_jacobian=log_jacobian, folds=folds, **numbers)

"""Which part of the phantom's world a scan covers, and what its file header says about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import InputError
from napari_gemini.phantom.deformation import rotation

Floats = NDArray[np.float64]
Headers = Literal["plain", "varied", "oblique"]

MIN_CROPPED = 32
"""Cropping leaves at least this many voxels (if there were as many)."""


@dataclass(frozen=True)
class CaseGrid:
    """The voxel grid of one scan.

    Attributes
    ----------
    shape
        Voxels along each axis of the file.
    affine : (4, 4) float64
        Voxel index -> the scan's world (RAS mm), as in the file.
    frame : (d + 1, d + 1) float64
        Posed anatomy (mm) -> the scan's world: where the scanner put its origin.
    spacing_known
        False for a picture without pixel size.
    """

    shape: tuple[int, ...]
    affine: Floats
    frame: Floats
    spacing_known: bool

    @property
    def square_affine(self) -> Floats:
        """The affine without the axes that a 2D scan lacks: (d + 1, d + 1)."""
        d = len(self.shape)
        keep = [*range(d), 3]
        return self.affine[np.ix_(keep, keep)]

    @property
    def spacing(self) -> Floats:
        """Voxel size (d,) in mm."""
        return np.linalg.norm(self.square_affine[:-1, :-1], axis=0)


def case_grid(
    rng: np.random.Generator,
    full: tuple[int, ...],
    step: float,
    *,
    headers: Headers,
    crop: bool,
) -> CaseGrid:
    """Draw the grid of one scan.

    Parameters
    ----------
    rng
        Source of randomness.
    full
        Voxels of the full field of view.
    step
        Voxel size in mm.
    headers
        See :func:`napari_gemini.phantom.cohort.make_cohort`.
    crop
        Whether the field of view may lose a margin.

    Returns
    -------
    CaseGrid
        The grid.

    Raises
    ------
    InputError
        If `headers` is none of the known words.
    """
    ndim = len(full)
    extent = np.array(full, dtype=np.float64) * step
    if headers == "plain":
        spacing = np.full(ndim, step)
    elif headers in ("varied", "oblique"):
        spacing = step * rng.uniform(0.8, 1.25, ndim)
        spacing[rng.integers(ndim)] *= 1.2
    else:
        raise InputError(f"Headers are 'plain', 'varied' or 'oblique', not {headers!r}.")
    shape = np.maximum(np.rint(extent / spacing).astype(int), 2)
    lattice = np.eye(ndim + 1)
    lattice[:ndim, :ndim] = np.diag(spacing)
    lattice[:ndim, ndim] = -(shape - 1) * spacing / 2.0
    if crop:
        shape, lattice = _crop(rng, shape, lattice)
    if headers == "plain":
        return _plain(shape, lattice, step)
    shape, lattice = _shuffle_axes(rng, shape, lattice)
    frame = np.eye(ndim + 1)
    frame[:ndim, ndim] = rng.uniform(-0.5, 0.5, ndim) * extent
    if headers == "oblique":
        frame[:ndim, :ndim] = rotation(np.deg2rad(rng.uniform(-20.0, 20.0, 2 * ndim - 3)))
    return CaseGrid(tuple(map(int, shape)), _embed(frame @ lattice), frame, True)


def _plain(shape: NDArray[np.int_], lattice: Floats, step: float) -> CaseGrid:
    """Return a RAS grid in 3D, a picture of unknown pixel size in 2D."""
    sizes = tuple(map(int, shape))
    if len(sizes) == 3:
        return CaseGrid(sizes, lattice, np.eye(4), True)
    # A picture's rows run downwards and, as radiologists look at it, the front is on the left:
    # both axes are turned, which is what the LPS identity direction of such files says.
    end = lattice[:2, :2] @ (np.array(sizes) - 1.0) + lattice[:2, 2]
    downwards = np.array([[-step, 0.0, end[0]], [0.0, -step, end[1]], [0.0, 0.0, 1.0]])
    pixels = np.diag([-1.0, -1.0, 1.0])
    frame = pixels @ np.linalg.inv(downwards)
    return CaseGrid(sizes, _embed(pixels), frame, False)


def _crop(
    rng: np.random.Generator, shape: NDArray[np.int_], lattice: Floats
) -> tuple[NDArray[np.int_], Floats]:
    """Cut a margin of up to a fifth off one side of some axes."""
    ndim = len(shape)
    shape, lattice = shape.copy(), lattice.copy()
    for k in range(ndim):
        cut, low = int(rng.integers(0, shape[k] // 5 + 1)), bool(rng.integers(2))
        if rng.random() < 0.5:
            continue
        cut = min(cut, max(int(shape[k]) - MIN_CROPPED, 0))
        shape[k] -= cut
        if low:
            lattice[:ndim, ndim] += cut * lattice[:ndim, k]
    return shape, lattice


def _shuffle_axes(
    rng: np.random.Generator, shape: NDArray[np.int_], lattice: Floats
) -> tuple[NDArray[np.int_], Floats]:
    """Permute and flip the axes of the array; the voxels stay where they are in the world."""
    ndim = len(shape)
    order = rng.permutation(ndim)
    shape, lattice = shape[order], lattice[:, [*order, ndim]]
    for k in np.flatnonzero(rng.integers(0, 2, ndim)):
        lattice[:ndim, ndim] += (shape[k] - 1) * lattice[:ndim, k]
        lattice[:ndim, k] *= -1.0
    return shape, lattice


def _embed(affine: Floats) -> Floats:
    """Return the 4x4 form of a 2D or 3D affine."""
    d = affine.shape[0] - 1
    result = np.eye(4)
    result[:d, :d] = affine[:d, :d]
    result[:d, 3] = affine[:d, d]
    return result

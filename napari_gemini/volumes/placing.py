"""Place a scan in the study: by its centre of mass, or by an affine fit to a reference."""

from __future__ import annotations

import numpy as np

from napari_gemini.volumes.geometry import FloatArray, bounding_extent, transform_points
from napari_gemini.volumes.intensity import normalise
from napari_gemini.volumes.study_grid import Placement, StudyGrid, check_fits
from napari_gemini.volumes.volume import Volume


def place_by_center_of_mass(volume: Volume, grid: StudyGrid) -> Placement:
    """Bring the centre of mass of a scan to the middle of the study grid, by a shift alone.

    The shift is limited so that a scan that fits into the grid stays inside. One voxel centre is
    put exactly onto a grid voxel, so a scan that has the grid's spacing and axes passes to the grid
    and back without any interpolation.

    Parameters
    ----------
    volume
        The scan.
    grid
        The study grid.

    Returns
    -------
    Placement
        A translation.

    Raises
    ------
    InputError
        If the scan is much larger than the grid, or of another dimension.
    """
    check_fits(volume, grid)
    d = grid.ndim
    middle = volume.voxel_to_world((np.array(volume.shape) - 1) / 2)
    shift = volume.voxel_to_world(center_of_mass(volume)) - middle
    size = (np.array(grid.shape) - 1) * np.array(grid.spacings)
    margin = np.maximum(0.0, size - bounding_extent(volume.affine, volume.shape)) / 2
    wanted = middle + np.clip(shift, -margin, margin)
    matrix = np.eye(4)
    matrix[:d, 3] = _onto_grid_voxel(volume, grid, wanted, middle, margin)
    return Placement(matrix, "center")


def center_of_mass(volume: Volume) -> FloatArray:
    """Mean voxel position (d,), each voxel weighted by its brightness between the percentiles."""
    weights = normalise(volume.data)
    total = float(weights.sum(dtype=np.float64))
    middle = (np.array(volume.shape) - 1) / 2
    if total <= 0:
        return np.asarray(middle)
    axes = range(volume.ndim)
    center = []
    for axis in axes:
        others = tuple(other for other in axes if other != axis)
        profile = weights.sum(axis=others, dtype=np.float64)
        center.append(float(profile @ np.arange(len(profile))) / total)
    return np.array(center)


def _onto_grid_voxel(
    volume: Volume, grid: StudyGrid, wanted: FloatArray, middle: FloatArray, margin: FloatArray
) -> FloatArray:
    """Move the wanted centre by up to half a voxel so that a voxel centre meets a grid voxel."""
    d = grid.ndim
    spacing = np.array(grid.spacings)
    inverse = np.linalg.inv(volume.affine)
    anchor = volume.voxel_to_world(np.floor(transform_points(inverse, wanted) + 0.5))
    # Grid voxels lie at study positions first + n * spacing.
    first = grid.affine[:d, 3]
    steps = np.rint((anchor - wanted - first) / spacing)
    snapped = anchor - first - steps * spacing
    # Rounding must not push the scan over the edge of the grid: take the neighbour, or no rounding.
    limit = margin + 1e-6 * spacing
    result = wanted.copy()
    for axis in range(d):
        for candidate in (0.0, -spacing[axis], spacing[axis]):
            if abs(snapped[axis] + candidate - middle[axis]) <= limit[axis]:
                result[axis] = snapped[axis] + candidate
                break
    return result


def place_by_affine(
    volume: Volume,
    reference: Volume,
    grid: StudyGrid,
    reference_placement: Placement | None = None,
    iterations: int = 100,
) -> Placement:
    """Fit a scan to a reference scan by an affine map that makes their intensities informative.

    Mattes mutual information, coarse to fine, starting from the centres of mass. The same input
    gives the same placement: one thread, regular sampling, a fixed seed.

    Parameters
    ----------
    volume
        The scan to place.
    reference
        The scan that already lies in the study.
    grid
        The study grid.
    reference_placement
        How the reference lies in it; by its centre of mass by default.
    iterations
        Largest number of steps of each of the levels.

    Returns
    -------
    Placement
        An affine map, or the placement by centre of mass (``method == "center"``) where the fit
        found nothing better or something implausible (a mirror, an axis scaled by more than 2).

    Raises
    ------
    InputError
        If the scan is much larger than the grid, or of another dimension.
    """
    from napari_gemini.volumes.affine_fit import fit_affine

    start = place_by_center_of_mass(volume, grid)
    if reference_placement is None:
        reference_placement = place_by_center_of_mass(reference, grid)
    return fit_affine(volume, reference, grid, start, reference_placement, iterations)

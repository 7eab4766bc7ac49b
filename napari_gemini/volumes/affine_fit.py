"""Affine alignment of two scans by mutual information, with SimpleITK."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from napari_gemini.volumes.geometry import FloatArray
from napari_gemini.volumes.intensity import normalise
from napari_gemini.volumes.itk_image import array_to_itk, geometry_of_affine, image_to_itk
from napari_gemini.volumes.resampling import image_to_grid
from napari_gemini.volumes.sampling import inside_mask, slab_positions
from napari_gemini.volumes.study_grid import Placement, StudyGrid, grid_to_voxel
from napari_gemini.volumes.volume import Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

_BINS = 32
_SAMPLES = 60_000
_SEED = 20250
_LARGEST_SCALING = 2.0
_SHRINK = (4, 2, 1)


def fit_affine(
    volume: Volume,
    reference: Volume,
    grid: StudyGrid,
    start: Placement,
    reference_placement: Placement,
    iterations: int = 100,
) -> Placement:
    """Improve a placement; see :func:`napari_gemini.volumes.placing.place_by_affine`.

    Parameters
    ----------
    volume, reference
        The scan to place and the one it is fitted to.
    grid
        The study grid.
    start
        The placement of `volume` to begin with.
    reference_placement
        The placement of `reference`.
    iterations
        Largest number of steps per level.

    Returns
    -------
    Placement
        With ``method`` "affine", or `start` itself.
    """
    on_grid = image_to_grid(reference, grid, reference_placement, normalise(reference.data))
    fixed = array_to_itk(on_grid, geometry_of_affine(grid.affine, grid.shape))
    moving = image_to_itk(volume, normalise(volume.data))
    method = _method(grid, iterations)
    # Beyond the reference there is nothing to compare with.
    mask = _covered(reference, grid, reference_placement).astype(np.uint8)
    method.SetMetricFixedMask(array_to_itk(mask, geometry_of_affine(grid.affine, grid.shape)))
    transform = _to_itk(start.matrix, grid.ndim)
    method.SetInitialTransform(transform, inPlace=True)
    try:
        with _one_thread():
            before = method.MetricEvaluate(fixed, moving)
            method.Execute(fixed, moving)
            after = method.MetricEvaluate(fixed, moving)
    except RuntimeError:  # no overlap, or all samples left the scan
        return start
    matrix = _from_itk(transform, grid.ndim)
    if after >= before or not _plausible(matrix, start.matrix, grid.ndim):
        return start
    return Placement(matrix, "affine")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let ITK sum in one order: the sums of several threads differ in their last digits.

    The method's own setting does not reach the metric inside it, so the process's has to change.
    """
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _method(grid: StudyGrid, iterations: int) -> sitk.ImageRegistrationMethod:
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetInterpolator(sitk.sitkLinear)
    shrink = [factor for factor in _SHRINK if min(grid.shape) / factor >= 8]
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel([factor / 2 if factor > 1 else 0.0 for factor in shrink])
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(False)
    voxels = [float(np.prod(np.array(grid.shape) // factor)) for factor in shrink]
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentagePerLevel(
        [min(1.0, _SAMPLES / count) for count in voxels], seed=_SEED
    )
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=max(grid.spacings) * shrink[0] / 2,
        minStep=min(grid.spacings) * 3e-3,
        numberOfIterations=iterations,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-8,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    return method


def _covered(volume: Volume, grid: StudyGrid, placement: Placement) -> FloatArray:
    whole = slice(0, grid.shape[0])
    positions = slab_positions(grid_to_voxel(volume, grid, placement), grid.shape, whole)
    return inside_mask(positions, volume.shape)  # type: ignore[return-value]


def _to_itk(matrix: FloatArray, d: int) -> sitk.AffineTransform:
    import SimpleITK as sitk

    flip = np.array([-1.0, -1.0, 1.0])[:d]
    transform = sitk.AffineTransform(d)
    transform.SetMatrix((flip[:, None] * matrix[:d, :d] * flip[None, :]).ravel().tolist())
    transform.SetTranslation((flip * matrix[:d, 3]).tolist())
    return transform


def _from_itk(transform: sitk.AffineTransform, d: int) -> FloatArray:
    flip = np.array([-1.0, -1.0, 1.0])[:d]
    origin = np.array(transform.TransformPoint([0.0] * d))
    matrix = np.eye(4)
    matrix[:d, :d] = flip[:, None] * np.array(transform.GetMatrix()).reshape(d, d) * flip[None, :]
    matrix[:d, 3] = flip * origin
    return matrix


def _plausible(matrix: FloatArray, start: FloatArray, d: int) -> bool:
    relative = matrix[:d, :d] @ np.linalg.inv(start[:d, :d])
    if np.linalg.det(relative) <= 0:
        return False
    scalings = np.linalg.svd(relative, compute_uv=False)
    return bool(scalings.max() <= _LARGEST_SCALING and scalings.min() >= 1 / _LARGEST_SCALING)

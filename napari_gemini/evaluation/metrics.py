"""Overlap and surface distance of two label maps, in millimetres of the scan they belong to.

Surface distances are taken between boundary voxel centres in world space, so anisotropic, oblique
and sheared affines are all treated alike. Definitions: Dice is ``2|P∩R| / (|P|+|R|)``; HD95 is the
larger of the two directed 95th percentiles; ASSD averages over the boundary voxels of both sides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_erosion, find_objects, generate_binary_structure
from scipy.spatial import cKDTree

from napari_gemini.errors import InputError

Mask = NDArray[np.bool_]
Scores = dict[str, float | int | None]


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances from each boundary voxel of one mask to the nearest boundary voxel of the other.

    Attributes
    ----------
    forward
        From the prediction to the reference, shape ``(n,)``, in units of the affine.
    backward
        From the reference to the prediction, shape ``(m,)``.
    """

    forward: NDArray[np.float64]
    backward: NDArray[np.float64]

    @property
    def hd95(self) -> float:
        """The larger of both directed 95th percentiles (robust Hausdorff distance)."""
        return float(max(np.percentile(self.forward, 95), np.percentile(self.backward, 95)))

    @property
    def assd(self) -> float:
        """Average symmetric surface distance: the mean over both sets of distances together."""
        total = self.forward.sum() + self.backward.sum()
        return float(total / (self.forward.size + self.backward.size))


def dice(prediction: ArrayLike, reference: ArrayLike, label: int | None = None) -> float | None:
    """Return the Dice coefficient of one label.

    Parameters
    ----------
    prediction, reference
        Label maps of one shape, or masks when `label` is None.
    label
        The label to compare; None compares all that is not zero.

    Returns
    -------
    float or None
        Between 0 and 1; None where the label is absent from either side.
    """
    predicted, expected = _masks(prediction, reference, label)
    sizes = int(predicted.sum()), int(expected.sum())
    if not all(sizes):
        return None
    return 2.0 * int((predicted & expected).sum()) / sum(sizes)


def hd95_mm(
    prediction: ArrayLike, reference: ArrayLike, geometry: ArrayLike, label: int | None = None
) -> float | None:
    """Return the 95th percentile of the Hausdorff distance of one label in mm.

    Parameters
    ----------
    prediction, reference
        Label maps of one shape, or masks when `label` is None.
    geometry
        Affine (4, 4), its linear part (d, d), or the spacing (d,) in mm; see `linear_part`.
    label
        The label to compare; None compares all that is not zero.

    Returns
    -------
    float or None
        Millimetres; None where the label is absent from either side.
    """
    distances = surface_distances(*_masks(prediction, reference, label), geometry)
    return None if distances is None else distances.hd95


def assd_mm(
    prediction: ArrayLike, reference: ArrayLike, geometry: ArrayLike, label: int | None = None
) -> float | None:
    """Return the average symmetric surface distance of one label in mm (arguments: `hd95_mm`)."""
    distances = surface_distances(*_masks(prediction, reference, label), geometry)
    return None if distances is None else distances.assd


def surface_distances(
    prediction: Mask, reference: Mask, geometry: ArrayLike
) -> SurfaceDistances | None:
    """Measure the distances between the boundaries of two masks.

    Parameters
    ----------
    prediction, reference
        Boolean masks of one shape, 2D or 3D.
    geometry
        Affine, linear part or spacing; see `linear_part`.

    Returns
    -------
    SurfaceDistances or None
        None where either mask is empty.
    """
    if not prediction.any() or not reference.any():
        return None
    matrix = linear_part(geometry, prediction.ndim)
    predicted = boundary_voxels(prediction) @ matrix.T
    expected = boundary_voxels(reference) @ matrix.T
    return SurfaceDistances(
        forward=cKDTree(expected).query(predicted)[0],
        backward=cKDTree(predicted).query(expected)[0],
    )


def boundary_voxels(mask: Mask) -> NDArray[np.intp]:
    """Return the indices (n, d) of mask voxels with a face neighbour outside the mask.

    What lies beyond the array counts as outside, except along axes of a single voxel: there the
    mask is flat and only its rim in the other axes is boundary.
    """
    box = find_objects(mask.astype(np.uint8))[0]
    if box is None:
        return np.empty((0, mask.ndim), dtype=np.intp)
    structure = generate_binary_structure(mask.ndim, 1)
    for axis, length in enumerate(mask.shape):
        if length == 1:
            structure = np.take(structure, [1], axis=axis)
    part = mask[box]
    boundary = part & ~binary_erosion(part, structure)
    return np.argwhere(boundary) + np.array([side.start for side in box])


def linear_part(geometry: ArrayLike, dimension: int) -> NDArray[np.float64]:
    """Return the matrix (d, d) that turns voxel offsets into mm.

    Parameters
    ----------
    geometry
        Affine (4, 4), linear part (d, d) or (3, d), spacing (d,) or one spacing for all axes.
    dimension
        2 or 3; a 2D image uses the first two columns of its (4, 4) affine.

    Returns
    -------
    numpy.ndarray
        Shape (d, d), or (3, 2) for a 2D image that lies obliquely in the world.

    Raises
    ------
    InputError
        If the shape is none of these, or a spacing is not positive.
    """
    values = np.asarray(geometry, dtype=np.float64)
    if values.ndim == 0:
        values = np.full(dimension, float(values))
    if values.shape == (dimension,):
        matrix = np.diag(values)
    elif values.shape == (4, 4):
        matrix = values[:3, :dimension]
    elif values.shape in {(dimension, dimension), (3, dimension)}:
        matrix = values
    else:
        raise InputError(
            f"A geometry of shape {values.shape} does not fit a {dimension}D label map; give an "
            f"affine (4, 4) or a spacing of {dimension} numbers."
        )
    lengths = np.linalg.norm(matrix, axis=0)
    spacing_given = values.shape == (dimension,)
    if (
        not np.isfinite(matrix).all()
        or (lengths == 0).any()
        or (spacing_given and values.min() < 0)
    ):
        raise InputError("The voxel spacing has to be positive and finite; correct the header.")
    return matrix


def score_masks(prediction: Mask, reference: Mask, geometry: ArrayLike | None) -> Scores:
    """Score one label given as two masks.

    Parameters
    ----------
    prediction, reference
        Boolean masks of one shape.
    geometry
        Affine or spacing in mm; None where the spacing is unknown: then no distance is given.

    Returns
    -------
    dict
        ``dice``, ``voxels``, ``reference_voxels`` and, with a geometry, ``hd95_mm``, ``assd_mm``,
        ``volume_ml`` and ``reference_volume_ml`` (2D: ``area_mm2``, ``reference_area_mm2``). Dice
        and distances are None where the label is absent from either side.
    """
    sizes = int(prediction.sum()), int(reference.sum())
    scores: Scores = {
        "dice": dice(prediction, reference),
        "voxels": sizes[0],
        "reference_voxels": sizes[1],
    }
    if geometry is None:
        return scores
    distances = surface_distances(prediction, reference, geometry)
    scores["hd95_mm"] = None if distances is None else distances.hd95
    scores["assd_mm"] = None if distances is None else distances.assd
    matrix = linear_part(geometry, prediction.ndim)
    cell = float(np.sqrt(np.linalg.det(matrix.T @ matrix)))
    name, scale = ("volume_ml", 1e-3) if prediction.ndim == 3 else ("area_mm2", 1.0)
    scores[name], scores[f"reference_{name}"] = (size * cell * scale for size in sizes)
    return scores


def score_case(
    prediction: ArrayLike,
    reference: ArrayLike,
    geometry: ArrayLike | None,
    labels: Iterable[int] | None = None,
    *,
    ignore: int | None = None,
) -> dict[int, Scores]:
    """Score every label of one case.

    Parameters
    ----------
    prediction, reference
        Integer label maps of one shape, 2D or 3D; 0 is background.
    geometry
        Affine (4, 4) or spacing (d,) in mm; None where the spacing is unknown.
    labels
        Labels to score; None takes every label that occurs on either side.
    ignore
        A label of the reference whose voxels count on neither side.

    Returns
    -------
    dict
        Label to scores (see `score_masks`), in ascending order of label.

    Raises
    ------
    InputError
        If the shapes differ.
    """
    predicted, expected = np.asarray(prediction), np.asarray(reference)
    _require_same_shape(predicted, expected)
    if ignore is not None:
        counted = expected != ignore
        predicted, expected = np.where(counted, predicted, 0), np.where(counted, expected, 0)
    boxes = _label_boxes(predicted), _label_boxes(expected)
    wanted = boxes[0].keys() | boxes[1].keys() if labels is None else {int(n) for n in labels}
    scores = {}
    for label in sorted(wanted - {0, ignore}):
        box = _joint_box([found[label] for found in boxes if label in found], predicted.shape)
        scores[label] = score_masks(predicted[box] == label, expected[box] == label, geometry)
    return scores


def _label_boxes(labels: NDArray) -> dict[int, tuple[slice, ...]]:
    """Return the bounding box of every value of a label map."""
    values, positions = np.unique(labels, return_inverse=True)
    boxes = find_objects(positions.reshape(labels.shape) + 1)
    return {int(value): box for value, box in zip(values, boxes, strict=True) if box is not None}


def _joint_box(boxes: list[tuple[slice, ...]], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the box around `boxes` with one voxel more on each side where the array has it.

    The margin keeps a label that is one voxel thick from looking like a flat image.
    """
    if not boxes:
        return tuple(slice(0, min(length, 2)) for length in shape)
    return tuple(
        slice(
            max(min(box[axis].start for box in boxes) - 1, 0),
            min(max(box[axis].stop for box in boxes) + 1, length),
        )
        for axis, length in enumerate(shape)
    )


def _masks(prediction: ArrayLike, reference: ArrayLike, label: int | None) -> tuple[Mask, Mask]:
    predicted, expected = np.asarray(prediction), np.asarray(reference)
    _require_same_shape(predicted, expected)
    if label is None:
        return predicted != 0, expected != 0
    return predicted == label, expected == label


def _require_same_shape(prediction: NDArray, reference: NDArray) -> None:
    if prediction.shape != reference.shape:
        raise InputError(
            f"The label maps have different shapes, {prediction.shape} and {reference.shape}; "
            "compare maps on one grid."
        )

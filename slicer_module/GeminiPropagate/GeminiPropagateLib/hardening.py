"""The check at import: the engine's labels against the atlas as Slicer itself warps it.

Two programs apply the same field to the same label map. Where they disagree, an orientation or a
direction was misread somewhere, and the user has to know before he believes the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.geometry import WorldGrid, array_of_volume
from GeminiPropagateLib.labels import Label
from GeminiPropagateLib.mrml_io import read_node
from GeminiPropagateLib.translations import _

#: Dice of a label below which the two count as different.
SAME = 0.99
#: Voxels in which labels may differ anyhow: Slicer samples the field more smoothly (cubic) once a
#: scene was loaded, which moves a border by less than a voxel.
_FEW_VOXELS = 10


def hardened_labels(atlas_labels: Path, transform_node: Any, target_node: Any) -> Any:
    """Return an atlas label map as Slicer hardens it, on a target's grid.

    Parameters
    ----------
    atlas_labels
        The label map that the engine got.
    transform_node
        The field; the atlas is put under it.
    target_node
        Volume node.

    Returns
    -------
    numpy.ndarray
        Label map (k, j, i).
    """
    scene = slicer.vtkMRMLScene()
    atlas = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "atlas")
    read_node(atlas, atlas_labels)
    source = WorldGrid(atlas).oriented_image(array_of_volume(atlas))
    grid = WorldGrid(target_node)
    warped = slicer.vtkOrientedImageData()
    # What hardening does, but once and onto the target's grid instead of twice.
    done = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        source, grid.oriented_image(), warped, False, False, transform_node.GetTransformToParent()
    )
    if not done:
        raise PropagateError(_("Slicer cannot apply the field to the atlas."))
    return vtk_to_numpy(warped.GetPointData().GetScalars()).reshape(grid.dimensions[::-1])


def check_hardened(
    atlas_labels: Path,
    transform_node: Any,
    target_node: Any,
    label_map: np.ndarray[Any, Any],
    labels: Sequence[Label],
) -> str:
    """Compare the engine's labels with the atlas hardened by Slicer under the field.

    Parameters
    ----------
    atlas_labels, transform_node, target_node
        As for :func:`hardened_labels`.
    label_map
        What the engine gave (k, j, i).
    labels
        Names of the values.

    Returns
    -------
    str
        Empty when they agree (Dice of every label at least 0.99), else a sentence of warning.
    """
    hardened = hardened_labels(atlas_labels, transform_node, target_node)
    names = {label.value: label.name for label in labels}
    worst: tuple[float, int] | None = None
    for value in np.union1d(np.unique(hardened), np.unique(label_map)):
        ours, theirs = hardened == value, label_map == value
        if value == 0 or np.count_nonzero(ours != theirs) <= _FEW_VOXELS:
            continue
        dice = 2.0 * np.count_nonzero(ours & theirs) / (ours.sum() + theirs.sum())
        if dice < SAME and (worst is None or dice < worst[0]):
            worst = (float(dice), int(value))
    if worst is None:
        return ""
    dice, value = worst
    return _(
        "The labels do not equal the atlas that Slicer warps with the same field ({label}: "
        "Dice {dice:.3f}); do not use this result, and report how its volumes are "
        "oriented."
    ).format(label=names.get(value, value), dice=dice)


def fold_warning(fold_percent: float | None) -> str:
    """Return a sentence about the inverse where the field folds, empty where it does not.

    Parameters
    ----------
    fold_percent
        Share of voxels whose Jacobian determinant is not positive.
    """
    if not fold_percent or fold_percent <= 0:
        return ""
    return _(
        "The field folds in {fold_percent:.2g} % of the voxels: its inverse, with which "
        "surfaces, markups and arrows are drawn, cannot be relied on there. Labels and "
        "images are not affected by that."
    ).format(fold_percent=fold_percent)

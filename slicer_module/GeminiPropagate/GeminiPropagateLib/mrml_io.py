"""Nodes to files for the engine, and the engine's files to nodes.

Nothing in the user's scene changes while files are written: clones live in a scene of their own,
parent transforms (linear, nested or not linear) are hardened on the clones, so every file is in
world coordinates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.geometry import (
    WorldGrid,
    array_of_volume,
    check_not_sheared,
    hardened_clone,
    matrix_of_array,
)
from GeminiPropagateLib.translations import _


def write_volume(volume_node: Any, path: Path) -> None:
    """Write a scalar volume in world coordinates.

    Parameters
    ----------
    volume_node
        The volume; it stays as it is.
    path
        ``.nrrd`` keeps the grid in full precision.

    Raises
    ------
    PropagateError
        If the volume is empty, has several components or a sheared grid, or the file cannot be
        written.
    """
    array_of_volume(volume_node)
    scene = slicer.vtkMRMLScene()
    clone = hardened_clone(volume_node, scene)
    check_not_sheared(clone, volume_node.GetName())
    write_node(clone, path)


def write_node(node: Any, path: Path) -> None:
    """Write a node through its storage node, which the node does not keep.

    Raises
    ------
    PropagateError
        If the file cannot be written.
    """
    storage = _storage_of(node)
    storage.SetFileName(str(path))
    if hasattr(storage, "SetUseCompression"):
        # Read once and deleted: compressing takes longer than writing.
        storage.SetUseCompression(0)
    if not storage.WriteData(node):
        raise PropagateError(
            _("{path} cannot be written; free some disk space or choose another folder.").format(
                path=path
            )
        )


def read_node(node: Any, path: Path) -> None:
    """Read a file into a node, in place, so that it is saved with the scene.

    The node gets no storage node: results in a temporary folder would be lost if the scene only
    named their files.

    Raises
    ------
    PropagateError
        If the file is missing or damaged.
    """
    if not path.is_file():
        raise PropagateError(_("{path} is missing; run the propagation again.").format(path=path))
    storage = _storage_of(node)
    storage.SetFileName(str(path))
    if hasattr(storage, "SetCenterImage"):
        storage.SetCenterImage(0)
    if not storage.ReadData(node):
        raise PropagateError(
            _("{path} cannot be read; run the propagation again.").format(path=path)
        )


def _storage_of(node: Any) -> Any:
    """Return a new storage node that nobody but the caller holds."""
    storage = node.CreateDefaultStorageNode()
    # Slicer hands it out with a count of its own, which Python does not take back.
    if storage.GetReferenceCount() > 1:
        storage.UnRegister(None)
    return storage


def read_array(path: Path, grid: WorldGrid) -> np.ndarray[Any, Any]:
    """Return the voxels (k, j, i) of an image file that has to lie on a grid.

    Raises
    ------
    PropagateError
        If the file is missing, damaged or on another grid.
    """
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "file")
    read_node(node, path)
    # Slicer turns the slices of left-handed files around while it reads them.
    flips = grid.flips_to(node)
    if flips is None:
        raise PropagateError(
            _(
                "{name} lies on another grid than its target, which was changed after the "
                "run began; run the propagation again."
            ).format(name=path.name)
        )
    return np.ascontiguousarray(np.flip(array_of_volume(node), flips))


def fill_volume(node: Any, array: np.ndarray[Any, Any], grid: WorldGrid) -> None:
    """Give a scalar volume node voxels (k, j, i) on a grid, exactly: NIfTI rounds grids."""
    image = vtk.vtkImageData()
    image.SetDimensions(*grid.dimensions)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=1))
    node.SetIJKToRASMatrix(matrix_of_array(grid.matrix))
    node.SetAndObserveImageData(image)


def read_transform_into(transform_node: Any, path: Path) -> None:
    """Read ``field.h5`` into a transform node, in place.

    An ITK displacement field maps fixed (target) points to moving (atlas) points: the node's
    transform from parent. A volume or segmentation of the atlas under the node moves onto the
    target.

    Raises
    ------
    PropagateError
        If the file is missing, damaged, or no displacement field.
    """
    scene = slicer.vtkMRMLScene()
    read = scene.AddNewNodeByClass("vtkMRMLTransformNode", "file")
    read_node(read, path)
    grid = read.GetTransformFromParentAs("vtkOrientedGridTransform", False, False)
    if grid is None or read.IsAbstractTransformComputedFromInverse(grid):
        raise PropagateError(
            _(
                "{path} holds no displacement field in the direction of ITK; run the "
                "propagation again."
            ).format(path=path)
        )
    # Slicer reads fields to be sampled with cubic splines; ITK and the engine sample linearly.
    grid.SetInterpolationModeToLinear()
    transform_node.CopyContent(read, False)

"""Grids of volume nodes in world coordinates, and clones of nodes with hardened transforms.

Slicer's arrays are indexed k, j, i; ``IJKToRAS`` maps voxel indices i, j, k to RAS millimetres.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.translations import _

#: Rounding that file formats do to a grid, in parts of a voxel.
_GRID_TOLERANCE = 1e-3
#: Cosine between two axes above which a grid counts as sheared.
_SHEAR_TOLERANCE = 1e-4


def array_of_matrix(matrix: Any) -> np.ndarray[Any, Any]:
    """Return a vtkMatrix4x4 as an array (4, 4)."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def matrix_of_array(array: np.ndarray[Any, Any]) -> Any:
    """Return an array (4, 4) as a vtkMatrix4x4."""
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, float(array[row, column]))
    return matrix


def ijk_to_ras(volume_node: Any) -> np.ndarray[Any, Any]:
    """Return the matrix (4, 4) of a volume node, its parent transform not counted."""
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return array_of_matrix(matrix)


def array_of_volume(volume_node: Any) -> np.ndarray[Any, Any]:
    """Return a view (k, j, i) of a volume node's voxels.

    Raises
    ------
    PropagateError
        If it has none, or several components a voxel.
    """
    image = volume_node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        raise PropagateError(
            _("The volume {volume} is empty; load it again.").format(volume=volume_node.GetName())
        )
    if image.GetNumberOfScalarComponents() != 1:
        raise PropagateError(
            _(
                "The volume {volume} has {components} values per voxel; choose a scalar volume."
            ).format(volume=volume_node.GetName(), components=image.GetNumberOfScalarComponents())
        )
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def hardened_clone(node: Any, scene: Any) -> Any:
    """Copy a volume or segmentation node into another scene, in world coordinates.

    Any chain of parent transforms, linear or not, is hardened on the copy; the node itself and
    its scene stay as they are.

    Parameters
    ----------
    node
        A transformable node.
    scene
        A scene of its own for the copy, which has to be kept while the copy is used.
    """
    clone = getattr(slicer, node.GetClassName())()
    clone.CopyContent(node, True)
    clone.SetName(node.GetName())
    scene.AddNode(clone)
    parent = node.GetParentTransformNode()
    if parent is None:
        return clone
    # Nested parents become one node: importers and hardening mistake chains of them.
    wrapper = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    if parent.IsTransformToWorldLinear():
        matrix = vtk.vtkMatrix4x4()
        parent.GetMatrixTransformToWorld(matrix)
        wrapper.SetMatrixTransformToParent(matrix)
    else:
        to_world = vtk.vtkGeneralTransform()
        slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(parent, None, to_world)
        wrapper.SetAndObserveTransformToParent(to_world)
    clone.SetAndObserveTransformNodeID(wrapper.GetID())
    if not clone.HardenTransform():
        raise PropagateError(
            _(
                "The transform of {node} cannot be applied to it; harden it in the module "
                "Transforms first."
            ).format(node=node.GetName())
        )
    return clone


def check_not_sheared(volume_node: Any, name: str) -> None:
    """Refuse a grid whose axes are not at right angles: image files cannot hold it.

    Raises
    ------
    PropagateError
        Naming the volume.
    """
    axes = ijk_to_ras(volume_node)[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    if not np.all(lengths > 0):
        raise PropagateError(
            _("The volume {name} has voxels without a size; correct its geometry.").format(
                name=name
            )
        )
    cosines = (axes / lengths).T @ (axes / lengths) - np.eye(3)
    if np.abs(cosines).max() > _SHEAR_TOLERANCE:
        raise PropagateError(
            _(
                "The grid of {name} is sheared (by a transform or a tilted scanner); "
                "resample it with the module Resample Scalar/Vector/DWI Volume first."
            ).format(name=name)
        )


class WorldGrid:
    """Dimensions and matrix of a volume in world coordinates.

    Parameters
    ----------
    volume_node
        A volume; its parent transform counts.

    Attributes
    ----------
    dimensions
        Voxels along i, j, k.
    matrix
        Voxel index to RAS mm, (4, 4).
    """

    def __init__(self, volume_node: Any) -> None:
        if volume_node.GetParentTransformNode() is not None:
            scene = slicer.vtkMRMLScene()
            volume_node = hardened_clone(volume_node, scene)
        array_of_volume(volume_node)
        self.dimensions = tuple(volume_node.GetImageData().GetDimensions())
        self.matrix = ijk_to_ras(volume_node)

    def flips_to(self, volume_node: Any) -> tuple[int, ...] | None:
        """Return which axes of a volume's array (k, j, i) run the other way than here.

        Parameters
        ----------
        volume_node
            A volume without parent transform.

        Returns
        -------
        tuple of int or None
            Axes to flip, mostly none; None where the volume lies on another grid, rounding in
            files apart.
        """
        if tuple(volume_node.GetImageData().GetDimensions()) != self.dimensions:
            return None
        last = np.array(self.dimensions) - 1
        there = np.linalg.solve(self.matrix, ijk_to_ras(volume_node))
        signs = np.where(np.diag(there)[:3] < 0, -1.0, 1.0)
        corners = np.array(np.meshgrid(*[[0, n] for n in last])).reshape(3, -1)
        expected = np.where(signs[:, None] < 0, last[:, None] - corners, corners)
        moved = there[:3, :3] @ corners + there[:3, 3:]
        if np.abs(moved - expected).max() > _GRID_TOLERANCE * max(self.dimensions):
            return None
        return tuple(2 - axis for axis in range(3) if signs[axis] < 0)

    def points(self, indices: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return RAS points (n, 3) of voxel indices (n, 3) in the order i, j, k."""
        return indices @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def oriented_image(self, array: np.ndarray[Any, Any] | None = None) -> Any:
        """Return a vtkOrientedImageData on this grid with a copy of an array (k, j, i)."""
        image = slicer.vtkOrientedImageData()
        image.SetDimensions(*self.dimensions)
        if array is None:
            image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
            image.GetPointData().GetScalars().Fill(0)
        else:
            data = vtk.util.numpy_support.numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=1)
            image.GetPointData().SetScalars(data)
        image.SetGeometryFromImageToWorldMatrix(matrix_of_array(self.matrix))
        return image

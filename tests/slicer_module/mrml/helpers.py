"""Scenes on Slicer's real core (slicer-core), grids of every kind, and SimpleITK beside them."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer
from GeminiPropagateLib.geometry import array_of_volume, ijk_to_ras, matrix_of_array
from GeminiPropagateLib.jobs import PropagateOptions
from GeminiPropagateLib.labels import Label
from GeminiPropagateLib.mrml_io import read_node
from GeminiPropagateLib.scene_nodes import AtlasNodes
from GeminiPropagateLib.scene_run import ScenePropagation, SceneUpdate
from GeminiPropagateLib.segmentations import fill_segmentation, read_labels_into
from vtk.util.numpy_support import numpy_to_vtk

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
ATLAS_LABELS = (
    Label(5, "Left ventricle", (0.9, 0.2, 0.1), "cat~type~^^~anat"),
    Label(300, "Köpfchen", (0.1, 0.8, 0.2)),
    Label(2, "Left ventricle", (0.2, 0.2, 0.9)),
)


def rotation(degrees: float, axis: int) -> np.ndarray:
    """Return a rotation (3, 3) about a world axis."""
    turn = np.radians(degrees)
    first, second = [other for other in range(3) if other != axis]
    matrix = np.eye(3)
    matrix[[first, second], [first, second]] = np.cos(turn)
    matrix[first, second], matrix[second, first] = -np.sin(turn), np.sin(turn)
    return matrix


def grid(axes: np.ndarray, spacing: Iterable[float], origin: Iterable[float]) -> np.ndarray:
    """Return voxel index to RAS (4, 4)."""
    matrix = np.eye(4)
    matrix[:3, :3] = axes * np.asarray(list(spacing))
    matrix[:3, 3] = list(origin)
    return matrix


OBLIQUE = rotation(20.0, 2) @ rotation(-15.0, 0)
#: Every kind of grid that a scan may come on.
GRIDS = {
    "axis-aligned": grid(np.eye(3), (1, 1, 1), (5, -3, 2)),
    "anisotropic": grid(np.eye(3), (0.8, 1.2, 3.0), (0, 0, 0)),
    "flipped": grid(np.diag([-1.0, -1.0, 1.0]), (1.0, 1.1, 1.3), (20, 30, -10)),
    "mirrored": grid(np.diag([1.0, -1.0, 1.0]), (1.0, 1.0, 2.0), (3, 2, 1)),
    "permuted": grid(np.eye(3)[:, [2, 0, 1]], (1.5, 1.0, 1.2), (-4, 7, 9)),
    "oblique": grid(OBLIQUE, (1.2, 0.8, 3.0), (11, -17, 23)),
}


def add_volume(scene: Any, array: np.ndarray, matrix: np.ndarray, name: str = "volume") -> Any:
    """Add a scalar volume with an array (k, j, i)."""
    import vtk

    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=1))
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(matrix_of_array(matrix))
    return node


def load_volume(scene: Any, path: Path, name: str) -> Any:
    """Load an image file as a scalar volume."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    read_node(node, path)
    return node


def add_segmentation(
    scene: Any,
    volume: Any,
    label_map: np.ndarray,
    labels: Iterable[Label] = ATLAS_LABELS,
    name: str = "segmentation",
) -> Any:
    """Add a segmentation with a label map (k, j, i) on a volume's grid."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    fill_segmentation(node, label_map, list(labels), volume)
    return node


def add_linear(scene: Any, matrix: np.ndarray, parent: Any = None) -> Any:
    """Add a linear transform to parent."""
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "linear")
    node.SetMatrixTransformToParent(matrix_of_array(matrix))
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def ras_of_itk(image: sitk.Image) -> np.ndarray:
    """Return voxel index to RAS (4, 4) of a SimpleITK image."""
    matrix = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    matrix[:3, :3] = direction * np.array(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    return LPS @ matrix


def itk_of_volume(node: Any) -> sitk.Image:
    """Return a volume node as a SimpleITK image, made without Slicer's files."""
    image = sitk.GetImageFromArray(array_of_volume(node))
    matrix = LPS @ ijk_to_ras(node)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    return image


def smooth_field(reference: sitk.Image, seed: int = 0, size: float = 3.0) -> Any:
    """Return a smooth random SimpleITK displacement field about an image, LPS mm."""
    corners = [
        reference.TransformContinuousIndexToPhysicalPoint([float(i), float(j), float(k)])
        for i in (-1, reference.GetSize()[0])
        for j in (-1, reference.GetSize()[1])
        for k in (-1, reference.GetSize()[2])
    ]
    low = np.min(corners, axis=0)
    extent = np.max(corners, axis=0) - low
    vectors = np.random.default_rng(seed).normal(0.0, size, (7, 6, 5, 3))
    lattice = sitk.GetImageFromArray(vectors, isVector=True)
    lattice.SetOrigin(low.tolist())
    lattice.SetSpacing((extent / (np.array(lattice.GetSize()) - 1)).tolist())
    return lattice


def write_field(path: Path, lattice: sitk.Image) -> sitk.Transform:
    """Write a displacement field as ``field.h5`` and return its transform."""
    transform = sitk.DisplacementFieldTransform(sitk.Image(lattice))
    sitk.WriteTransform(transform, str(path))
    return transform


def blocks(shape: tuple[int, ...], values: Iterable[int] = (5, 300, 2)) -> np.ndarray:
    """Return a label map (k, j, i) with one box a label, none at its border and none symmetric."""
    label_map = np.zeros(shape, np.int16)
    k, j, i = (size // 2 for size in shape)
    boxes = (np.s_[2:k, 2:j, 2:i], np.s_[k:-2, 2:-3, 2:i], np.s_[3:-4, j:-2, i:-2])
    for value, box in zip(values, boxes, strict=False):
        label_map[box] = value
    return label_map


def finish(run: ScenePropagation, timeout: float = 280.0) -> list[SceneUpdate]:
    """Poll a run until it has ended."""
    updates: list[SceneUpdate] = []
    until = time.monotonic() + timeout
    while not updates or updates[-1].run.state in ("waiting", "running"):
        assert time.monotonic() < until, "the run did not end in time"
        updates.append(run.poll())
        time.sleep(0.02)
    return updates


def count(scene: Any, class_name: str) -> int:
    """Return how many nodes of a class a scene has."""
    return int(scene.GetNumberOfNodesByClass(class_name))


#: Logics register the nodes and conversions of their modules in a scene, as Slicer's modules do.
_LOGIC_CLASSES = (
    slicer.vtkMRMLColorLogic,
    slicer.vtkSlicerSegmentationsModuleLogic,
    slicer.vtkSlicerSubjectHierarchyModuleLogic,
    slicer.vtkSlicerVolumesLogic,
    slicer.vtkSlicerTransformLogic,
    slicer.vtkSlicerTablesLogic,
)
#: They observe their scenes as long as they live; a scene does not keep them.
kept_logics: list[Any] = []


def new_scene() -> Any:
    """Return a scene with what the modules that are used register in Slicer."""
    scene = slicer.vtkMRMLScene()
    for logic_class in _LOGIC_CLASSES:
        logic = logic_class()
        logic.SetMRMLScene(scene)
        kept_logics.append(logic)
    # Bundles are unpacked into the cache.
    cache, manager = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
    folder = tempfile.TemporaryDirectory(prefix="gemini-test-cache-")
    cache.SetRemoteCacheDirectory(folder.name)
    manager.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(manager)
    kept_logics.extend([cache, manager, folder])
    return scene


QUICK = PropagateOptions(model="none", device="cpu", refine=3)
ENDLESS = PropagateOptions(model="none", device="cpu", refine=1_000_000)
LABELS = tuple(
    Label(value, f"Structure {value}", (value / 8, 0.5, 1 - value / 8)) for value in range(1, 7)
)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


class Cohort:
    """The phantoms in a scene: two atlases with segmentations, and targets."""

    def __init__(self, scene: Any, folder: Path) -> None:
        self.scene = scene
        self.paths = sorted((folder / "images").iterdir())
        self.atlases = [self._atlas(path, folder) for path in self.paths[:2]]

    def _atlas(self, path: Path, folder: Path) -> AtlasNodes:
        volume = load_volume(self.scene, path, path.name.split(".")[0])
        segmentation = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
        read_labels_into(segmentation, folder / "labels" / path.name, LABELS, volume)
        return AtlasNodes(volume, segmentation)

    def target(self, number: int) -> Any:
        return load_volume(self.scene, self.paths[2 + number], f"Patient {number}")


def given_labels(results: dict[str, Path]) -> dict[str, Path]:
    return {
        key: folder.parents[2] / "inputs" / "labels" / f"{key}.nrrd"
        for key, folder in results.items()
    }


def one(results: dict[str, Path]) -> dict[str, Path]:
    return dict([next(iter(results.items()))])

"""Segmentation nodes to label maps and back: values, names, colours and terminology survive.

Slicer's own export renumbers values unless it gets a colour table, and its import names segments
after a colour table; so the export here gets a table of its own, and the import builds the
segments itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.geometry import (
    WorldGrid,
    array_of_volume,
    check_not_sheared,
    hardened_clone,
    matrix_of_array,
)
from GeminiPropagateLib.labels import Label, generic_label
from GeminiPropagateLib.mrml_io import read_array, write_node
from GeminiPropagateLib.translations import _


def labels_of_segmentation(segmentation_node: Any) -> list[Label]:
    """Return value, name, colour and terminology of every segment, in order.

    Values are those of the segments (or of the node's export colour table, where it has one); a
    value that two segments share is kept by the first, the others get the next free ones.

    Parameters
    ----------
    segmentation_node
        A segmentation node.
    """
    segmentation = segmentation_node.GetSegmentation()
    segments = [segmentation.GetNthSegment(i) for i in range(segmentation.GetNumberOfSegments())]
    values = _distinct([_wanted_value(segmentation_node, segment) for segment in segments])
    return [
        Label(value, segment.GetName() or "", tuple(segment.GetColor()), _terminology(segment))
        for value, segment in zip(values, segments, strict=True)
    ]


def _wanted_value(segmentation_node: Any, segment: Any) -> int:
    table = segmentation_node.GetLabelmapConversionColorTableNode()
    index = -1 if table is None else int(table.GetColorIndexByName(segment.GetName()))
    return index if index > 0 else int(segment.GetLabelValue())


def _distinct(wanted: Sequence[int]) -> list[int]:
    """Give every segment a value of its own: segments of different layers may share one."""
    values: list[int] = []
    free = 1
    for value in wanted:
        if value <= 0 or value in values:
            while free in wanted or free in values:
                free += 1
            value = free
        values.append(value)
    return values


def _terminology(segment: Any) -> str:
    text = vtk.reference("")
    found = segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), text)
    return str(text) if found else ""


def write_labels(
    segmentation_node: Any,
    reference_volume_node: Any,
    path: Path,
    values: Mapping[str, int] | None = None,
) -> list[Label]:
    """Write a segmentation as a label map on a volume's grid, both in world coordinates.

    Where segments overlap, the later one counts.

    Parameters
    ----------
    segmentation_node, reference_volume_node
        What to write, and the volume whose grid it gets.
    path
        ``.nrrd`` keeps the grid in full precision.
    values
        Value by name of the segment, where several segmentations have to share them; None: the
        segmentation's own.

    Returns
    -------
    list of Label
        As :func:`labels_of_segmentation`, with the values that were written.

    Raises
    ------
    PropagateError
        If the segmentation is empty, lies outside the volume, or the file cannot be written.
    """
    scene = slicer.vtkMRMLScene()
    reference = hardened_clone(reference_volume_node, scene)
    array_of_volume(reference)
    check_not_sheared(reference, reference_volume_node.GetName())
    label_map, labels = _export(segmentation_node, reference, scene, values)
    if not array_of_volume(label_map).any():
        raise PropagateError(
            _(
                "The segmentation {segmentation} has no voxel within the volume "
                "{reference_volume}; choose the volume that it was drawn on."
            ).format(
                segmentation=segmentation_node.GetName(),
                reference_volume=reference_volume_node.GetName(),
            )
        )
    write_node(label_map, path)
    return labels


def overlap_warning(segmentation_node: Any, volume_node: Any) -> str:
    """Return a sentence about voxels that several segments claim, empty where there are none.

    Parameters
    ----------
    segmentation_node
        The segmentation.
    volume_node
        Whose voxels are counted.
    """
    scene = slicer.vtkMRMLScene()
    clone = hardened_clone(segmentation_node, scene)
    grid = WorldGrid(volume_node)
    binary = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    segmentation = clone.GetSegmentation()
    if not segmentation.CreateRepresentation(binary) or segmentation.GetNumberOfLayers(binary) < 2:
        return ""
    claims = np.zeros(grid.dimensions[::-1], np.uint16)
    for layer in range(segmentation.GetNumberOfLayers(binary)):
        onto = slicer.vtkOrientedImageData()
        image = segmentation.GetLayerDataObject(layer, binary)
        slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
            image, grid.oriented_image(), onto
        )
        voxels = vtk_to_numpy(onto.GetPointData().GetScalars())
        claims += voxels.reshape(claims.shape) != 0
    shared = int(np.count_nonzero(claims > 1))
    if not shared:
        return ""
    return _(
        "Segments of {segmentation} overlap in {count} voxels; a label map holds one label for "
        "each voxel, and the later segment counts there."
    ).format(segmentation=segmentation_node.GetName(), count=shared)


def label_map_of(segmentation_node: Any, volume_node: Any) -> np.ndarray[Any, Any]:
    """Return a segmentation as a label map (k, j, i) on a volume's grid, in world coordinates."""
    scene = slicer.vtkMRMLScene()
    label_map, _labels = _export(segmentation_node, hardened_clone(volume_node, scene), scene)
    return array_of_volume(label_map).copy()


def _export(
    segmentation_node: Any, reference: Any, scene: Any, values: Mapping[str, int] | None = None
) -> tuple[Any, list[Label]]:
    labels = labels_of_segmentation(segmentation_node)
    if values is not None:
        labels = [replace(label, value=values[label.name]) for label in labels]
    if not labels:
        raise PropagateError(
            _("The segmentation {segmentation} has no segments; draw or load some.").format(
                segmentation=segmentation_node.GetName()
            )
        )
    clone = hardened_clone(segmentation_node, scene)
    segmentation = clone.GetSegmentation()
    table = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "labels")
    table.SetTypeToUser()
    table.SetNumberOfColors(max(label.value for label in labels) + 1)
    identifiers = []
    for number, label in enumerate(labels):
        # The table is looked up by name, and two segments may share theirs.
        segmentation.GetNthSegment(number).SetName(f"label {label.value}")
        table.SetColor(label.value, f"label {label.value}", *label.color, 1.0)
        identifiers.append(segmentation.GetNthSegmentID(number))
    label_map = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    # With a display node of its own nobody looks for Slicer's default colours in this scene.
    display = slicer.vtkMRMLLabelMapVolumeDisplayNode()
    display.SetAndObserveColorNodeID(table.GetID())
    scene.AddNode(display)
    label_map.SetAndObserveDisplayNodeID(display.GetID())
    exported = slicer.vtkSlicerSegmentationsModuleLogic.ExportSegmentsToLabelmapNode(
        clone,
        identifiers,
        label_map,
        reference,
        slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY,
        table,
    )
    if not exported:
        raise PropagateError(
            _(
                "The segmentation {segmentation} cannot be written as a label map; check it "
                "in the module Segmentations."
            ).format(segmentation=segmentation_node.GetName())
        )
    return label_map, labels


def read_labels_into(
    segmentation_node: Any, path: Path, labels: Sequence[Label], grid_of: Any
) -> np.ndarray[Any, Any]:
    """Replace the content of a segmentation by a label map file; values, names, colours kept.

    Parameters
    ----------
    segmentation_node
        The node.
    path
        The label map.
    labels
        What the values mean; others get a generic name.
    grid_of
        Volume node that the label map belongs to.

    Returns
    -------
    numpy.ndarray
        The label map (k, j, i).

    Raises
    ------
    PropagateError
        If the file is missing, damaged or on another grid; the node is then as it was.
    """
    label_map = read_array(path, WorldGrid(grid_of))
    fill_segmentation(segmentation_node, label_map, labels, grid_of)
    return label_map


def fill_segmentation(
    segmentation_node: Any,
    label_map: np.ndarray[Any, Any],
    labels: Sequence[Label],
    volume_node: Any,
) -> None:
    """Replace the content of a segmentation by a label map (k, j, i) on a volume's grid.

    A segment for every label, also where it has no voxel, with the same identifiers each time;
    what the user hid stays hidden.
    """
    grid = WorldGrid(volume_node)
    image = grid.oriented_image(_as_stored(label_map))
    binary = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    segmentation = segmentation_node.GetSegmentation()
    hidden = _hidden(segmentation_node)
    segmentation.RemoveAllSegments()
    segmentation.SetSourceRepresentationName(binary)
    _set_reference(segmentation_node, grid, volume_node)
    for label in complete(labels, label_map):
        segment = slicer.vtkSegment()
        segment.SetName(label.name)
        segment.SetColor(*label.color)
        segment.SetLabelValue(label.value)
        if label.terminology:
            segment.SetTag(segment.GetTerminologyEntryTagName(), label.terminology)
        # One image for all: values stay what they are, and memory does not grow with labels.
        segment.AddRepresentation(binary, image)
        segmentation.AddSegment(segment, f"GeminiLabel_{label.value}")
    segmentation_node.CreateDefaultDisplayNodes()
    for identifier in hidden:
        segmentation_node.GetDisplayNode().SetSegmentVisibility(identifier, False)


def _hidden(segmentation_node: Any) -> list[str]:
    display, segmentation = segmentation_node.GetDisplayNode(), segmentation_node.GetSegmentation()
    if display is None:
        return []
    every = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
    return [identifier for identifier in every if not display.GetSegmentVisibility(identifier)]


def complete(labels: Sequence[Label], label_map: np.ndarray[Any, Any]) -> list[Label]:
    """Return the labels and a generic one for every value of a map that they do not have."""
    known = {label.value for label in labels}
    found = [int(value) for value in np.unique(label_map)]
    return [*labels, *(generic_label(v) for v in found if v > 0 and v not in known)]


def _as_stored(label_map: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a label map as the smallest integer type that VTK and NRRD share."""
    largest = int(label_map.max(initial=0))
    for dtype in (np.uint8, np.int16, np.int32):
        if largest <= np.iinfo(dtype).max:
            return label_map.astype(dtype, copy=False)
    raise PropagateError(
        _("The label value {largest} is too large; use values below 2147483648.").format(
            largest=largest
        )
    )


def _set_reference(segmentation_node: Any, grid: WorldGrid, volume_node: Any) -> None:
    """Make the volume's grid (in world coordinates) the one that the segmentation is edited on."""
    text = slicer.vtkSegmentationConverter.SerializeImageGeometry(
        matrix_of_array(grid.matrix), grid.oriented_image()
    )
    segmentation_node.GetSegmentation().SetConversionParameter(
        slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName(), text
    )
    if volume_node.GetScene() is segmentation_node.GetScene():
        segmentation_node.SetNodeReferenceID(
            segmentation_node.GetReferenceImageGeometryReferenceRole(), volume_node.GetID()
        )

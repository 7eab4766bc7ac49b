"""Label values, names, colours and terminology: out of the scene and back in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.geometry import WorldGrid
from GeminiPropagateLib.labels import Label
from GeminiPropagateLib.segmentations import (
    label_map_of,
    labels_of_segmentation,
    overlap_warning,
    read_labels_into,
    write_labels,
)

from tests.slicer_module.mrml.helpers import (
    ATLAS_LABELS,
    GRIDS,
    OBLIQUE,
    add_linear,
    add_segmentation,
    add_volume,
    blocks,
    grid,
    ras_of_itk,
)

SHAPE = (10, 11, 12)


def described(labels: list[Label]) -> list[tuple[Any, ...]]:
    return [(label.value, label.name, label.color) for label in labels]


@pytest.mark.parametrize("name", GRIDS)
def test_values_names_and_colours_survive_the_way_out_and_back(
    scene: Any, tmp_path: Path, name: str
) -> None:
    volume = add_volume(scene, np.zeros(SHAPE, np.uint8), GRIDS[name])
    label_map = blocks(SHAPE)
    node = add_segmentation(scene, volume, label_map)
    before = scene.GetNumberOfNodes()
    labels = write_labels(node, volume, tmp_path / "l.nrrd")
    assert scene.GetNumberOfNodes() == before
    assert described(labels) == described(list(ATLAS_LABELS))
    image = sitk.ReadImage(str(tmp_path / "l.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), label_map)
    np.testing.assert_allclose(ras_of_itk(image), GRIDS[name], atol=1e-9)

    back = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "back")
    read_labels_into(back, tmp_path / "l.nrrd", labels, volume)
    assert described(labels_of_segmentation(back)) == described(list(ATLAS_LABELS))
    assert labels_of_segmentation(back)[0].terminology == ATLAS_LABELS[0].terminology
    np.testing.assert_array_equal(label_map_of(back, volume), label_map)


def test_slicers_own_export_gives_the_same_values_with_the_segments_own(scene: Any) -> None:
    """What the user exports later has the atlas's values, since the segments carry them."""
    volume = add_volume(scene, np.zeros(SHAPE, np.uint8), GRIDS["flipped"])
    node = add_segmentation(scene, volume, blocks(SHAPE))
    segmentation = node.GetSegmentation()
    values = [segmentation.GetNthSegment(n).GetLabelValue() for n in range(3)]
    assert values == [label.value for label in ATLAS_LABELS]
    assert segmentation.GetNumberOfLayers() == 1


def test_a_finer_segmentation_under_a_transform_lands_on_the_volumes_grid(
    scene: Any, tmp_path: Path
) -> None:
    coarse = add_volume(scene, np.zeros((6, 6, 6), np.uint8), grid(np.eye(3), (2, 2, 2), (0, 0, 0)))
    fine_grid = grid(np.eye(3), (1, 1, 1), (-0.5, -0.5, -0.5))
    fine = add_volume(scene, np.zeros((12, 12, 12), np.uint8), fine_grid)
    label_map = np.kron(blocks((6, 6, 6), (5,)), np.ones((2, 2, 2), np.int16))
    node = add_segmentation(scene, fine, label_map, ATLAS_LABELS[:1])
    move = grid(OBLIQUE, (1, 1, 1), (4, 5, 6))
    parent = add_linear(scene, move)
    node.SetAndObserveTransformNodeID(parent.GetID())
    coarse.SetAndObserveTransformNodeID(parent.GetID())
    write_labels(node, coarse, tmp_path / "l.nrrd")
    image = sitk.ReadImage(str(tmp_path / "l.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), blocks((6, 6, 6), (5,)))
    np.testing.assert_allclose(ras_of_itk(image), move @ WorldGridMatrix(coarse), atol=1e-9)


def WorldGridMatrix(volume: Any) -> np.ndarray:
    """Return the matrix of a volume without its parent."""
    volume.SetAndObserveTransformNodeID(None)
    return WorldGrid(volume).matrix


def test_segments_that_share_a_value_or_have_none_get_free_ones(scene: Any) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    for number, value in enumerate((1, 1, 0, 2, 1)):
        segment = slicer.vtkSegment()
        segment.SetName(f"s{number}")
        segment.SetLabelValue(value)
        node.GetSegmentation().AddSegment(segment, f"s{number}")
    values = [label.value for label in labels_of_segmentation(node)]
    assert values[0] == 1
    assert values[3] == 2
    assert len(set(values)) == 5
    assert min(values) > 0


def test_the_colour_table_that_the_user_chose_for_export_decides_the_values(scene: Any) -> None:
    volume = add_volume(scene, np.zeros(SHAPE, np.uint8), GRIDS["oblique"])
    labels = [Label(1, "liver"), Label(2, "spleen")]
    node = add_segmentation(scene, volume, blocks(SHAPE, (1, 2)), labels)
    table = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "table")
    table.SetTypeToUser()
    table.SetNumberOfColors(50)
    table.SetColor(40, "spleen", 1, 0, 0, 1)
    node.SetLabelmapConversionColorTableNodeID(table.GetID())
    assert [label.value for label in labels_of_segmentation(node)] == [1, 40]
    assert set(np.unique(label_map_of(node, volume))) == {0, 1, 40}


def test_values_without_a_name_get_one_and_empty_labels_stay(scene: Any) -> None:
    volume = add_volume(scene, np.zeros(SHAPE, np.uint8), GRIDS["flipped"])
    label_map = blocks(SHAPE, (5, 9))
    node = add_segmentation(scene, volume, label_map, ATLAS_LABELS)
    found = {label.value: label.name for label in labels_of_segmentation(node)}
    assert found == {5: "Left ventricle", 300: "Köpfchen", 2: "Left ventricle", 9: "label 9"}
    np.testing.assert_array_equal(label_map_of(node, volume), label_map)


def test_a_segmentation_of_surfaces_is_written_as_labels(scene: Any, tmp_path: Path) -> None:
    volume = add_volume(scene, np.zeros((20, 20, 20), np.uint8), GRIDS["flipped"])
    label_map = blocks((20, 20, 20), (5,))
    node = add_segmentation(scene, volume, label_map, ATLAS_LABELS[:1])
    surface = slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName()
    assert node.GetSegmentation().CreateRepresentation(surface)
    node.GetSegmentation().SetSourceRepresentationName(surface)
    write_labels(node, volume, tmp_path / "l.nrrd")
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "l.nrrd")))
    overlap = 2 * (written * label_map > 0).sum() / ((written > 0).sum() + (label_map > 0).sum())
    assert overlap > 0.9


def test_segments_that_overlap_are_told(scene: Any) -> None:
    volume = add_volume(scene, np.zeros(SHAPE, np.uint8), GRIDS["oblique"])
    node = add_segmentation(scene, volume, blocks(SHAPE))
    assert overlap_warning(node, volume) == ""
    inner = np.zeros(SHAPE, np.uint8)
    inner[2:4, 2:4, 2:4] = 1
    segment = slicer.vtkSegment()
    segment.SetName("tumour")
    binary = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    segment.AddRepresentation(binary, WorldGrid(volume).oriented_image(inner))
    node.GetSegmentation().AddSegment(segment, "tumour")
    shared = np.count_nonzero(inner * (blocks(SHAPE) != 0))
    assert shared == 8
    assert f"segmentation overlap in {shared} voxels" in overlap_warning(node, volume)
    move = grid(OBLIQUE, (1, 1, 1), (4, 5, 6))
    for moved in (node, volume):
        moved.SetAndObserveTransformNodeID(add_linear(scene, move).GetID())
    assert f"{shared} voxels" in overlap_warning(node, volume)


def test_nothing_to_propagate_is_said_before_anything_is_written(
    scene: Any, tmp_path: Path
) -> None:
    volume = add_volume(scene, np.zeros(SHAPE, np.uint8), GRIDS["axis-aligned"], "head")
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "bare")
    with pytest.raises(PropagateError, match="bare has no segments"):
        write_labels(empty, volume, tmp_path / "l.nrrd")
    far = add_volume(scene, np.zeros(SHAPE, np.uint8), grid(np.eye(3), (1, 1, 1), (900, 0, 0)))
    elsewhere = add_segmentation(scene, far, blocks(SHAPE), name="elsewhere")
    with pytest.raises(PropagateError, match="elsewhere has no voxel within the volume head"):
        write_labels(elsewhere, volume, tmp_path / "l.nrrd")
    assert not list(tmp_path.iterdir())


def test_the_reference_grid_for_editing_is_the_targets(scene: Any) -> None:
    volume = add_volume(scene, np.zeros(SHAPE, np.uint8), GRIDS["oblique"])
    node = add_segmentation(scene, volume, blocks(SHAPE))
    role = node.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReference(role) is volume
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    image = slicer.vtkOrientedImageData()
    text = node.GetSegmentation().GetConversionParameter(name)
    assert slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image, False)
    assert image.GetDimensions() == SHAPE[::-1]

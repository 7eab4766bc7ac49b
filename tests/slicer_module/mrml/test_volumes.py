"""Volumes out of the scene: every grid, every kind of parent transform, against SimpleITK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.geometry import WorldGrid, array_of_volume, ijk_to_ras
from GeminiPropagateLib.mrml_io import fill_volume, read_array, write_volume

from tests.slicer_module.mrml.helpers import (
    GRIDS,
    OBLIQUE,
    add_linear,
    add_volume,
    count,
    grid,
    itk_of_volume,
    ras_of_itk,
    smooth_field,
    write_field,
)


def noise(shape: tuple[int, int, int] = (7, 8, 9), dtype: Any = np.float32) -> np.ndarray:
    return (np.random.default_rng(0).random(shape) * 1000).astype(dtype)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_a_written_volume_is_where_it_was(
    scene: Any, tmp_path: Path, name: str, suffix: str
) -> None:
    node = add_volume(scene, noise(dtype=np.int16), GRIDS[name])
    write_volume(node, tmp_path / f"v{suffix}")
    image = sitk.ReadImage(str(tmp_path / f"v{suffix}"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), array_of_volume(node))
    np.testing.assert_allclose(ras_of_itk(image), GRIDS[name], atol=1e-5)
    assert node.GetStorageNode() is None


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_a_file_read_back_has_the_targets_voxel_order_and_exact_grid(
    scene: Any, tmp_path: Path, name: str, suffix: str
) -> None:
    target = add_volume(scene, noise(), GRIDS[name] + np.pad([[1e-7]], ((0, 3), (3, 0))))
    write_volume(target, tmp_path / f"v{suffix}")
    array = read_array(tmp_path / f"v{suffix}", WorldGrid(target))
    np.testing.assert_array_equal(array, array_of_volume(target))
    back = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "back")
    fill_volume(back, array, WorldGrid(target))
    np.testing.assert_array_equal(array_of_volume(back), array_of_volume(target))
    np.testing.assert_array_equal(ijk_to_ras(back), ijk_to_ras(target))


@pytest.mark.parametrize("name", ["flipped", "oblique"])
def test_linear_parents_nested_or_not_are_hardened_into_the_file_and_not_in_the_scene(
    scene: Any, tmp_path: Path, name: str
) -> None:
    outer = grid(OBLIQUE, (1, 1, 1), (10, 20, 30))
    inner = grid(OBLIQUE.T @ np.diag([-1.0, 1.0, -1.0]), (1, 1, 1), (-3, 2, 5))
    node = add_volume(scene, noise(), GRIDS[name])
    node.SetAndObserveTransformNodeID(add_linear(scene, inner, add_linear(scene, outer)).GetID())
    before = scene.GetNumberOfNodes()
    write_volume(node, tmp_path / "v.nrrd")
    image = sitk.ReadImage(str(tmp_path / "v.nrrd"))
    np.testing.assert_allclose(ras_of_itk(image), outer @ inner @ GRIDS[name], atol=1e-9)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), array_of_volume(node))
    np.testing.assert_array_equal(ijk_to_ras(node), GRIDS[name])
    assert node.GetParentTransformNode() is not None
    assert scene.GetNumberOfNodes() == before


@pytest.mark.parametrize("nested", [False, True])
def test_a_parent_that_deforms_is_hardened_into_the_file(
    scene: Any, tmp_path: Path, nested: bool
) -> None:
    node = add_volume(scene, noise((12, 12, 12)), GRIDS["axis-aligned"])
    image = itk_of_volume(node)
    write_field(tmp_path / "f.h5", smooth_field(image, size=0.5))
    parent = scene.AddNewNodeByClass("vtkMRMLTransformNode", "field")
    storage = parent.CreateDefaultStorageNode()
    storage.SetFileName(str(tmp_path / "f.h5"))
    assert storage.ReadData(parent)
    if nested:
        parent.SetAndObserveTransformNodeID(add_linear(scene, GRIDS["oblique"]).GetID())
    node.SetAndObserveTransformNodeID(parent.GetID())
    write_volume(node, tmp_path / "v.nrrd")
    written = sitk.ReadImage(str(tmp_path / "v.nrrd"))
    hardened = slicer.vtkMRMLScalarVolumeNode()
    hardened.CopyContent(node, True)
    scene.AddNode(hardened)
    hardened.SetAndObserveTransformNodeID(parent.GetID())
    assert hardened.HardenTransform()
    np.testing.assert_allclose(ras_of_itk(written), ijk_to_ras(hardened), atol=1e-9)
    difference = sitk.GetArrayFromImage(written) - array_of_volume(hardened)
    assert np.abs(difference).max() < 0.1 * 1000
    assert np.abs(difference).mean() < 0.001 * 1000
    assert count(scene, "vtkMRMLScalarVolumeNode") == 2


def test_a_sheared_grid_is_refused_since_no_file_can_hold_it(scene: Any, tmp_path: Path) -> None:
    node = add_volume(scene, noise(), GRIDS["oblique"])
    shear = np.eye(4)
    shear[0, 1] = 0.2
    node.SetAndObserveTransformNodeID(add_linear(scene, shear).GetID())
    with pytest.raises(PropagateError, match="sheared"):
        write_volume(node, tmp_path / "v.nrrd")
    assert not (tmp_path / "v.nrrd").exists()


def test_empty_and_coloured_volumes_are_refused(scene: Any, tmp_path: Path) -> None:
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "hollow")
    with pytest.raises(PropagateError, match="hollow is empty"):
        write_volume(empty, tmp_path / "v.nrrd")
    colours = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    image = vtk.vtkImageData()
    image.SetDimensions(4, 4, 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    colours.SetAndObserveImageData(image)
    with pytest.raises(PropagateError, match="3 values per voxel"):
        write_volume(colours, tmp_path / "v.nrrd")


def test_a_file_that_cannot_be_written_is_a_sentence(scene: Any, tmp_path: Path) -> None:
    node = add_volume(scene, noise(), GRIDS["flipped"])
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(PropagateError, match="cannot be written"):
        write_volume(node, tmp_path / "file" / "v.nrrd")


def test_a_file_on_another_grid_or_damaged_is_refused(scene: Any, tmp_path: Path) -> None:
    target = WorldGrid(add_volume(scene, noise(), GRIDS["oblique"]))
    moved, turned = GRIDS["oblique"].copy(), GRIDS["oblique"] @ np.diag([-1.0, 1.0, 1.0, 1.0])
    moved[0, 3] += 0.5
    for matrix in (moved, turned):
        write_volume(add_volume(scene, noise(), matrix), tmp_path / "v.nrrd")
        with pytest.raises(PropagateError, match="another grid"):
            read_array(tmp_path / "v.nrrd", target)
    (tmp_path / "broken.nrrd").write_bytes(b"NRRD0004\ntype: what\n")
    for name in ("broken.nrrd", "missing.nrrd"):
        with pytest.raises(PropagateError, match="run the propagation again"):
            read_array(tmp_path / name, target)


def test_points_of_a_grid_are_those_that_itk_names(scene: Any) -> None:
    node = add_volume(scene, noise(), GRIDS["oblique"])
    indices = np.array([[0, 0, 0], [8, 7, 6], [3, 1, 2]])
    image = itk_of_volume(node)
    expected = [image.TransformIndexToPhysicalPoint(list(map(int, row))) for row in indices]
    found = WorldGrid(node).points(indices.astype(float)) * [-1, -1, 1]
    np.testing.assert_allclose(found, expected, atol=1e-9)

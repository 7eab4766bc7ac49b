"""The field in Slicer: direction, sign, exact hardening, against SimpleITK on every grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.hardening import check_hardened, fold_warning, hardened_labels
from GeminiPropagateLib.mrml_io import read_transform_into, write_volume
from GeminiPropagateLib.segmentations import label_map_of

from tests.slicer_module.mrml.helpers import (
    ATLAS_LABELS,
    GRIDS,
    add_segmentation,
    add_volume,
    blocks,
    itk_of_volume,
    smooth_field,
    write_field,
)

SHAPE = (14, 15, 16)
#: Grids of atlas and target.
PAIRS = [(name, name) for name in GRIDS] + [
    ("oblique", "flipped"),
    ("axis-aligned", "permuted"),
    ("mirrored", "anisotropic"),
]


class Pair:
    """An atlas and a target on their grids with a smooth field between them, as the engine has."""

    def __init__(self, scene: Any, folder: Path, atlas_grid: str, target_grid: str) -> None:
        self.scene = scene
        self.atlas = add_volume(scene, blocks(SHAPE), GRIDS[atlas_grid], "atlas")
        shape = SHAPE if atlas_grid == target_grid else (13, 17, 12)
        self.target = add_volume(scene, np.zeros(shape, np.uint8), GRIDS[target_grid], "target")
        self.labels = folder / "atlas-labels.nrrd"
        write_volume(self.atlas, self.labels)
        self.field = folder / "field.h5"
        self.lattice = self._lattice()
        self.itk = write_field(self.field, self.lattice)
        moved = sitk.Resample(
            itk_of_volume(self.atlas),
            itk_of_volume(self.target),
            self.itk,
            sitk.sitkNearestNeighbor,
        )
        self.expected = sitk.GetArrayFromImage(moved)

    def _lattice(self) -> sitk.Image:
        """Return a field that brings the middles together and deforms besides."""
        target, atlas = itk_of_volume(self.target), itk_of_volume(self.atlas)
        offset = np.array(_middle(atlas)) - np.array(_middle(target))
        lattice = smooth_field(target, size=0.5)
        vectors = sitk.GetArrayFromImage(lattice) + offset
        moved = sitk.GetImageFromArray(vectors, isVector=True)
        moved.CopyInformation(lattice)
        return moved

    def transform(self, change: Any = None) -> Any:
        """Return the field as a node; `change` of its vectors makes it a wrong one."""
        if change is not None:
            vectors = change(sitk.GetArrayFromImage(self.lattice))
            changed = sitk.GetImageFromArray(vectors, isVector=True)
            changed.CopyInformation(self.lattice)
            write_field(self.field, changed)
        node = self.scene.AddNewNodeByClass("vtkMRMLTransformNode", "field")
        read_transform_into(node, self.field)
        return node

    def check(self, transform: Any) -> str:
        return check_hardened(self.labels, transform, self.target, self.expected, ATLAS_LABELS)


def _middle(image: sitk.Image) -> tuple[float, ...]:
    return image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()])


@pytest.mark.parametrize("grids", PAIRS, ids="-".join)
def test_the_field_maps_target_points_to_atlas_points_as_simpleitk_does(
    scene: Any, tmp_path: Path, grids: tuple[str, str]
) -> None:
    pair = Pair(scene, tmp_path, *grids)
    node = pair.transform()
    assert node.GetStorageNode() is None
    flip = np.array([-1.0, -1.0, 1.0])
    image = itk_of_volume(pair.target)
    rng = np.random.default_rng(1)
    for _ in range(20):
        index = rng.uniform(0.0, np.array(image.GetSize()) - 1.0)
        point = np.array(image.TransformContinuousIndexToPhysicalPoint(index.tolist()))
        there = np.array(pair.itk.TransformPoint(point.tolist()))
        found = np.array(node.GetTransformFromParent().TransformPoint(point * flip)) * flip
        # VTK interpolates with the fraction of a voxel in single precision.
        np.testing.assert_allclose(found, there, atol=5e-5)
        back = np.array(node.GetTransformToParent().TransformPoint(there * flip)) * flip
        np.testing.assert_allclose(back, point, atol=0.05)


@pytest.mark.parametrize("grids", PAIRS, ids="-".join)
def test_labels_hardened_by_slicer_equal_simpleitks_on_every_voxel(
    scene: Any, tmp_path: Path, grids: tuple[str, str]
) -> None:
    pair = Pair(scene, tmp_path, *grids)
    assert set(np.unique(pair.expected)) == {0, 2, 5, 300}
    hardened = hardened_labels(pair.labels, pair.transform(), pair.target)
    np.testing.assert_array_equal(hardened, pair.expected)
    assert pair.check(pair.transform()) == ""


def hardened_by_hand(scene: Any, pair: Pair) -> np.ndarray:
    """Do what a user does in the module Transforms."""
    segmentation = add_segmentation(scene, pair.atlas, blocks(SHAPE))
    segmentation.SetAndObserveTransformNodeID(pair.transform().GetID())
    assert segmentation.HardenTransform()
    return label_map_of(segmentation, pair.target)


def test_a_segmentation_put_under_the_field_and_hardened_by_hand_is_the_same(
    scene: Any, tmp_path: Path
) -> None:
    pair = Pair(scene, tmp_path, "axis-aligned", "axis-aligned")
    np.testing.assert_array_equal(hardened_by_hand(scene, pair), pair.expected)


def test_hardened_by_hand_on_an_oblique_grid_it_is_resampled_once_more(
    scene: Any, tmp_path: Path
) -> None:
    pair = Pair(scene, tmp_path, "oblique", "oblique")
    found = hardened_by_hand(scene, pair)
    both = ((found > 0) & (pair.expected > 0)).sum()
    assert 2 * both / ((found > 0).sum() + (pair.expected > 0).sum()) > 0.9


def test_the_atlas_volume_under_the_field_becomes_the_warped_atlas(
    scene: Any, tmp_path: Path
) -> None:
    pair = Pair(scene, tmp_path, "axis-aligned", "axis-aligned")
    smooth = np.sin(np.indices(SHAPE) / 3.0).sum(axis=0).astype(np.float32)
    atlas = add_volume(scene, smooth, GRIDS["axis-aligned"])
    reference, image = itk_of_volume(pair.target), itk_of_volume(atlas)
    expected = sitk.GetArrayFromImage(sitk.Resample(image, reference, pair.itk, sitk.sitkLinear))
    atlas.SetAndObserveTransformNodeID(pair.transform().GetID())
    assert atlas.HardenTransform()
    inside = np.s_[4:-4, 4:-4, 4:-4]
    world = itk_of_volume(atlas)
    found = sitk.GetArrayFromImage(
        sitk.Resample(world, reference, sitk.Transform(), sitk.sitkLinear)
    )
    # Hardening interpolates on a grid of its own, and the comparison once more.
    assert np.abs(found[inside] - expected[inside]).mean() < 0.03
    assert np.corrcoef(found[inside].ravel(), expected[inside].ravel())[0, 1] > 0.999


@pytest.mark.parametrize(
    ("mistake", "change"),
    [
        ("LPS taken for RAS", lambda vectors: vectors * [-1.0, -1.0, 1.0]),
        ("direction swapped", lambda vectors: -vectors),
        ("axes in the wrong order", lambda vectors: vectors[..., ::-1]),
    ],
)
def test_a_field_that_was_misread_is_told_to_the_user(
    scene: Any, tmp_path: Path, mistake: str, change: Any
) -> None:
    pair = Pair(scene, tmp_path, "oblique", "flipped")
    sentence = pair.check(pair.transform(change))
    assert "do not use this result" in sentence, mistake
    assert "Dice" in sentence


def test_labels_that_were_flipped_are_told_to_the_user(scene: Any, tmp_path: Path) -> None:
    pair = Pair(scene, tmp_path, "oblique", "oblique")
    node = pair.transform()
    for axis in range(3):
        flipped = np.flip(pair.expected, axis)
        assert check_hardened(pair.labels, node, pair.target, flipped, ATLAS_LABELS)
    # One label lost, and one renumbered.
    for wrong in (
        np.where(pair.expected == 2, 0, pair.expected),
        np.where(pair.expected == 5, 6, pair.expected),
    ):
        assert check_hardened(pair.labels, node, pair.target, wrong, ATLAS_LABELS)


def test_a_field_written_by_slicer_reaches_simpleitk_unchanged(scene: Any, tmp_path: Path) -> None:
    pair = Pair(scene, tmp_path, "oblique", "flipped")
    node = pair.transform()
    storage = node.CreateDefaultStorageNode()
    storage.SetFileName(str(tmp_path / "saved.h5"))
    assert storage.WriteData(node)
    saved = sitk.ReadTransform(str(tmp_path / "saved.h5"))
    for point in np.random.default_rng(2).normal(0, 5, (20, 3)) + _middle(
        itk_of_volume(pair.target)
    ):
        np.testing.assert_allclose(
            saved.TransformPoint(point.tolist()), pair.itk.TransformPoint(point.tolist()), atol=1e-9
        )


def test_what_is_no_field_of_this_direction_is_refused(scene: Any, tmp_path: Path) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "field")
    sitk.WriteTransform(sitk.AffineTransform(3), str(tmp_path / "affine.h5"))
    (tmp_path / "broken.h5").write_bytes(b"\x89HDF nothing")
    for name in ("affine.h5", "broken.h5", "missing.h5"):
        with pytest.raises(PropagateError, match="run the propagation again"):
            read_transform_into(node, tmp_path / name)
    # A field to parent, which Slicer writes as the inverse of one.
    pair = Pair(scene, tmp_path, "flipped", "flipped")
    other = scene.AddNewNodeByClass("vtkMRMLTransformNode", "other")
    grid = pair.transform().GetTransformFromParentAs("vtkOrientedGridTransform", False, False)
    other.SetAndObserveTransformToParent(grid)
    storage = other.CreateDefaultStorageNode()
    storage.SetFileName(str(tmp_path / "inverse.h5"))
    assert storage.WriteData(other)
    with pytest.raises(PropagateError, match="in the direction of ITK"):
        read_transform_into(node, tmp_path / "inverse.h5")


@pytest.mark.parametrize("percent", [None, 0, 0.0])
def test_a_field_without_folds_needs_no_warning(percent: float | None) -> None:
    assert fold_warning(percent) == ""


def test_folds_warn_about_the_inverse() -> None:
    assert "1.9 %" in fold_warning(1.9)
    assert "inverse" in fold_warning(1.9)


def test_a_field_is_read_as_the_engine_samples_it(scene: Any, tmp_path: Path) -> None:
    """Slicer's reader chooses cubic splines, which move points by other amounts."""
    pair = Pair(scene, tmp_path, "oblique", "oblique")
    grid = pair.transform().GetTransformFromParentAs("vtkOrientedGridTransform", False, False)
    assert grid.GetInterpolationModeAsString() == "Linear"

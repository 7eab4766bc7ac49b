"""Looking at results: spacings, overlays, blink, and three pictures that must stay as they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from GeminiPropagateLib import qa
from GeminiPropagateLib.mrml_io import read_transform_into
from GeminiPropagateLib.scene_nodes import TargetNodes, result_node
from GeminiPropagateLib.segmentations import fill_segmentation
from slice_views import SliceView, read_picture, write_picture

from tests.slicer_module.mrml.helpers import (
    ATLAS_LABELS,
    GRIDS,
    add_volume,
    blocks,
    grid,
    itk_of_volume,
    smooth_field,
    write_field,
)

GOLDEN = Path(__file__).parent / "golden"
SHAPE = (24, 30, 36)


@pytest.fixture
def nodes(scene: Any, tmp_path: Path) -> TargetNodes:
    """A target with labels, a field and a warped atlas."""
    stripes = (np.indices(SHAPE).sum(axis=0) % 10 * 10.0).astype(np.float32)
    target = add_volume(scene, stripes, GRIDS["oblique"], "target")
    target.CreateDefaultDisplayNodes()
    target.GetDisplayNode().SetAutoWindowLevel(0)
    target.GetDisplayNode().SetWindowLevelMinMax(0, 100)
    made = TargetNodes(target)
    for role in ("segmentation", "folds"):
        setattr(made, role, result_node(target, role))
        fill_segmentation(getattr(made, role), blocks(SHAPE), ATLAS_LABELS, target)
    made.transform = result_node(target, "transform")
    write_field(tmp_path / "f.h5", smooth_field(itk_of_volume(target), size=2.0))
    read_transform_into(made.transform, tmp_path / "f.h5")
    for role in ("warped", "log_jacobian", "gvs"):
        node = result_node(target, role)
        node.CopyContent(target, True)
        node.CreateDefaultDisplayNodes()
        setattr(made, role, node)
    made.folds.GetDisplayNode().SetVisibility(False)
    return made


@pytest.mark.parametrize(("mm", "lines"), [(0.05, 0.5), (1.0, 10.0), (5.0, 50.0)])
def test_spacings_fit_the_image_from_a_mouse_to_a_trunk(
    scene: Any, mm: float, lines: float
) -> None:
    volume = add_volume(
        scene, np.zeros((100, 128, 120), np.uint8), grid(np.eye(3), [mm] * 3, [0] * 3)
    )
    spacings = qa.spacings_for(volume, largest_displacement=6 * mm)
    assert spacings.grid == pytest.approx(lines)
    assert 10 <= 120 * mm / spacings.grid <= 15
    assert 5 <= 120 * mm / spacings.glyph <= 30
    assert spacings.contour_levels == pytest.approx([n * mm for n in range(1, 6)])
    assert 0 < spacings.grid_resolution < spacings.grid


def test_spacings_of_a_single_slice_and_without_a_displacement_are_usable(scene: Any) -> None:
    volume = add_volume(
        scene, np.zeros((1, 64, 64), np.uint8), grid(np.eye(3), (1, 1, 8), (0, 0, 0))
    )
    spacings = qa.spacings_for(volume)
    assert 1 < spacings.grid < 32
    assert all(level > 0 for level in spacings.contour_levels)


@pytest.fixture
def view(scene: Any) -> SliceView:
    return SliceView(scene, "Axial", 240)


def picture(view: SliceView, nodes: TargetNodes, mode: str | None) -> np.ndarray:
    qa.show_target(nodes)
    qa.show_transform(nodes.transform, nodes.target, mode, 5.0)
    view.fit(nodes.target, qa.middle_of(nodes))
    return view.render()


@pytest.mark.parametrize("mode", [qa.GRID, qa.GLYPH, qa.CONTOUR])
def test_the_field_is_drawn_as_it_was(view: SliceView, nodes: TargetNodes, mode: str) -> None:
    """Against pictures that were looked at; GEMINI_WRITE_GOLDEN=1 writes them anew."""
    plain, drawn = picture(view, nodes, None), picture(view, nodes, mode)
    path = GOLDEN / f"{mode}.png"
    if os.environ.get("GEMINI_WRITE_GOLDEN"):
        write_picture(path, drawn)
    golden = read_picture(path)
    assert golden.shape == drawn.shape
    assert golden.max() > 200
    # Edges may differ by a pixel between versions of the drawing library, areas may not.
    smooth = [_blurred(image) for image in (drawn, golden, plain)]
    assert np.abs(smooth[0] - smooth[1]).mean() < 1.0
    assert np.abs(smooth[2] - smooth[1]).mean() > 3.0


def _blurred(image: np.ndarray) -> np.ndarray:
    """Average over blocks of 4 x 4 pixels."""
    rows, columns, channels = image.shape
    blocked = image.reshape(rows // 4, 4, columns // 4, 4, channels).astype(float)
    return blocked.mean(axis=(1, 3))


def test_pictures_show_the_difference_that_a_wrong_field_makes(
    view: SliceView, nodes: TargetNodes, tmp_path: Path
) -> None:
    lattice = smooth_field(itk_of_volume(nodes.target), size=2.0)
    right = picture(view, nodes, qa.GLYPH)
    turned = sitk.GetImageFromArray(-sitk.GetArrayFromImage(lattice), isVector=True)
    turned.CopyInformation(lattice)
    write_field(tmp_path / "g.h5", turned)
    read_transform_into(nodes.transform, tmp_path / "g.h5")
    wrong = picture(view, nodes, qa.GLYPH)
    golden = read_picture(GOLDEN / "glyph.png")
    assert np.abs(_blurred(right) - _blurred(golden)).mean() < 1.0
    assert np.abs(_blurred(wrong) - _blurred(golden)).mean() > 1.0


def test_overlays_come_and_go_and_a_missing_map_takes_the_overlay_away(
    view: SliceView, nodes: TargetNodes
) -> None:
    qa.show_overlay(nodes, qa.LOG_JACOBIAN, 0.5)
    assert view.composite.GetForegroundVolumeID() == nodes.log_jacobian.GetID()
    assert view.composite.GetForegroundOpacity() == 0.5
    for overlay in (qa.GSS, qa.NONE):
        qa.show_overlay(nodes, qa.WARPED)
        qa.show_overlay(nodes, overlay)
        assert view.composite.GetForegroundVolumeID() is None
        assert view.composite.GetBackgroundVolumeID() == nodes.target.GetID()


def test_showing_a_target_hides_the_results_of_the_others_and_nothing_else(
    scene: Any, view: SliceView, nodes: TargetNodes
) -> None:
    other = add_volume(scene, np.zeros(SHAPE, np.uint8), GRIDS["flipped"], "other")
    theirs = result_node(other, "segmentation")
    fill_segmentation(theirs, blocks(SHAPE), ATLAS_LABELS, other)
    users = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "my own")
    users.CreateDefaultDisplayNodes()
    qa.show_target(nodes)
    assert not theirs.GetDisplayNode().GetVisibility()
    assert nodes.segmentation.GetDisplayNode().GetVisibility()
    assert users.GetDisplayNode().GetVisibility()
    assert view.composite.GetBackgroundVolumeID() == nodes.target.GetID()
    offset = view.node.GetSliceOffset()
    assert offset == pytest.approx(qa.middle_of(nodes)[2], abs=1e-3)
    qa.show_folds(nodes, True)
    assert nodes.folds.GetDisplayNode().GetVisibility()


def test_blinking_shows_both_in_turn_and_leaves_what_was_before(
    view: SliceView, nodes: TargetNodes
) -> None:
    qa.show_overlay(nodes, qa.GVS, 0.3)
    blink = qa.Blink(nodes)
    seen = []
    for _ in range(4):
        assert blink.step()
        seen.append(view.composite.GetForegroundOpacity())
        assert view.composite.GetForegroundVolumeID() == nodes.warped.GetID()
    assert seen == [1.0, 0.0, 1.0, 0.0]
    blink.stop()
    assert view.composite.GetForegroundVolumeID() == nodes.gvs.GetID()
    assert view.composite.GetForegroundOpacity() == pytest.approx(0.3)


def test_blinking_stops_when_a_volume_is_deleted(view: SliceView, nodes: TargetNodes) -> None:
    blink = qa.Blink(nodes)
    assert blink.step()
    nodes.target.GetScene().RemoveNode(nodes.warped)
    assert not blink.step()


def test_a_transform_is_shown_in_slices_only_and_hidden_again(nodes: TargetNodes) -> None:
    qa.show_transform(nodes.transform, nodes.target, qa.GRID)
    display = nodes.transform.GetDisplayNode()
    assert (display.GetVisibility(), display.GetVisibility2D(), display.GetVisibility3D()) == (
        1,
        1,
        0,
    )
    assert display.GetRegionNode() is nodes.target
    qa.show_transform(nodes.transform, nodes.target, None)
    assert not display.GetVisibility()
    qa.show_transform(None, nodes.target, qa.GRID)

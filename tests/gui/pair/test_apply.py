"""Any layer of one scan, carried to the other: each kind in the right direction."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image, Labels, Points, Shapes, Vectors

from napari_gemini.errors import InputError
from napari_gemini.volumes.applying import apply_field
from napari_gemini.volumes.volume import Volume
from napari_gemini.widgets.canvas.layers import image_layer, labels_layer, layer_info
from napari_gemini.widgets.pair.apply_layers import carry_layer, side_of
from napari_gemini.widgets.pair.pair_data import PairData
from tests.gui.pair.helpers import make_pair, true_inverse, true_map

MOVING_VOXEL = (15, 13, 10)


@pytest.fixture(scope="module")
def pair():
    return make_pair()


def on_moving(pair):
    """Options and a place of something drawn on the moving scan's canvas."""
    grid = pair.moving_grid
    return grid.layer_options(), grid.voxel_to_data(MOVING_VOXEL)


def test_images_and_labels_land_on_the_fixed_voxels(pair):
    image = image_layer(pair.moving, "scan")
    found = carry_layer(pair, image, "moving")()
    expected = pair.fixed_grid.to_canvas(apply_field(pair.there, pair.moving, pair.fixed))
    assert isinstance(found, Image)
    assert np.allclose(found.data, expected, atol=1e-3)
    assert np.allclose(found.scale, pair.fixed_grid.spacing)
    info = layer_info(found)
    assert info.grid.same_place(pair.fixed_grid)
    assert info.provenance["mapped"] == "moving to fixed"
    assert (info.provenance["source"], info.provenance["interpolation"]) == ("scan", "linear")

    painted = labels_layer(pair.moving.with_data((pair.moving.data > 50).astype(np.uint8)), "mine")
    found = carry_layer(pair, painted, "moving")()
    expected = apply_field(
        pair.there, pair.moving.with_data(np.asarray(pair.moving.data > 50, np.uint8)), pair.fixed,
        labels=True,
    )  # fmt: skip
    assert isinstance(found, Labels)
    assert np.array_equal(found.data, pair.fixed_grid.to_canvas(expected))


def test_a_plain_layer_drawn_on_a_scan_has_its_voxels(pair):
    """napari's own new labels layer on the fixed scan knows nothing of it but its size."""
    data = np.zeros(pair.fixed_grid.shape, np.uint8)
    voxel = (11, 14, 8)
    data[tuple(pair.fixed_grid.voxel_to_data(voxel).astype(int))] = 1
    data = np.maximum(data, np.roll(data, 1, 2))
    found = carry_layer(pair, Labels(data), "fixed")()
    place = pair.moving.world_to_voxel(true_map(pair.fixed.voxel_to_world(voxel)))
    there = np.argwhere(pair.moving_grid.from_canvas(np.asarray(found.data)))
    assert len(there)
    assert np.linalg.norm(there - place, axis=1).min() < 1.5


def test_points_shapes_and_vectors_go_by_the_other_direction(pair):
    options, place = on_moving(pair)
    world = pair.moving.voxel_to_world(MOVING_VOXEL)
    expected = pair.fixed_grid.world_to_data(true_inverse(world))
    far = place + 500
    points = Points([place, far], features={"n": [1, 2]}, name="seeds", **options)
    found = carry_layer(pair, points, "moving")()
    assert np.allclose(found.data, [expected], atol=0.05)
    assert found.features["n"].tolist() == [1]
    assert layer_info(found).provenance["left_out"] == 1

    tip = np.array([0.0, 2.0, 1.0])
    vectors = Vectors(np.array([[place, tip]]), **options)
    found = carry_layer(pair, vectors, "moving")()
    end = true_inverse(pair.moving_grid.data_to_world(place + tip))
    landed = found.data[0, 0] + found.data[0, 1]
    assert np.allclose(landed, pair.fixed_grid.world_to_data(end), atol=0.05)

    corners = place + np.array([[0, 0, 0], [0, 0, 5], [0, 5, 5], [0, 5, 0]])
    shapes = Shapes([corners], shape_type="polygon", **options)
    found = carry_layer(pair, shapes, "moving")()
    outline = np.asarray(found.data[0])
    assert len(outline) == 32
    assert np.allclose(outline[0, 1:], expected[1:], atol=0.05)
    assert np.ptp(outline[:, 0]) == 0  # in one slice, or napari would not show it
    assert layer_info(found).provenance["flattened_voxels"] >= 0


def test_the_layers_own_transform_counts(pair):
    """The same place, said by another scale and translation."""
    options, place = on_moving(pair)
    shifted = {**options, "scale": (1, 1, 1), "translate": (0, 0, 0)}
    where = place * np.array(options["scale"]) + options["translate"]
    first = carry_layer(pair, Points([place], **options), "moving")()
    second = carry_layer(pair, Points([where], **shifted), "moving")()
    assert np.allclose(first.data, second.data, atol=1e-6)


def test_what_cannot_be_carried_says_why(pair):
    options, place = on_moving(pair)
    with pytest.raises(InputError, match="2D and the pair is 3D"):
        carry_layer(pair, Image(np.zeros((4, 4))), "moving")
    with pytest.raises(InputError, match="is empty"):
        carry_layer(pair, Points(np.empty((0, 3)), **options), "moving")
    with pytest.raises(InputError, match="arrives"):
        carry_layer(pair, Points([place + 900], **options), "moving")


def test_which_scan_a_layer_lies_on(pair):
    assert side_of(pair, image_layer(pair.moving, "m")) == "moving"
    assert side_of(pair, image_layer(pair.fixed, "f")) == "fixed"
    assert side_of(pair, Points([[0, 0, 0]])) is None


def test_scans_of_one_grid_are_told_apart_by_file_case_and_canvas(pair, tmp_path):
    """Pictures of one size, and scans resampled to one space, have the same grid."""
    fixed = Volume(pair.fixed.data, pair.fixed.affine, path=tmp_path / "f.nii.gz")
    moving = Volume(pair.fixed.data, pair.fixed.affine, path=tmp_path / "m.nii.gz")
    same = PairData(fixed, moving, pair.there, pair.there, fixed_case="f", moving_case="m")
    assert side_of(same, image_layer(fixed, "f"), "moving") == "fixed"
    assert side_of(same, image_layer(moving, "m"), "fixed") == "moving"
    painted = Volume(np.ones(pair.fixed.shape, np.uint8), pair.fixed.affine)
    assert side_of(same, labels_layer(painted, "labels", case="m"), "fixed") == "moving"
    assert side_of(same, labels_layer(painted, "labels"), "fixed") == "fixed"
    assert side_of(same, labels_layer(painted, "labels"), "moving") == "moving"
    assert side_of(same, labels_layer(painted, "labels")) is None


def test_the_dock_puts_each_result_where_it_belongs(open_pair, qtbot, pair):
    viewer, dock, _ = open_pair(pair)
    panel = dock.apply_panel
    qtbot.waitUntil(lambda: panel.layer.count() == 2)
    assert panel.chosen is dock.partner.model.layers[0]
    assert not panel.side.isEnabled()  # it says itself that it lies on the moving scan
    dock.applying.apply()
    qtbot.waitUntil(lambda: "moving scan → fixed scan" in viewer.layers, timeout=10_000)
    assert dock.messages.level == "info"

    points = viewer.add_points(
        [pair.fixed_grid.voxel_to_data((11, 14, 8))], name="mark", **pair.fixed_grid.layer_options()
    )
    qtbot.waitUntil(lambda: panel.layer.findText("mark") >= 0)
    panel.layer.setCurrentIndex(panel.layer.findText("mark"))
    assert panel.side.isEnabled()
    panel.side.setCurrentIndex(panel.side.findData("fixed"))
    dock.applying.apply()
    name = "mark → moving scan"
    qtbot.waitUntil(lambda: name in dock.partner.model.layers, timeout=10_000)
    landed = dock.partner.model.layers[name].data[0]
    expected = pair.moving_grid.world_to_data(true_map(pair.fixed.voxel_to_world((11, 14, 8))))
    assert np.allclose(landed, expected, atol=0.05)
    viewer.layers.remove(points)
    dock.applying.apply()
    assert dock.messages.text  # deleted in the meantime: a sentence at most

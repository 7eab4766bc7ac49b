"""Scans in a real window: letters, status line, positions under the cursor."""

from __future__ import annotations

import numpy as np
import pytest

from napari_gemini.volumes.reading import read_volume
from napari_gemini.volumes.volume import Volume
from napari_gemini.widgets.canvas.layers import (
    add,
    find_layers,
    image_layer,
    labels_layer,
    layer_info,
)
from napari_gemini.widgets.canvas.letters import edge_letters
from napari_gemini.widgets.common.session import get_session
from tests.gui.helpers import AFFINES, MARKER, SHAPE, write_marked


def _put_cursor(viewer, layer, data_position):
    viewer.dims.set_point(range(viewer.dims.ndim), layer.data_to_world(data_position))
    viewer.cursor.position = tuple(layer.data_to_world(data_position))


@pytest.mark.parametrize("name", ["anisotropic", "permuted", "oblique-flipped"])
def test_the_cursor_reads_the_true_world_position(make_napari_viewer, tmp_path, name):
    viewer = make_napari_viewer()
    session = get_session(viewer)
    volume = read_volume(write_marked(tmp_path, name))
    layer = add(viewer, image_layer(volume, "scan"))
    grid = layer_info(layer).grid

    place = grid.voxel_to_data(MARKER)
    _put_cursor(viewer, layer, place)

    assert layer.get_value(viewer.cursor.position, world=True) == 100
    x, y, z = AFFINES[name][:3, :3] @ MARKER + AFFINES[name][:3, 3]
    assert session.readout.words() == f"R {x:.1f} A {y:.1f} S {z:.1f} mm"
    viewer.mouse_over_canvas = True
    viewer.update_status_from_cursor()
    assert f"R {x:.1f} A {y:.1f} S {z:.1f} mm" in str(viewer.status)


def test_others_add_to_the_status_line(make_napari_viewer, tmp_path):
    viewer = make_napari_viewer()
    session = get_session(viewer)
    layer = add(viewer, image_layer(read_volume(write_marked(tmp_path, "ras")), "scan"))

    def provider(layer, position):
        return f"voxel {layer_info(layer).grid.data_to_voxel(position).astype(int).tolist()}"

    session.readout.add(provider)
    _put_cursor(viewer, layer, layer_info(layer).grid.voxel_to_data(MARKER))
    assert session.readout.words().endswith(f"voxel {list(MARKER)}")
    session.readout.remove(provider)
    assert "voxel" not in session.readout.words()
    viewer.cursor.position = (1e4, 1e4, 1e4)
    assert session.readout.words() == ""


def test_letters_follow_order_camera_and_layers(make_napari_viewer, tmp_path):
    viewer = make_napari_viewer()
    letters = get_session(viewer).letters
    assert set(letters.text.values()) == {""}
    layer = add(viewer, image_layer(read_volume(write_marked(tmp_path, "permuted")), "scan"))
    assert letters.text == {"top": "A", "bottom": "P", "left": "R", "right": "L"}
    viewer.dims.order = (1, 0, 2)
    assert letters.text == {"top": "S", "bottom": "I", "left": "R", "right": "L"}
    viewer.dims.order = (2, 0, 1)
    assert letters.text == {"top": "S", "bottom": "I", "left": "A", "right": "P"}
    viewer.camera.orientation2d = ("down", "left")
    assert letters.text == {"top": "S", "bottom": "I", "left": "P", "right": "A"}
    layer.visible = False
    assert set(letters.text.values()) == {""}
    layer.visible = True
    viewer.dims.ndisplay = 3
    assert set(letters.text.values()) == {""}


def test_letters_agree_with_the_body():
    """Walking to an edge of the slice goes where its letter says."""
    towards = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    from napari_gemini.widgets.canvas.grid import CanvasGrid

    for affine in AFFINES.values():
        grid = CanvasGrid.of_affine(affine, SHAPE)
        for displayed in ((1, 2), (0, 2), (0, 1)):
            letters = edge_letters(grid, displayed)
            for side, axis, sign in (("bottom", 0, 1), ("top", 0, -1), ("right", 1, 1)):
                step = np.zeros(3)
                step[displayed[axis]] = sign
                moved = grid.data_to_world(step) - grid.data_to_world(np.zeros(3))
                world_axis, direction = towards[letters[side]]
                assert moved[world_axis] * direction > 0


def test_layers_carry_grid_units_and_origin(make_napari_viewer, tmp_path):
    viewer = make_napari_viewer()
    get_session(viewer)
    volume = read_volume(write_marked(tmp_path, "anisotropic"))
    image = add(viewer, image_layer(volume, "scan", case="a", provenance={"model": "none"}))
    labels = Volume(np.zeros(SHAPE, np.uint8), volume.affine)
    drawn = add(viewer, labels_layer(labels, "labels", case="a"))
    assert [str(unit) for unit in image.units] == ["millimeter"] * 3
    assert viewer.dims.axis_labels == ("S-I", "A-P", "R-L")
    assert layer_info(image).provenance == {"model": "none"}
    assert find_layers(viewer, "labels", "a") == [drawn]
    assert find_layers(viewer, "labels", "b") == []
    drawn.data[tuple(layer_info(drawn).grid.voxel_to_data(MARKER).astype(int))] = 2
    assert labels.data[MARKER] == 2
    np.testing.assert_allclose(image.extent.world, drawn.extent.world)

"""The cursor in one scan and its partner in the other, in real windows."""

from __future__ import annotations

import numpy as np
import pytest

from napari_gemini.widgets.pair.deformation import Plane
from napari_gemini.widgets.pair.linked import ROLE, crosshair
from napari_gemini.widgets.pair.partner import dock_of
from napari_gemini.widgets.pair.shown import data_to_world, first, world_to_data
from tests.gui.mouse import wait_until_still
from tests.gui.pair.helpers import FIXED_SHAPE, make_pair, true_inverse, true_map

VOXEL = (11, 14, 8)


class Moved:
    """What napari hands to a mouse callback."""

    def __init__(self, position, button=None):
        self.position, self.button = position, button


def marked_pair():
    """A pair with a bright voxel in the fixed scan and one in the moving scan at its partner."""
    pair = make_pair()
    pair.fixed.data[VOXEL] = 1000
    partner = pair.moving.world_to_voxel(true_map(pair.fixed.voxel_to_world(VOXEL)))
    pair.moving.data[tuple(np.rint(partner).astype(int))] = 2000
    return pair


def place(grid, voxel):
    """Where a voxel of the file is on the canvas."""
    return data_to_world(grid, grid.voxel_to_data(voxel))


def middle_of(layer):
    """Where the arms of a crosshair point to."""
    data = np.asarray(layer.data)
    # Arms are even around the middle when they are within the scan.
    return data[:, 0].mean(axis=0)


def hover(viewer, position):
    for callback in list(viewer.mouse_move_callbacks):
        callback(viewer, Moved(position))


def test_the_moving_slice_is_where_the_field_sends_the_cursor(open_pair, qtbot):
    pair = marked_pair()
    viewer, dock, _ = open_pair(pair)
    partner = dock.partner.model
    expected = pair.moving_grid.world_to_data(true_map(pair.fixed.voxel_to_world(VOXEL)))
    for order in ((0, 1, 2), (1, 0, 2), (2, 1, 0)):
        viewer.dims.order = order
        assert partner.dims.order == order  # turning one turns the other
        partner.dims.set_point(order[0], -1e3)
        hover(viewer, place(pair.fixed_grid, VOXEL))
        qtbot.wait(60)

        through = order[0]
        shown = world_to_data(pair.moving_grid, partner.dims.point)
        assert np.rint(shown[through]) == np.rint(expected[through])
        marker = middle_of(first(partner, ROLE))
        for axis in order[1:]:
            assert marker[axis] == pytest.approx(expected[axis], abs=0.05)
        # The bright voxel, drawn into the file, is under the crosshair of the slice shown.
        image = partner.layers[0]
        assert image.get_value(data_to_world(pair.moving_grid, marker), world=True) == 2000


def test_the_way_back_and_sliders_move_the_cursor_too(open_pair, qtbot):
    pair = marked_pair()
    viewer, dock, _ = open_pair(pair)
    cursor = dock.view.cursor
    voxel = np.rint(pair.moving.world_to_voxel(true_map(pair.fixed.voxel_to_world(VOXEL))))
    hover(dock.partner.model, place(pair.moving_grid, voxel))
    qtbot.wait(60)
    expected = pair.fixed_grid.world_to_data(true_inverse(pair.moving.voxel_to_world(voxel)))
    shown = world_to_data(pair.fixed_grid, viewer.dims.point)
    assert np.rint(shown[0]) == np.rint(expected[0])
    marker = middle_of(first(viewer, ROLE))
    assert np.allclose(marker[1:], expected[1:], atol=0.05)
    fixed = next(layer for layer in viewer.layers if layer.name == "fixed scan")
    assert fixed.get_value(data_to_world(pair.fixed_grid, np.rint(marker)), world=True) == 1000

    # A slider changes the slice and keeps the place in the plane.
    before = pair.fixed_grid.world_to_data(cursor.points["fixed"])
    viewer.dims.set_current_step(0, viewer.dims.current_step[0] - 2)
    after = pair.fixed_grid.world_to_data(cursor.points["fixed"])
    assert np.allclose(after[1:], before[1:], atol=1e-6)
    assert after[0] == pytest.approx(np.rint(before[0]) - 2)

    # Without following, only a click moves it.
    dock.look_panel.follow.setChecked(False)
    before = cursor.points["fixed"].copy()
    position = place(pair.fixed_grid, VOXEL)
    hover(viewer, position)
    qtbot.wait(60)
    assert np.allclose(cursor.points["fixed"], before)
    for callback in list(viewer.mouse_drag_callbacks):
        callback(viewer, Moved(position, button=1))
    qtbot.wait(60)
    assert np.allclose(cursor.points["fixed"], pair.fixed.voxel_to_world(VOXEL))


def test_a_real_pointer_over_the_canvas_moves_the_partner(open_pair, qtbot):
    pair = make_pair()
    viewer, dock, _ = open_pair(pair, show=True)
    viewer.window.resize(1280, 800)
    # The second canvas gets as much room as the first.
    main, theirs = viewer.window._qt_window.centralWidget(), dock_of(dock.partner)
    qtbot.waitUntil(lambda: abs(main.width() - theirs.width()) <= 24 < main.width())
    qtbot.waitUntil(lambda: not dock._fit.isActive())
    wait_until_still(qtbot, lambda: [*viewer.camera.center, viewer.camera.zoom])
    canvas = viewer.window._qt_viewer.canvas
    height, width = canvas.size
    canvas._scene_canvas.events.mouse_move(pos=(width * 0.55, height * 0.48), modifiers=())
    world = pair.fixed_grid.data_to_world(world_to_data(pair.fixed_grid, viewer.cursor.position))
    qtbot.waitUntil(lambda: np.allclose(dock.view.cursor.points["fixed"], world))
    expected = pair.map_fixed_to_moving(world)
    assert np.allclose(dock.view.cursor.points["moving"], expected)
    assert "displaced" in dock.look_panel.partner.text()
    shown = world_to_data(pair.moving_grid, dock.partner.model.dims.point)[0]
    assert abs(shown - pair.moving_grid.world_to_data(expected)[0]) <= 0.5 + 1e-6
    assert dock.partner.screenshot()[..., :3].std() > 5  # something is drawn

    viewer.camera.zoom = 7.5
    assert dock.partner.model.camera.zoom == 7.5
    dock.partner.model.camera.zoom = 4.0
    assert viewer.camera.zoom == 4.0


def test_the_second_canvas_has_the_theme_of_the_window(open_pair):
    viewer, dock, session = open_pair(make_pair())
    assert dock.partner.model.theme == viewer.theme == "dark"
    viewer.theme = "light"
    assert dock.partner.model.theme == "light"
    session.set_pair(None)
    dock.partner.tear_down()
    session.set_pair(make_pair())
    assert dock.partner.model.theme == "light"


def test_what_is_drawn_changes_neither_slices_nor_selection(open_pair, qtbot):
    pair = make_pair()
    viewer, dock, _ = open_pair(pair)
    partner = dock.partner.model
    ranges = np.array(viewer.dims.range), np.array(partner.dims.range)
    mine = viewer.add_points(name="mine", ndim=3, **pair.fixed_grid.layer_options())
    dock.evidence_panel.grid.setChecked(True)
    dock.evidence_panel.arrows.setChecked(True)
    dock.look_panel.view.setCurrentIndex(1)
    for corner in ((0, 0, 0), tuple(n - 1 for n in FIXED_SHAPE)):
        hover(viewer, place(pair.fixed_grid, corner))
        qtbot.wait(50)
        for now, before in zip((viewer, partner), ranges, strict=True):
            assert np.allclose(now.dims.range, before)
    assert viewer.layers.selection.active is mine

    # Beyond the moving scan no marker pretends to know.
    far = pair.fixed.voxel_to_world([0, 0, 0])
    data = pair.moving_grid.world_to_data(pair.map_fixed_to_moving(far))
    assert (data < -0.5).any() or (data > np.array(pair.moving_grid.shape) - 0.5).any()
    dock.view.cursor.move_to("fixed", far)
    assert not first(partner, ROLE).visible
    assert "outside" in dock.partner.words


def test_a_crosshair_leaves_its_middle_free():
    grid = make_pair().fixed_grid
    middle = np.array([7.3, 12.0, 10.0])
    arms = crosshair(grid, middle, Plane((1, 2), 7))
    assert arms.shape == (4, 2, 3)
    assert (arms[:, 0, 0] == 7).all()
    assert (np.abs(arms[:, 0, 1:] - middle[1:]).max(axis=1) > 0.2).all()
    assert crosshair(grid, middle, None).shape == (6, 2, 3)


def test_a_viewer_that_is_emptied_becomes_empty(open_pair):
    """Layers that go move the sliders, and what follows the sliders must not come back."""
    viewer, dock, _ = open_pair(make_pair())
    dock.view.deformation.set_grid(True)
    dock.view.deformation.set_arrows(True)
    world = dock.view.pair.fixed.voxel_to_world(np.array([4, 5, 6]))
    dock.view.cursor.jump_to("fixed", world)
    viewer.layers.clear()
    assert len(viewer.layers) == 0
    dock.partner.model.layers.clear()
    assert len(dock.partner.model.layers) == 0

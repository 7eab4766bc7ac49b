"""The Probe dock in real windows, with clicks on the canvases and the real child."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import numpy as np
import psutil
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, Qt

from napari_gemini.study.landmarks import LandmarkPair
from napari_gemini.volumes.displacement import identity_field
from napari_gemini.volumes.volume import Volume
from napari_gemini.widgets.canvas.layers import find_layers, layer_info
from napari_gemini.widgets.common.preferences import Preferences
from napari_gemini.widgets.common.session import get_session
from napari_gemini.widgets.pair.pair_data import PairData
from napari_gemini.widgets.pair.shown import data_to_world
from napari_gemini.widgets.probing.dock import ProbeDock
from napari_gemini.widgets.probing.landmarks import Probe
from napari_gemini.widgets.probing.marks import LANDMARKS, PROBE, SIMILARITY, show_probe
from tests.gui.helpers import make_study
from tests.gui.mouse import LEFT, move, wait_until_still
from tests.gui.pair.helpers import make_pair, true_inverse, true_map

VOXEL = np.array([11, 14, 8])
NONE = Qt.KeyboardModifier.NoModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier


def press(qtbot, qt_viewer, grid, voxel, modifier=NONE):
    """Click a voxel with the mouse, on the slice it is in."""
    model = qt_viewer.viewer
    place = data_to_world(grid, grid.voxel_to_data(voxel))
    model.dims.set_point(range(grid.ndim), list(place))
    canvas = qt_viewer.canvas._scene_canvas
    native = canvas.native
    shown = place[list(model.dims.displayed)]

    def on_canvas():
        centre = np.array(model.camera.center)[-2:]
        middle = np.array([native.height(), native.width()]) / 2
        return middle + (shown - centre) * model.camera.zoom

    row, column = wait_until_still(qtbot, on_canvas)
    point = QPoint(round(column), round(row))
    move(qtbot, canvas, point)
    qtbot.mouseClick(native, LEFT, modifier, point)


def shown_points(viewer, role):
    """Positions in RAS mm of the visible points of a role."""
    (layer,) = find_layers(viewer, role)
    grid = layer_info(layer).grid
    return grid.data_to_world(np.asarray(layer.data)[np.asarray(layer.shown)])


def test_a_click_in_either_scan_finds_its_partner(probing, qtbot):
    pair = make_pair()
    viewer, correspondence, dock = probing(pair, show=True)
    correspondence.view.cursor.follows = False
    dock.panel.model.setCurrentIndex(dock.panel.model.findData("none"))
    main, partner = viewer.window._qt_viewer, correspondence.partner
    world = pair.fixed.voxel_to_world(VOXEL)
    asked = []
    dock.runner.answered.connect(lambda probe, values, seconds: asked.append(values))

    press(qtbot, main, pair.fixed_grid, VOXEL)
    assert np.allclose(dock.probe.point, world, atol=1.0)
    expected = true_map(dock.probe.point)
    assert np.allclose(shown_points(viewer, PROBE), [dock.probe.point], atol=1e-3)
    assert np.allclose(shown_points(partner.model, PROBE), [expected], atol=0.05)
    # The partner's canvas shows the slice that the partner is in.
    there = data_to_world(pair.moving_grid, pair.moving_grid.world_to_data(expected))
    assert abs(partner.model.dims.point[0] - there[0]) <= pair.moving_grid.spacing[0]

    qtbot.waitUntil(lambda: len(asked) == 1, timeout=60_000)
    (heat,) = find_layers(partner.model, SIMILARITY)
    layers = partner.model.layers
    assert layers.index(heat) < layers.index(find_layers(partner.model, PROBE)[0])
    assert layers.index(heat) < layers.index(find_layers(partner.model, "cursor")[0])
    assert heat.data.shape == pair.moving_grid.shape
    assert np.allclose(heat.scale, pair.moving_grid.spacing)
    peak = np.unravel_index(np.argmax(heat.data), heat.data.shape)
    best = pair.moving_grid.data_to_world(np.array(peak))
    assert np.allclose(dock.probe.best, best, atol=1e-3)
    assert "No model" in dock.panel.status.text()
    assert "Best match" in dock.panel.best.text()
    assert not find_layers(viewer, SIMILARITY)

    # The other way: features are cached now.
    press(qtbot, partner._qt, pair.moving_grid, np.array([15, 12, 9]))
    qtbot.waitUntil(lambda: len(asked) == 2, timeout=20_000)
    assert asked[1]["cached"]
    assert dock.probe.side == "moving"
    assert np.allclose(dock.probe.partner, true_inverse(dock.probe.point), atol=0.05)
    assert np.allclose(shown_points(viewer, PROBE)[0], dock.probe.partner, atol=0.05)
    assert find_layers(viewer, SIMILARITY)
    assert not find_layers(partner.model, SIMILARITY)

    # A deleted layer is no error, and the child may die.
    viewer.layers.remove(find_layers(viewer, SIMILARITY)[0])
    viewer.layers.remove(find_layers(viewer, PROBE)[0])
    psutil.Process(dock.session.engine.client.pid).kill()
    qtbot.waitUntil(lambda: not dock.session.engine.client.running, timeout=10_000)
    dock.probe_at("moving", dock.probe.point)
    qtbot.waitUntil(lambda: len(asked) == 3, timeout=60_000)
    assert not asked[2]["cached"]
    assert find_layers(viewer, PROBE)

    # Shift+click in the other scan says where the partner is; kept as a landmark it measures.
    press(qtbot, main, pair.fixed_grid, VOXEL, SHIFT)
    assert np.allclose(dock.probe.chosen, world, atol=1.0)
    dock.keep("partner")
    assert "was set by this deformation itself" in dock.landmark_panel.error.text()
    dock.landmarks.undo()
    dock.keep()
    (mark,) = dock.landmarks.pairs
    error = np.linalg.norm(true_map(np.array(mark.a)) - np.array(mark.b))
    assert f"{error:.2f}" in dock.landmark_panel.table.item(0, 1).text()
    assert "Registration error of 1" in dock.landmark_panel.error.text()


def test_landmarks_follow_the_canvas_and_are_measured(probing, qtbot):
    pair = make_pair()
    viewer, correspondence, dock = probing(pair)
    points = [pair.fixed.voxel_to_world(VOXEL + k) for k in range(3)]
    dock.landmarks.add(
        [LandmarkPair(f"L{k}", tuple(p), tuple(true_map(p))) for k, p in enumerate(points)]
    )
    both = viewer, correspondence.partner.model
    layers = [find_layers(one, LANDMARKS)[0] for one in both]
    assert [len(layer.data) for layer in layers] == [3, 3]
    # Dragged on the canvas of the moving scan, 3 mm.
    grid = pair.moving_grid
    data = np.array(layers[1].data)
    data[1] = grid.world_to_data(grid.data_to_world(data[1]) + np.array([0, 0, 3]))
    layers[1].data = data
    assert np.allclose(
        dock.landmarks.pairs[1].b, true_map(points[1]) + np.array([0, 0, 3]), atol=1e-3
    )
    assert "max 3.0" in dock.landmark_panel.error.text()
    dock.landmark_panel.table.item(0, 0).setText("tip")
    assert dock.landmarks.pairs[0].name == "tip"
    dock.landmark_panel.table.item(0, 0).setText("L2")
    assert dock.landmark_panel.table.item(0, 0).text() == "tip"
    assert dock.messages.level == "error"
    # Deleted on the canvas.
    layer = find_layers(viewer, LANDMARKS)[0]
    layer.selected_data = {2}
    layer.remove_selected()
    assert [mark.name for mark in dock.landmarks.pairs] == ["tip", "L1"]
    assert len(find_layers(correspondence.partner.model, LANDMARKS)[0].data) == 2
    dock.landmarks.undo()
    assert len(dock.landmarks) == 3
    # The roles exchanged and back: nothing is lost.
    correspondence.swap()
    qtbot.waitUntil(lambda: dock.pair is dock.session.pair)
    assert np.allclose(dock.landmarks.pairs[0].b, points[0])


def test_landmarks_of_cases_are_saved_in_the_study(probing, qtbot, tmp_path):
    study = make_study(tmp_path, cases=2)
    viewer, _, dock = probing()
    get_session(viewer).open_study(study.folder)
    pair = make_pair()
    pair.fixed_case, pair.moving_case = (case.id for case in study.cases)
    dock.pair = pair
    mark = LandmarkPair("L1", (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    dock.landmarks.add([mark])
    assert study.landmarks(pair.fixed_case, pair.moving_case) == [mark]
    assert "saved" in dock.landmark_panel.saved.text()
    assert dock.may_close()
    # A study that cannot be written keeps them here and says so.
    landmarks = study.folder / "landmarks"
    for file in landmarks.iterdir():
        file.unlink()
    landmarks.rmdir()
    landmarks.write_text("in the way")
    dock.landmarks.add([LandmarkPair("L2", (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))])
    assert dock.messages.level == "error"
    assert len(dock.landmarks) == 2


def flat_pair() -> PairData:
    image = np.random.default_rng(0).uniform(0, 255, (40, 30)).astype(np.float32)
    fixed, moving = (Volume(image, np.eye(4), spacing_known=False) for _ in range(2))
    return PairData(fixed, moving, identity_field(fixed), identity_field(moving))


@pytest.mark.parametrize("display", [2, 3])
def test_what_a_probe_does_not_have_is_not_drawn(display):
    """napari draws every point of a flat layer and of the 3D view, ``shown`` or not."""
    pair = flat_pair() if display == 2 else make_pair()
    viewers = {"fixed": ViewerModel(ndisplay=display), "moving": ViewerModel(ndisplay=display)}
    middle = pair.fixed.voxel_to_world((np.array(pair.fixed.shape) - 1) // 2)
    partner = pair.map_fixed_to_moving(middle)
    probe = Probe("fixed", middle, partner)

    def drawn(side):
        (layer,) = find_layers(viewers[side], PROBE)
        words = layer.features["what"]
        assert not any(words[layer.size == 0])
        return [str(one) for one in words[layer.size > 0]]

    show_probe(viewers, pair, probe, Preferences())
    assert (drawn("fixed"), drawn("moving")) == ([""], [""])
    # Of a mark of no size a dot may stay: it lies under one that is seen.
    (layer,) = find_layers(viewers["fixed"], PROBE)
    assert np.ptp(np.asarray(layer.data), axis=0).max() == 0
    show_probe(viewers, pair, replace(probe, best=partner + 1), Preferences())
    assert (drawn("fixed"), drawn("moving")) == ([""], ["", "best match"])
    show_probe(viewers, pair, replace(probe, chosen=partner), Preferences())
    assert (drawn("fixed"), drawn("moving")) == ([""], ["", "mine"])


def test_the_table_of_landmarks_says_row_and_column_of_flat_scans(probing):
    """As the words of the probe do; positions in files stay as they are."""
    pair = flat_pair()
    _, _, dock = probing(pair)
    place = tuple(pair.fixed.voxel_to_world([12, 9]))
    dock.landmarks.add([LandmarkPair("L1", place, place)])
    table = dock.landmark_panel.table
    assert table.item(0, 2).text() == "9.0, 12.0"
    assert table.item(0, 3).text() == "9.0, 12.0"
    assert table.horizontalHeaderItem(2).toolTip() == "row, column"


def test_without_a_pair_or_with_a_wrong_model_it_says_so(probing, qtbot, tmp_path):
    viewer, _, dock = probing()
    assert "no pair yet" in dock.messages.text
    assert not dock.panel.isEnabled()
    dock.keep()
    assert "no probe" in dock.messages.text
    pair = make_pair()
    get_session(viewer).set_pair(pair)
    qtbot.waitUntil(lambda: dock.pair is pair)
    assert dock.messages.isHidden()
    dock.panel.model.addItem("gone", str(tmp_path / "gone"))
    dock.panel.model.setCurrentIndex(dock.panel.model.count() - 1)
    dock.probe_at("fixed", pair.fixed.voxel_to_world(VOXEL))
    qtbot.waitUntil(lambda: dock.messages.level == "error", timeout=60_000)
    assert "gone" in dock.messages.text
    assert "\n" not in dock.messages.text
    dock.bring([tmp_path / "none.csv"])
    assert "is not there" in dock.messages.text


def test_nothing_stays_when_the_dock_goes(probing, qtbot):
    viewer, correspondence, dock = probing(make_pair())
    dock.probe_at("fixed", dock.pair.fixed.voxel_to_world(VOXEL))
    dock.runner.stop()
    partner = correspondence.partner.model
    callbacks = len(partner.mouse_drag_callbacks)
    dead = weakref.ref(dock)
    viewer.window.remove_dock_widget(dock)
    assert not find_layers(viewer, PROBE)
    assert not find_layers(partner, PROBE)
    assert len(partner.mouse_drag_callbacks) == callbacks - 1
    del dock
    for _ in range(3):
        qtbot.wait(30)
        gc.collect()
    assert dead() is None or dead()._torn_down
    assert isinstance(ProbeDock(viewer), ProbeDock)  # the key is free again

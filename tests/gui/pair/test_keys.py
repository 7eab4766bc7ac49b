"""The keys of the Correspondence dock, pressed on both canvases of a real window."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Qt

from napari_gemini.widgets.pair.composition import WARPED
from napari_gemini.widgets.pair.folds import Fold
from napari_gemini.widgets.pair.keys import KEYS, CanvasKeys
from napari_gemini.widgets.pair.look_panel import STEPS
from napari_gemini.widgets.pair.shown import first
from tests.gui.pair.helpers import make_pair

SHIFT = Qt.KeyboardModifier.ShiftModifier


def test_each_key_does_what_the_list_says(open_pair, qtbot):
    pair = make_pair()
    viewer, dock, session = open_pair(pair, show=True)
    look, maps, view = dock.look_panel, dock.evidence_panel, dock.view
    folds = [Fold(9, 9.0, 0, (11, 14, 8)), Fold(3, 3.0, 1, (4, 5, 6))]
    qtbot.waitUntil(lambda: maps.fold_words.text() != "" or not pair.has("folds"))
    dock.controls.set_folds(folds)
    pressed = set()

    def press(key):
        # Either canvas may have the focus.
        shown = dock.partner._qt if len(pressed) % 2 else viewer.window._qt_viewer
        pressed.add(f"Shift-{key}")
        qtbot.keyClick(shown.canvas.native, getattr(Qt.Key, f"Key_{key}"), SHIFT)

    press("S")
    assert view.view == "overlay"
    assert look.view.currentData() == "overlay"
    warped = first(viewer, WARPED)
    assert warped.visible
    before = look.mode.currentIndex()
    press("M")
    assert look.mode.currentIndex() == before + 1
    assert view.composition.mode == look.mode.currentData()
    press("T")
    assert not warped.visible
    press("T")
    assert warped.visible
    press("U")
    assert (look.t.value(), view.composition.t) == (0, 0.0)
    press("U")
    assert (look.t.value(), view.composition.t) == (STEPS, 1.0)
    press("S")
    assert view.view == "side"
    press("T")  # turns to the fixed scan's space first, where there is something to hide
    assert view.view == "overlay"
    assert warped.visible

    press("G")
    assert maps.grid.isChecked()
    assert view.deformation.shows_grid
    press("D")
    assert view.deformation.shows_arrows
    maps.maps["log_jacobian"].setEnabled(False)
    press("J")
    assert not view.shows("log_jacobian")
    maps.maps["log_jacobian"].setEnabled(True)
    press("J")
    assert view.shows("log_jacobian") == maps.maps["log_jacobian"].isChecked()
    for row in (0, 1, 0):
        press("F")
        assert np.allclose(view.cursor.points["fixed"], pair.fixed.voxel_to_world(folds[row].voxel))
        assert [index.row() for index in maps.table.selectedIndexes()] == [row] * 3
    press("X")
    assert session.pair.moving is pair.fixed
    assert pressed == set(KEYS)


def test_keys_do_nothing_without_a_pair_and_go_with_the_dock(open_pair, qtbot):
    viewer, dock, _ = open_pair(show=True)
    for key in KEYS:
        qtbot.keyClick(
            viewer.window._qt_viewer.canvas.native, getattr(Qt.Key, f"Key_{key[-1]}"), SHIFT
        )
    assert not viewer.layers
    assert dock.messages.text == ""
    bound = len(viewer.keymap)
    assert bound >= len(KEYS)
    viewer.window.remove_dock_widget(dock)
    assert len(viewer.keymap) == bound - len(KEYS)


def test_a_key_of_somebody_else_is_left_alone(make_napari_viewer):
    viewer = make_napari_viewer()
    heard = []

    @viewer.bind_key("Shift-G")
    def theirs(viewer):
        heard.append("theirs")

    keys = CanvasKeys({key: lambda: heard.append("ours") for key in KEYS}, KEYS)
    keys.attach(viewer)
    keys.attach(viewer)
    theirs_now = [f for f in viewer.keymap.values() if f is theirs]
    assert len(theirs_now) == 1
    keys.drop()
    assert list(viewer.keymap.values()) == [theirs]

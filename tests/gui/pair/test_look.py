"""Ways of looking at a pair in the fixed scan's space."""

from __future__ import annotations

import time

import numpy as np
import pytest

from napari_gemini.volumes.applying import apply_field
from napari_gemini.widgets.canvas.layers import labels_layer, layer_info
from napari_gemini.widgets.pair.composition import EDGES, LABELS, WARPED
from napari_gemini.widgets.pair.deformation import (
    Plane,
    clip,
    line_vertices,
    moving_grid_on_fixed,
    segments,
)
from napari_gemini.widgets.pair.deformation_view import ARROWS, GRID
from napari_gemini.widgets.pair.look_panel import STEPS
from napari_gemini.widgets.pair.shown import first, shown_plane
from tests.gui.pair.helpers import make_pair


def choose(dock, mode):
    dock.look_panel.mode.setCurrentIndex(dock.look_panel.mode.findData(mode))


def test_every_way_of_looking(open_pair, qtbot):
    pair = make_pair()
    viewer, dock, _ = open_pair(pair)
    look = dock.look_panel
    fixed = viewer.layers["fixed scan"]
    colours = fixed.colormap.name
    # First what radiologists ask for: nothing warped anywhere.
    assert first(viewer, WARPED) is None
    assert np.array_equal(
        dock.partner.model.layers[0].data, pair.moving_grid.to_canvas(pair.moving.data)
    )

    look.view.setCurrentIndex(look.view.findData("overlay"))
    warped = first(viewer, WARPED)
    whole = pair.fixed_grid.to_canvas(apply_field(pair.there, pair.moving, pair.fixed))
    shown = np.nan_to_num(warped._data_view)
    assert np.allclose(shown, whole[viewer.dims.current_step[0]], atol=0.02)
    look.amount.setValue(STEPS // 4)
    assert warped.opacity == pytest.approx(0.25)

    choose(dock, "overlay")
    assert (fixed.colormap.name, warped.colormap.name, warped.blending) == (
        "green",
        "magenta",
        "additive",
    )
    choose(dock, "contours")
    assert fixed.colormap.name == colours
    assert not warped.visible
    assert first(viewer, EDGES).visible  # no labels are known, so edges stand in
    labels = pair.moving.with_data((pair.moving.data > 50).astype(np.uint8))
    dock.view.composition.set_labels(labels)
    assert first(viewer, LABELS).contour == 1
    assert not first(viewer, EDGES).visible

    choose(dock, "blink")
    look.amount.setValue(STEPS)
    for opacity in (0.0, 1.0, 0.0):
        qtbot.waitUntil(lambda opacity=opacity: warped.opacity == opacity)

    choose(dock, "curtain")
    look.amount.setValue(STEPS // 2)
    half = pair.fixed_grid.shape[2] // 2
    assert np.isnan(warped._data_view[:, : half - 1]).all()
    assert np.isfinite(warped._data_view[:, half + 1 :]).any()
    viewer.dims.order = (1, 0, 2)  # the curtain follows the plane
    assert np.isnan(warped._data_view[:, : half - 1]).all()
    viewer.dims.order = (0, 1, 2)
    choose(dock, "checkerboard")
    hidden = np.isnan(warped._data_view).mean()
    assert 0.3 < hidden < 0.8
    assert "mm" in look.amount_words.text()

    choose(dock, "fade")
    assert np.isnan(warped._data_view).mean() < 0.3
    look.t.setValue(0)
    placed = warped._data_view.copy()
    look.t.setValue(STEPS)
    assert np.nanmax(np.abs(placed - warped._data_view)) > 10
    # What the user deletes is no error and comes back when it is wanted.
    viewer.layers.remove(warped)
    look.t.setValue(STEPS // 2)
    choose(dock, "curtain")
    assert first(viewer, WARPED) is not None
    look.view.setCurrentIndex(0)
    assert not first(viewer, WARPED).visible
    # Another pair is looked at in the same way.
    dock.swap()
    assert dock.view.composition.t == look.t.value() / STEPS
    assert dock.view.composition.mode == look.mode.currentData()
    dock.swap()
    viewer.dims.ndisplay = 3
    look.view.setCurrentIndex(1)
    assert layer_info(first(viewer, WARPED)).provenance["moving"] == "moving scan"


def test_labels_of_the_fixed_scan_do_not_cover_what_is_compared(open_pair):
    pair = make_pair()
    viewer, dock, session = open_pair(pair)
    known = pair.fixed.with_data((pair.fixed.data > 50).astype(np.uint8))
    labels = viewer.add_layer(labels_layer(known, "mine"))
    hidden = viewer.add_layer(labels_layer(known, "hidden"))
    hidden.visible = False
    viewer.layers.selection.active = labels
    dock.controls.set_view("overlay")
    assert not labels.visible
    labels.visible = True  # the user wants them, and nobody takes them away again
    dock.evidence_panel.grid.setChecked(True)
    dock.controls.set_view("overlay")
    assert labels.visible
    dock.controls.set_view("side")
    dock.controls.set_view("overlay")
    assert not labels.visible
    dock.controls.set_view("side")
    assert (labels.visible, hidden.visible) == (True, False)
    assert viewer.layers.selection.active is labels
    dock.controls.set_view("overlay")
    session.set_pair(None)
    assert (labels.visible, hidden.visible) == (True, False)


def test_grid_and_arrows_follow_the_slice(open_pair, qtbot):
    pair = make_pair()
    viewer, dock, _ = open_pair(pair)
    panel = dock.evidence_panel
    panel.grid.setChecked(True)
    panel.arrows.setChecked(True)
    panel.spacing.setValue(4.0)
    for order, step in (((0, 1, 2), 9), ((2, 0, 1), 12)):
        viewer.dims.order = order
        viewer.dims.set_current_step(order[0], step)
        plane = shown_plane(viewer, pair.fixed_grid)
        assert plane == Plane((order[1], order[2]), step)
        lines = line_vertices(pair.fixed_grid, plane, 4.0)
        expected = segments(moving_grid_on_fixed(pair, lines), (order[0], step))
        layer = first(viewer, GRID)
        assert layer.vector_style == "line"
        assert np.allclose(layer.data, clip(expected, pair.fixed_grid.shape)[0], atol=1e-4)
        assert (first(viewer, ARROWS).data[:, 0, order[0]] == step).all()
    grids = [first(v, GRID).data for v in (viewer, dock.partner.model)]
    assert all(np.isfinite(data).all() for data in grids)
    panel.spacing.setValue(8.0)
    assert len(first(viewer, GRID).data) < len(grids[0])
    assert "mm" in panel.arrow_words.text()

    viewer.layers.remove(first(viewer, GRID))
    qtbot.wait(20)
    assert not panel.grid.isChecked()
    assert first(dock.partner.model, GRID) is None
    panel.arrows.setChecked(False)
    assert first(viewer, ARROWS) is None


def test_the_grid_is_drawn_anew_within_its_budget(open_pair):
    """A grid of the usual density on a slice of the usual size: below 50 ms, drawing apart."""
    viewer, dock, _ = open_pair(make_pair())
    dock.evidence_panel.grid.setChecked(True)
    dock.evidence_panel.spacing.setValue(1.3)  # 24 lines across
    times = []
    for step in range(3, 13):
        viewer.dims.set_current_step(0, step)
        start = time.process_time()
        dock.view.deformation.refresh_grid()
        times.append(time.process_time() - start)
    assert np.median(times) < 0.05

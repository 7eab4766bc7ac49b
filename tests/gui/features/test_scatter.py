"""The scatter's lasso, clicks and keys, driven by real mouse events on its canvas."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from napari_gemini.widgets.plots.scatter import ScatterPlot
from tests.gui.mouse import LEFT, around, drag, move, wait_until_still


@pytest.fixture
def plot(qtbot) -> ScatterPlot:
    """Two groups of points, left and right."""
    plot = ScatterPlot("Points")
    qtbot.addWidget(plot)
    plot.resize(360, 360)
    plot.show()
    qtbot.waitExposed(plot)
    generator = np.random.default_rng(0)
    left = generator.normal((-5, 0), 0.5, (30, 2))
    right = generator.normal((5, 0), 0.5, (20, 2))
    plot.set_points(np.concatenate([left, right]))
    plot.canvas.render()
    wait_until_still(qtbot, plot.on_canvas)
    yield plot
    plot.close_canvas()


def test_a_lasso_selects_what_it_goes_around(plot, qtbot):
    heard = []
    plot.selected.connect(heard.append)
    places = plot.on_canvas()
    drag(qtbot, plot.canvas, around(places[30:]))
    assert heard[-1].tolist() == [False] * 30 + [True] * 20
    drag(qtbot, plot.canvas, around(places[:30]), Qt.KeyboardModifier.ShiftModifier)
    assert heard[-1].all()
    drag(qtbot, plot.canvas, around(places[30:]), Qt.KeyboardModifier.ControlModifier)
    assert heard[-1].tolist() == [True] * 30 + [False] * 20


def test_a_lasso_is_drawn_around_what_was_seen_when_it_began(plot, qtbot):
    """Points come and the canvas gets another size before the mouse is released."""
    heard = []
    plot.selected.connect(heard.append)
    corners = [QPoint(int(x), int(y)) for x, y in around(plot.on_canvas()[30:])]
    qtbot.mousePress(plot.canvas.native, LEFT, pos=corners[0])
    move(qtbot, plot.canvas, corners[1])
    before = plot.on_canvas()
    elsewhere = -plot.points * [3, 1] + [40, 0]
    plot.set_points(elsewhere, np.tile([0, 1.0, 0, 1], (50, 1)))
    assert np.allclose(plot.on_canvas(), before)
    move(qtbot, plot.canvas, corners[2])
    move(qtbot, plot.canvas, corners[3])
    plot.resize(500, 300)
    wait_until_still(qtbot, plot.on_canvas)
    assert not np.allclose(plot.on_canvas(), before, atol=20)
    qtbot.mouseRelease(plot.canvas.native, LEFT, pos=corners[3])
    assert heard[-1].tolist() == [False] * 30 + [True] * 20
    # What came meanwhile is shown now, all of it.
    assert np.allclose(plot.points, elsewhere)
    assert np.allclose(plot.colours, [0, 1, 0, 1])
    places = plot.on_canvas()
    assert (places >= 0).all()
    assert (places <= plot.canvas.size).all()


def test_a_lasso_is_given_up(plot, qtbot):
    """By Escape, by other points, and by a mouse that was released in another window."""
    heard = []
    plot.selected.connect(heard.append)
    plot.select(np.arange(50) < 5)
    native = plot.canvas.native
    corners = [QPoint(int(x), int(y)) for x, y in around(plot.on_canvas()[30:])]

    def begin():
        qtbot.mousePress(native, LEFT, pos=corners[0])
        for corner in corners[1:]:
            move(qtbot, plot.canvas, corner)
        assert plot.drawing

    begin()
    qtbot.keyClick(native, Qt.Key.Key_Escape)
    assert not plot.drawing
    qtbot.mouseRelease(native, LEFT, pos=corners[-1])
    assert not heard
    assert plot.selection.sum() == 5

    begin()
    plot.canvas.events.mouse_move(pos=(3, 3), buttons=[], button=None, modifiers=())
    assert not plot.drawing

    begin()
    plot.set_points(plot.points[:20])
    assert not plot.drawing
    qtbot.mouseRelease(native, LEFT, pos=corners[-1])
    assert not heard
    assert len(plot.selection) == 20


def test_a_click_picks_the_nearest_point_and_a_miss_nothing(plot, qtbot):
    heard = []
    plot.selected.connect(heard.append)
    places = plot.on_canvas()
    lonely = int(places[:, 0].argmax())
    qtbot.mouseClick(plot.canvas.native, LEFT, pos=QPoint(*np.rint(places[lonely]).astype(int)))
    assert np.flatnonzero(heard[-1]).tolist() == [lonely]
    middle = QPoint(*np.rint(places.mean(axis=0)).astype(int))
    qtbot.mouseClick(plot.canvas.native, LEFT, pos=middle)
    assert not heard[-1].any()


def test_escape_selects_nothing(plot, qtbot):
    plot.select(np.ones(50, bool))
    qtbot.keyClick(plot.canvas.native, Qt.Key.Key_Escape)
    assert not plot.selection.any()


def test_selected_points_stand_out(plot):
    plot.set_colours(np.tile([1.0, 0, 0, 1], (50, 1)))
    before = plot.canvas.render()[..., :3].astype(int)
    plot.select(np.arange(50) < 30)
    after = plot.canvas.render()[..., :3].astype(int)
    middle = before.shape[1] // 2
    red = [(image[..., 0] - image[..., 1] > 120) for image in (before, after)]
    assert red[0][:, :middle].any()
    assert red[0][:, middle:].any()
    assert red[1][:, :middle].any()
    assert not red[1][:, middle:].any()


def test_what_is_selected_is_on_top_and_keeps_its_colour(plot):
    """Also where thousands of points lie upon each other."""
    places = np.zeros((7000, 2))
    places[-2:] = [[-1, 0], [1, 0]]
    colours = np.tile([0.0, 0, 1, 1], (7000, 1))
    colours[0] = [1, 0, 0, 1]
    plot.set_points(places, colours)
    column, row = np.rint(plot.on_canvas()[0]).astype(int)

    def seen():
        return plot.canvas.render()[row, column, :3].tolist()

    assert seen() == [0, 0, 255]
    plot.select(np.arange(7000) == 0)
    assert seen() == [255, 0, 0]
    plot.select(np.zeros(7000, bool))
    assert seen() == [0, 0, 255]


def test_a_moved_view_stays_while_points_move(plot, qtbot):
    before = plot.on_canvas()
    drag(qtbot, plot.canvas, [(100, 150), (160, 190)], button=Qt.MouseButton.RightButton)
    moved = plot.on_canvas()
    assert np.allclose(moved - before, [60, 40], atol=2)
    plot.set_points(plot.points * 1.0)
    assert np.allclose(plot.on_canvas(), moved, atol=1)
    plot.fit()
    assert not np.allclose(plot.on_canvas(), moved, atol=10)

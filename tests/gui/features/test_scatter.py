"""The scatter's lasso, clicks and keys, driven by real mouse events on its canvas."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from napari_gemini.widgets.plots.scatter import ScatterPlot

LEFT = Qt.MouseButton.LeftButton


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
    yield plot
    plot.close_canvas()


def lasso(qtbot, plot: ScatterPlot, corners: np.ndarray, modifier=Qt.KeyboardModifier.NoModifier):
    """Draw around with the mouse, as a hand would."""
    native = plot.canvas.native
    way = [QPoint(int(x), int(y)) for x, y in corners]
    qtbot.mousePress(native, LEFT, modifier, way[0])
    for before, point in pairwise(way):
        # As slowly as a hand: moves that come too fast are joined, and corners would be lost.
        for step in (0.5, 0.9, 1.0):
            qtbot.mouseMove(native, before + (point - before) * step)
            qtbot.wait(60)
    qtbot.mouseRelease(native, LEFT, modifier, way[-1])


def around(places: np.ndarray, margin: float = 8) -> np.ndarray:
    low, high = places.min(axis=0) - margin, places.max(axis=0) + margin
    return np.array([low, (high[0], low[1]), high, (low[0], high[1])])


def test_a_lasso_selects_what_it_goes_around(plot, qtbot):
    heard = []
    plot.selected.connect(heard.append)
    places = plot.on_canvas()
    lasso(qtbot, plot, around(places[30:]))
    assert heard[-1].tolist() == [False] * 30 + [True] * 20
    lasso(qtbot, plot, around(places[:30]), Qt.KeyboardModifier.ShiftModifier)
    assert heard[-1].all()
    lasso(qtbot, plot, around(places[30:]), Qt.KeyboardModifier.ControlModifier)
    assert heard[-1].tolist() == [True] * 30 + [False] * 20


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


def test_a_moved_view_stays_while_points_move(plot, qtbot):
    native = plot.canvas.native
    start, end = QPoint(100, 150), QPoint(160, 190)
    before = plot.on_canvas()
    qtbot.mousePress(native, Qt.MouseButton.RightButton, pos=start)
    qtbot.mouseMove(native, end)
    qtbot.mouseRelease(native, Qt.MouseButton.RightButton, pos=end)
    moved = plot.on_canvas()
    assert np.allclose(moved - before, [60, 40], atol=2)
    plot.set_points(plot.points * 1.0)
    assert np.allclose(plot.on_canvas(), moved, atol=1)
    plot.fit()
    assert not np.allclose(plot.on_canvas(), moved, atol=10)

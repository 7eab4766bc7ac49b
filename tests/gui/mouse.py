"""The mouse in tests: every move arrives, and nothing is aimed at before it stands still."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt
from vispy.app import Canvas

LEFT = Qt.MouseButton.LeftButton
NO_KEY = Qt.KeyboardModifier.NoModifier


def wait_until_still(qtbot: QtBot, read: Callable[[], Any], times: int = 5) -> np.ndarray:
    """Wait until numbers do not change any more, and return them.

    Layouts, docks and canvases get their sizes in later turns of the event loop: what is read
    before may be elsewhere when the mouse gets there.
    """
    last: list[np.ndarray] = []

    def still() -> bool:
        now = np.asarray(read(), dtype=float)
        if last and not np.array_equal(last[-1], now, equal_nan=True):
            last.clear()
        last.append(now)
        return len(last) >= times

    qtbot.waitUntil(still, timeout=20_000)
    return last[-1]


def move(qtbot: QtBot, canvas: Canvas, point: QPoint) -> None:
    """Move the mouse over a vispy canvas until it has arrived: vispy drops moves within 10 ms."""
    heard: list[tuple[int, int]] = []

    def note(event: Any) -> None:
        heard.append((int(event.pos[0]), int(event.pos[1])))

    def arrived() -> bool:
        qtbot.mouseMove(canvas.native, point)
        return bool(heard) and heard[-1] == (point.x(), point.y())

    canvas.events.mouse_move.connect(note)
    try:
        qtbot.waitUntil(arrived, timeout=20_000)
    finally:
        canvas.events.mouse_move.disconnect(note)


def drag(
    qtbot: QtBot,
    canvas: Canvas,
    corners: Sequence[Sequence[float]] | np.ndarray,
    modifier: Qt.KeyboardModifier = NO_KEY,
    button: Qt.MouseButton = LEFT,
) -> None:
    """Press at the first corner, go along straight lines to all others, and release at the last."""
    way = [QPoint(int(x), int(y)) for x, y in corners]
    qtbot.mousePress(canvas.native, button, modifier, way[0])
    for before, point in pairwise(way):
        for step in (0.5, 1.0):
            move(qtbot, canvas, before + (point - before) * step)
    qtbot.mouseRelease(canvas.native, button, modifier, way[-1])


def around(places: np.ndarray, margin: float = 8) -> np.ndarray:
    """Return the corners of a box around places on a canvas."""
    low, high = places.min(axis=0) - margin, places.max(axis=0) + margin
    return np.array([low, (high[0], low[1]), high, (low[0], high[1])])

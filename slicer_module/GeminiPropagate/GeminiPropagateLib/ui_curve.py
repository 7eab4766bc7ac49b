"""A small curve of numbers over steps, drawn into a label with its extremes and newest value."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

_WIDTH, _HEIGHT, _MARGIN = 360, 110, 6
#: Of the numbers beside the curve: distance from the border, height of a line, room for them on the
#: left and for the newest one on the right.
_TEXT, _LINE, _LEFT, _RIGHT = 4, 14, 52, 130


class Curve:
    """Draws the newest history of one number.

    Parameters
    ----------
    label
        The label that shows it.
    """

    def __init__(self, label: Any) -> None:
        self._label = label
        self.points: list[tuple[int, float]] = []

    def clear(self) -> None:
        """Show nothing."""
        self.points = []
        self._label.clear()

    def add(self, points: Sequence[tuple[int, float]]) -> None:
        """Add (step, value) pairs and draw them all; a resumed training writes over its steps."""
        new = [(step, value) for step, value in points if math.isfinite(value)]
        if not new:
            return
        self.points = [point for point in self.points if point[0] < new[0][0]] + new
        if len(self.points) > 1:
            self._label.pixmap = self._draw()

    def _draw(self) -> Any:
        pixmap = qt.QPixmap(_WIDTH, _HEIGHT)
        pixmap.fill(qt.QColor("#ffffff"))
        painter = qt.QPainter()
        painter.begin(pixmap)
        painter.setPen(qt.QPen(qt.QColor("#1f77b4")))
        places = positions(self.points)
        for (x, y), (next_x, next_y) in itertools.pairwise(places):
            painter.drawLine(x, y, next_x, next_y)
        painter.setPen(qt.QPen(qt.QColor("#555555")))
        values = [point[1] for point in self.points]
        painter.drawText(_TEXT, _LINE, f"{max(values):.3g}")
        painter.drawText(_TEXT, _HEIGHT - _TEXT, f"{min(values):.3g}")
        last = _("step {step}: {value:.3g}").format(step=self.points[-1][0], value=values[-1])
        painter.drawText(_WIDTH - _RIGHT, _LINE, last)
        painter.end()
        return pixmap


def positions(points: Sequence[tuple[int, float]]) -> list[tuple[int, int]]:
    """Return where (step, value) pairs lie in the picture; small values are low."""
    steps, values = [point[0] for point in points], [point[1] for point in points]
    width, height = max(steps) - min(steps) or 1, max(values) - min(values) or 1.0
    return [
        (
            _LEFT + round((step - min(steps)) / width * (_WIDTH - _LEFT - _MARGIN)),
            _HEIGHT - _MARGIN - round((value - min(values)) / height * (_HEIGHT - 2 * _MARGIN)),
        )
        for step, value in points
    ]

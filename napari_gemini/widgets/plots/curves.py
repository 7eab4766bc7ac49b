"""Curves that grow while something runs: losses, scores. Drawn with vispy, themed by napari."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QCheckBox, QGridLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget
from vispy import scene

from napari_gemini.widgets.plots.theme import theme_colours

#: Okabe and Ito's colours, readable with colour blindness and on dark and light backgrounds.
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#0072b2", "#999933")
#: More points than pixels say nothing more.
_MOST_POINTS = 400
_LEGEND_COLUMNS = 2
_AXIS_WIDTH, _AXIS_HEIGHT = 44, 24


@dataclass
class Curve:
    """A curve as it is drawn.

    Attributes
    ----------
    points
        (n, 2): step and value.
    colour
        ``#rrggbb``.
    line
        The visual.
    box
        The entry of the legend, which also hides the curve.
    """

    points: NDArray[np.float32]
    colour: str
    line: scene.visuals.Line = field(repr=False)
    box: QCheckBox = field(repr=False)


class CurvesPlot(QWidget):
    """Curves over a common axis, with a legend that shows and hides them.

    Parameters
    ----------
    title
        Above the plot.
    x_title
        Of the horizontal axis.
    y_range
        Fixed range of the vertical axis; None follows the values.
    height
        Of the canvas in pixels.
    parent
        Of the widget.
    """

    def __init__(
        self,
        title: str,
        x_title: str = "step",
        y_range: tuple[float, float] | None = None,
        height: int = 150,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.curves: dict[str, Curve] = {}
        self._y_range = y_range
        self._last_x = 1.0
        self._x_title = x_title
        self.title = QLabel(self)
        self.title.setWordWrap(True)
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.set_title(title)
        self.canvas = scene.SceneCanvas(keys=None, size=(300, height), show=False, parent=self)
        native = self.canvas.native
        native.setFixedHeight(height)
        native.setMinimumWidth(200)
        # The wheel scrolls the dock, and the arrow keys stay with napari's sliders.
        native.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        native.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        grid = self.canvas.central_widget.add_grid(margin=0, spacing=0)
        self._axes = [
            scene.AxisWidget(orientation="left", **_AXIS),
            scene.AxisWidget(orientation="bottom", **_AXIS),
        ]
        self._axes[0].width_max = self._axes[0].width_min = _AXIS_WIDTH
        self._axes[1].height_max = self._axes[1].height_min = _AXIS_HEIGHT
        grid.add_widget(self._axes[0], row=0, col=0)
        grid.add_widget(self._axes[1], row=1, col=1)
        self.view = grid.add_view(row=0, col=1)
        self.view.camera = scene.PanZoomCamera(interactive=False)
        for axis in self._axes:
            axis.link_view(self.view)
        self._legend = QGridLayout()
        self._legend.setContentsMargins(4, 0, 0, 0)
        self._legend.setHorizontalSpacing(8)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.title)
        layout.addWidget(native)
        layout.addLayout(self._legend)
        self._use_theme()

    def set_title(self, title: str) -> None:
        """Say what the curves are."""
        self.title.setText(f"{title}, by {self._x_title}")

    # -- content -------------------------------------------------------------------------------

    def set_curves(self, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> None:
        """Show curves; those that did not change cost nothing.

        Parameters
        ----------
        curves
            Title -> (x, y), x ascending. A curve that is missing goes.
        """
        for name in [name for name in self.curves if name not in curves]:
            self._remove(name)
        changed = False
        for name, (x, y) in curves.items():
            points = _points(x, y)
            curve = self.curves.get(name) or self._add(name)
            if curve.points.shape != points.shape or not np.array_equal(curve.points, points):
                curve.points = points
                curve.line.set_data(pos=_drawable(points))
                changed = True
        if changed:
            self._fit()

    def clear(self) -> None:
        """Remove all curves."""
        self.set_curves({})

    def _add(self, name: str) -> Curve:
        taken = [curve.colour for curve in self.curves.values()]
        free = [colour for colour in COLOURS if colour not in taken]
        colour = (free or list(COLOURS))[0]
        empty = np.zeros((2, 2), np.float32)
        line = scene.visuals.Line(pos=empty, color=colour, width=2, parent=self.view.scene)
        box = QCheckBox(name, self)
        box.setChecked(True)
        box.setStyleSheet(f"QCheckBox {{ border-left: 10px solid {colour}; padding-left: 4px; }}")
        box.toggled.connect(lambda on, chosen=name: self._toggle(chosen, on))
        place = len(self.curves)
        self._legend.addWidget(box, place // _LEGEND_COLUMNS, place % _LEGEND_COLUMNS)
        curve = self.curves[name] = Curve(np.zeros((0, 2), np.float32), colour, line, box)
        self._tidy_legend()
        return curve

    def _tidy_legend(self) -> None:
        # One curve is what the title says.
        for curve in self.curves.values():
            curve.box.setVisible(len(self.curves) > 1)

    def _remove(self, name: str) -> None:
        curve = self.curves.pop(name)
        curve.line.parent = None
        self._legend.removeWidget(curve.box)
        curve.box.hide()
        curve.box.deleteLater()
        for place, other in enumerate(self.curves.values()):
            self._legend.addWidget(other.box, place // _LEGEND_COLUMNS, place % _LEGEND_COLUMNS)
        self._tidy_legend()
        self.canvas.update()

    def _toggle(self, name: str, on: bool) -> None:
        self.curves[name].line.visible = on
        self._fit()

    def _fit(self) -> None:
        """Let the axes hold everything that is shown."""
        shown = [c.points for c in self.curves.values() if c.line.visible and len(c.points)]
        if shown:
            points = np.concatenate(shown)
            self._last_x = max(float(points[:, 0].max()), 1.0)
        low, high = self._y_range or _span(shown)
        # Room on the right for the last number, on top for the highest one.
        self.view.camera.rect = (0, low, 1.06 * self._last_x, high - low)
        self.canvas.update()

    @property
    def limits(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Shown range of both axes: (x low, x high), (y low, y high)."""
        rect = self.view.camera.rect
        return (rect.left, rect.right), (rect.bottom, rect.top)

    # -- looks ---------------------------------------------------------------------------------

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        kinds = (QEvent.Type.PaletteChange, QEvent.Type.StyleChange)
        if event is not None and event.type() in kinds and hasattr(self, "_legend"):
            self._use_theme()

    def _use_theme(self) -> None:
        text, background = theme_colours(self.title)
        self.canvas.bgcolor = background.name()
        for axis in self._axes:
            axis.axis.text_color = text.name()
            axis.axis.axis_color = text.name()
            axis.axis.tick_color = text.name()
        self.canvas.update()


_AXIS = {
    "tick_font_size": 8,
    "axis_width": 1,
    "tick_width": 1,
    "tick_label_margin": 11,
    "major_tick_length": 5,
    "minor_tick_length": 0,
}


def _points(x: Sequence[float], y: Sequence[float]) -> NDArray[np.float32]:
    """Return (n, 2) points, thinned so that peaks stay."""
    points = np.column_stack(
        [np.asarray(x, np.float32).reshape(-1), np.asarray(y, np.float32).reshape(-1)]
    )
    points = points[np.isfinite(points).all(1)]
    if len(points) <= _MOST_POINTS:
        return points
    size = -(-len(points) // (_MOST_POINTS // 2))
    chosen = []
    for start in range(0, len(points), size):
        part = points[start : start + size, 1]
        chosen += sorted({start + int(part.argmin()), start + int(part.argmax())})
    if chosen[-1] != len(points) - 1:
        chosen.append(len(points) - 1)
    return points[chosen]


def _drawable(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return at least two points: vispy draws no line through one, and none through none."""
    if len(points) >= 2:
        return points
    if len(points) == 0:
        return np.zeros((2, 2), np.float32)
    step = np.float32(0.5)
    return np.array([points[0] - (step, 0), points[0] + (step, 0)], np.float32)


def _span(shown: list[NDArray[np.float32]]) -> tuple[float, float]:
    if not shown:
        return 0.0, 1.0
    values = np.concatenate(shown)[:, 1]
    low, high = float(values.min()), float(values.max())
    room = 0.06 * (high - low) or max(abs(high), 1.0) * 0.1
    return low - room, high + room

"""A scatter of many points with a lasso, drawn with vispy and themed by napari.

Left button: lasso, or pick the nearest point with a click; with Shift to add, with Control to take
away. Right button: move. Wheel: zoom. Double click: show all. Escape: nothing selected.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.path import Path
from numpy.typing import ArrayLike, NDArray
from qtpy.QtCore import QEvent, Qt, Signal
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget
from vispy import scene

from napari_gemini.widgets.plots.points import Points
from napari_gemini.widgets.plots.theme import theme_colours

#: How far a click may be from a point, and a drag from its start to be still a click, in pixels.
_REACH, _CLICK = 8.0, 4.0
#: Least height of the plot with its title, and of the canvas alone.
_LEAST, _CANVAS = 190, 160


class ScatterPlot(QWidget):
    """Points in a plane that can be coloured and selected.

    Parameters
    ----------
    title
        Above the plot.
    parent
        Of the widget.
    """

    #: The user selected points: a mask (n,).
    selected = Signal(object)

    def __init__(self, title: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.points: NDArray[np.float32] = np.zeros((0, 2), np.float32)
        self.colours: NDArray[np.float32] = np.zeros((0, 4), np.float32)
        self.selection: NDArray[np.bool_] = np.zeros(0, bool)
        #: Where the mouse was pressed, and its way from there in the points' own plane: the canvas
        #: may get another size, for instance because a line of text appears, before it is released.
        self._pressed: NDArray[np.float64] | None = None
        self._trace: list[NDArray[np.float64]] = []
        self._is_lasso = False
        #: New places of the points that came while somebody draws around the old ones.
        self._held: tuple[NDArray[np.float32], NDArray[np.float32] | None] | None = None
        self._grabbed: NDArray[np.float64] | None = None
        self._fitted = False
        self.title = QLabel(title, self)
        self.title.setWordWrap(True)
        self.canvas = scene.SceneCanvas(keys=None, size=(300, _CANVAS), show=False, parent=self)
        native = self.canvas.native
        native.setMinimumSize(140, _CANVAS)
        native.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.view = self.canvas.central_widget.add_view()
        self.view.camera = scene.PanZoomCamera(aspect=1, interactive=False)
        self._points = Points(parent=self.view.scene)
        self._points.visible = False
        self._lasso = scene.visuals.Line(
            np.zeros((2, 2), np.float32), parent=self.view.scene, width=1.5, method="gl"
        )
        self._lasso.order = 1
        self._lasso.visible = False
        events = self.canvas.events
        events.mouse_press.connect(self._on_press)
        events.mouse_move.connect(self._on_move)
        events.mouse_release.connect(self._on_release)
        events.mouse_wheel.connect(self._on_wheel)
        events.mouse_double_click.connect(self._on_double_click)
        events.key_press.connect(self._on_key)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.title)
        layout.addWidget(native, 1)
        self.setMinimumHeight(_LEAST)
        self._use_theme()

    # -- content -------------------------------------------------------------------------------

    def set_points(self, points: ArrayLike, colours: ArrayLike | None = None) -> None:
        """Show points, the same ones elsewhere or others.

        Parameters
        ----------
        points
            (n, 2).
        colours
            (n, 4) RGBA in [0, 1]; those shown before by default.
        """
        points = np.asarray(points, dtype=np.float32).reshape(-1, 2)
        if colours is not None:
            colours = np.asarray(colours, dtype=np.float32).reshape(-1, 4)
        if len(points) != len(self.points):
            self._let_go()
            self.selection = np.zeros(len(points), bool)
            self.colours = np.tile(np.array([0.5, 0.5, 0.5, 1], np.float32), (len(points), 1))
            self._fitted = False
        if self._pressed is not None:
            # Points must not run away from the lasso that is drawn around them.
            self._held = points, colours
            return
        self.points = points
        if colours is not None:
            self.colours = colours
        self._draw()
        self._fit_unless_moved()

    def set_colours(self, colours: ArrayLike) -> None:
        """Colour the points; (n, 4) RGBA in [0, 1]."""
        self.colours = np.asarray(colours, dtype=np.float32).reshape(-1, 4)
        if self._held is not None:
            self._held = self._held[0], None
        if len(self.points):
            self._points.set_colours(self.colours)
            self.canvas.update()

    def select(self, mask: ArrayLike) -> None:
        """Mark points (n,), without telling anybody."""
        mask = np.asarray(mask, dtype=bool)
        if not np.array_equal(mask, self.selection):
            self.selection = mask.copy()
            if len(self.points):
                self._points.set_chosen(self.selection)
                self.canvas.update()

    def fit(self) -> None:
        """Show all points, and keep showing them while they move."""
        self._fitted = False
        self._fit_unless_moved()

    def _fit_unless_moved(self) -> None:
        if self._fitted or not len(self.points):
            return
        low, high = self.points.min(axis=0), self.points.max(axis=0)
        x, y = (low[0], high[0]), (low[1], high[1])
        # With z given, vispy does not ask every visual for its extent.
        self.view.camera.set_range(x=x, y=y, z=(0, 1), margin=0.06)

    def _draw(self) -> None:
        """Show everything anew."""
        some = bool(len(self.points))
        self._points.visible = some
        if some:
            self._points.set_places(self.points, self._size)
            self._points.set_colours(self.colours)
            self._points.set_chosen(self.selection)
        self.canvas.update()

    @property
    def _size(self) -> float:
        return 7.0 if len(self.points) <= 1500 else 5.0 if len(self.points) <= 6000 else 3.0

    # -- where things are ----------------------------------------------------------------------

    def on_canvas(self) -> NDArray[np.float64]:
        """Return where the points are on the canvas, (n, 2) pixels."""
        if not len(self.points):
            return np.zeros((0, 2))
        transform = self._points.get_transform("visual", "canvas")
        mapped = transform.map(np.column_stack([self.points, np.zeros(len(self.points))]))
        found: NDArray[np.float64] = mapped[:, :2] / mapped[:, 3:4]
        return found

    def _data_at(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        transform = self._points.get_transform("visual", "canvas")
        found: NDArray[np.float64] = np.array(transform.imap(position))[:2]
        return found

    # -- the mouse -----------------------------------------------------------------------------

    @property
    def drawing(self) -> bool:
        """Whether a lasso is being drawn."""
        return self._pressed is not None and self._is_lasso

    def _on_press(self, event: Any) -> None:
        position = np.array(event.pos[:2], dtype=np.float64)
        if event.button == 1:
            self._pressed, self._trace = position, [self._data_at(position)]
            self._is_lasso = False
        elif self._pressed is None:
            self._grabbed = position
        event.handled = event.blocked = True

    def _on_move(self, event: Any) -> None:
        position = np.array(event.pos[:2], dtype=np.float64)
        if self._pressed is not None and 1 not in event.buttons:
            # The release went elsewhere: to another window, for instance.
            self._let_go()
        elif self._pressed is not None:
            self._trace.append(self._data_at(position))
            self._is_lasso |= bool(np.abs(position - self._pressed).max() > _CLICK)
            if len(self._trace) > 2:
                self._lasso.set_data(pos=np.array([*self._trace, self._trace[0]], np.float32))
                self._lasso.visible = True
                self.canvas.update()
        elif self._grabbed is not None:
            shift = self._data_at(self._grabbed) - self._data_at(position)
            self.view.camera.pan(shift)
            self._grabbed, self._fitted = position, True
        event.handled = event.blocked = True

    def _on_release(self, event: Any) -> None:
        if event.button != 1:
            self._grabbed = None
            return
        pressed, trace, is_lasso = self._pressed, self._trace, self._is_lasso
        found: NDArray[np.bool_] | None = None
        if pressed is not None and len(self.points):
            if is_lasso:
                found = Path(np.array(trace)).contains_points(self.points)
            else:
                found = self._near(self.on_canvas(), pressed)
        self._let_go()
        if found is None:
            return
        names = {str(getattr(key, "name", key)) for key in event.modifiers or ()}
        if "Shift" in names:
            found = self.selection | found
        elif "Control" in names:
            found = self.selection & ~found
        self.select(found)
        self.selected.emit(self.selection.copy())

    def _let_go(self) -> None:
        """End what the mouse was doing, and show what came meanwhile."""
        self._pressed, self._trace, self._is_lasso, self._grabbed = None, [], False, None
        held, self._held = self._held, None
        self._lasso.visible = False
        if held is not None and len(held[0]) == len(self.points):
            self.set_points(*held)
        self.canvas.update()

    @staticmethod
    def _near(places: NDArray[np.float64], position: NDArray[np.float64]) -> NDArray[np.bool_]:
        distance = np.linalg.norm(places - position, axis=1)
        found = np.zeros(len(places), bool)
        nearest = int(distance.argmin())
        found[nearest] = distance[nearest] <= _REACH
        return found

    def _on_wheel(self, event: Any) -> None:
        self._fitted = True
        place = self._data_at(np.array(event.pos[:2], dtype=np.float64))
        self.view.camera.zoom(0.85 ** float(event.delta[1]), (*place, 0))
        event.handled = event.blocked = True

    def _on_double_click(self, event: Any) -> None:
        self.fit()

    def _on_key(self, event: Any) -> None:
        if getattr(event.key, "name", "") == "Escape":
            if self._pressed is not None:
                # The lasso is given up, and what was selected before stays.
                self._let_go()
                return
            self.select(np.zeros(len(self.points), bool))
            self.selected.emit(self.selection.copy())

    # -- looks ---------------------------------------------------------------------------------

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        kinds = (QEvent.Type.PaletteChange, QEvent.Type.StyleChange)
        if event is not None and event.type() in kinds and hasattr(self, "_lasso"):
            self._use_theme()

    def _use_theme(self) -> None:
        text, background = theme_colours(self)
        self.canvas.bgcolor = background.name()
        self._lasso.set_data(color=text.name())
        # Two plots beside each other are two.
        self.view.border_color = (*text.getRgbF()[:3], 0.25)
        self._points.set_edge(text.getRgbF())
        self.canvas.update()

    def close_canvas(self) -> None:
        """Give the canvas's resources back; the widget is of no use then."""
        self.canvas.close()

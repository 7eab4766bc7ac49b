"""The letters R, L, A, P, S and I at the edges of the canvas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QLabel, QWidget

from napari_gemini.widgets.canvas.grid import CanvasGrid
from napari_gemini.widgets.canvas.layers import grid_of_layer

if TYPE_CHECKING:
    from napari.components import ViewerModel

_SIDES = ("top", "bottom", "left", "right")
_MARGIN = 6
_STYLE = (
    "color: white; background: rgba(0, 0, 0, 110); border-radius: 3px; padding: 0 4px;"
    "font-weight: bold; font-size: 13px;"
)


def edge_letters(
    grid: CanvasGrid, displayed: tuple[int, int], orientation: tuple[str, str] = ("down", "right")
) -> dict[str, str]:
    """Return the letter for each edge of a slice.

    Parameters
    ----------
    grid
        Of the scan shown.
    displayed
        Canvas axes that run vertically and horizontally.
    orientation
        Where they run on the screen, napari's ``camera.orientation2d``.
    """
    vertical, horizontal = (grid.ends[axis] for axis in displayed)
    low_top, low_left = orientation[0] == "down", orientation[1] == "right"
    return {
        "top": vertical[0 if low_top else 1],
        "bottom": vertical[1 if low_top else 0],
        "left": horizontal[0 if low_left else 1],
        "right": horizontal[1 if low_left else 0],
    }


def shown_grid(viewer: ViewerModel) -> CanvasGrid | None:
    """Return the grid of the topmost visible layer that knows where it is."""
    for layer in reversed(list(viewer.layers)):
        grid = grid_of_layer(layer) if layer.visible else None
        if grid is not None:
            return grid
    return None


class OrientationLetters(QObject):
    """Four labels on a canvas that follow the viewer; nothing is drawn into the data.

    Parameters
    ----------
    viewer
        Whose layers and sliders are followed.
    canvas
        The widget drawn upon; the labels live and die with it.
    """

    def __init__(self, viewer: ViewerModel, canvas: QWidget) -> None:
        super().__init__(canvas)
        self._viewer = ref(viewer)
        self._canvas = canvas
        self.labels = {side: self._label() for side in _SIDES}
        canvas.installEventFilter(self)
        viewer.dims.events.order.connect(self.refresh)
        viewer.dims.events.ndisplay.connect(self.refresh)
        viewer.dims.events.ndim.connect(self.refresh)
        viewer.camera.events.orientation.connect(self.refresh)
        for emitter in (viewer.layers.events.inserted, viewer.layers.events.removed):
            emitter.connect(self.refresh)
        viewer.layers.events.connect(self._on_layers_event)
        self.refresh()

    def _label(self) -> QLabel:
        label = QLabel(self._canvas)
        label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        label.setStyleSheet(_STYLE)
        label.hide()
        return label

    def _on_layers_event(self, event: Any) -> None:
        if event.type in ("visible", "reordered"):
            self.refresh()

    @property
    def text(self) -> dict[str, str]:
        """The letter at each edge; empty where nothing is drawn."""
        return {
            side: "" if label.isHidden() else label.text() for side, label in self.labels.items()
        }

    def refresh(self, event: Any = None) -> None:
        """Write the letters for what is shown now."""
        viewer = self._viewer()
        if viewer is None:
            return
        grid = shown_grid(viewer)
        letters = dict.fromkeys(_SIDES, "")
        displayed = tuple(viewer.dims.displayed)
        # A viewer with more axes than the scan counts them from the last.
        if grid is not None and len(displayed) == 2:
            axes = tuple(axis - viewer.dims.ndim + grid.ndim for axis in displayed)
            if min(axes) >= 0:
                orientation = tuple(str(word) for word in viewer.camera.orientation2d)
                letters = edge_letters(grid, (axes[0], axes[1]), (orientation[0], orientation[1]))
        for side, label in self.labels.items():
            label.setText(letters[side])
            label.adjustSize()
            label.setVisible(bool(letters[side]))
        self._place()

    def _place(self) -> None:
        width, height = self._canvas.width(), self._canvas.height()
        for side, label in self.labels.items():
            x, y = (width - label.width()) // 2, (height - label.height()) // 2
            if side in ("left", "right"):
                x = _MARGIN if side == "left" else width - label.width() - _MARGIN
            else:
                y = _MARGIN if side == "top" else height - label.height() - _MARGIN
            label.move(x, y)
            label.raise_()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Keep the letters at the edges when the canvas changes its size."""
        if event is not None and event.type() == QEvent.Type.Resize:
            self._place()
        return False

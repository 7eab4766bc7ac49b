"""A second viewer in a dock: in grid mode all scans share one slider, the partner needs its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from qtpy.QtCore import QEvent, Qt, Signal
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import (
    QDockWidget,
    QLabel,
    QMainWindow,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_gemini.widgets.canvas.letters import OrientationLetters

if TYPE_CHECKING:
    from napari.qt import QtViewer

#: Canvases that differ by no more pixels are as wide as each other.
_EVEN = 24


class PartnerView(QWidget):
    """A canvas with its own layers, sliders and camera.

    Attributes
    ----------
    model
        Its viewer model.
    """

    #: The canvas was closed by the user.
    gone = Signal()

    def __init__(self) -> None:
        super().__init__()
        from napari.qt import QtViewer

        self.model = ViewerModel(title="partner")
        self._qt: QtViewer | None = QtViewer(self.model, show_welcome_screen=False)
        self.letters: OrientationLetters | None = OrientationLetters(
            self.model, self._qt.canvas.native
        )
        self._title = QLabel(self)
        self._title.setTextFormat(Qt.TextFormat.PlainText)
        self._title.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._title.setWordWrap(True)
        self._words = QLabel(self)
        self._words.setTextFormat(Qt.TextFormat.PlainText)
        self._words.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2, 2, 2, 2)
        layout.setSpacing(2)
        layout.addWidget(self._title)
        layout.addWidget(self._qt, 1)
        layout.addWidget(self._words)
        self.setMinimumSize(220, 220)

    @property
    def alive(self) -> bool:
        """Whether the canvas is still there."""
        return self._qt is not None

    @property
    def words(self) -> str:
        """What the line below the canvas says."""
        return self._words.text()

    def say(self, words: str) -> None:
        """Write into the line below the canvas: where the cursor is."""
        self._words.setText(words)

    def set_title(self, title: str) -> None:
        """Write above the canvas which scan it is."""
        self._title.setText(title)

    def screenshot(self) -> Any:
        """Return what the canvas shows as an RGBA array."""
        return None if self._qt is None else self._qt.screenshot(flash=False)

    def tear_down(self) -> None:
        """End the canvas; the widget stays empty. Called once or more."""
        viewer, self._qt, self.letters = self._qt, None, None
        if viewer is None:
            return
        self.model.layers.clear()
        self.model.mouse_move_callbacks.clear()
        self.model.mouse_drag_callbacks.clear()
        viewer.close()
        viewer.deleteLater()

    def event(self, event: QEvent | None) -> bool:
        """Notice that napari took the widget out of its dock: it deletes the dock only."""
        changed = event is not None and event.type() == QEvent.Type.ParentChange
        if changed and self.parent() is None and self.alive:
            # Whoever draws here lets go first, or it would draw into what is being closed.
            self.gone.emit()
            self.tear_down()
            self.deleteLater()
        return super().event(event)

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """End the canvas with the dock."""
        self.tear_down()
        if event is not None:
            super().closeEvent(event)


def dock_of(widget: QWidget) -> QDockWidget | None:
    """Return the dock that a widget is in."""
    parent = widget.parent()
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parent()
    return parent


def place_beside(partner: QWidget, other: QWidget) -> None:
    """Put the partner's dock between the canvas and another dock of the same side."""
    theirs, mine = dock_of(partner), dock_of(other)
    main = None if theirs is None else theirs.parent()
    if theirs is None or mine is None or not isinstance(main, QMainWindow):
        return
    if main.dockWidgetArea(mine) == main.dockWidgetArea(theirs) and not mine.isFloating():
        main.splitDockWidget(theirs, mine, Qt.Orientation.Horizontal)


def share_room(partner: QWidget, other: QWidget) -> bool:
    """Make the partner's canvas as wide as the main one, and another dock narrow.

    Returns
    -------
    bool
        Whether it is so already, or cannot be. Widths take effect in a later turn of the event
        loop, and docks that are being placed may ask for their own: ask again.
    """
    theirs, mine = dock_of(partner), dock_of(other)
    main = None if theirs is None else theirs.parent()
    if theirs is None or theirs.isFloating() or not isinstance(main, QMainWindow):
        return True
    canvas = main.centralWidget()
    if canvas is None or abs(canvas.width() - theirs.width()) <= _EVEN:
        return True
    narrow = other.minimumWidth()
    room = canvas.width() + theirs.width()
    docks, widths = [theirs], [max(room // 2, partner.minimumWidth())]
    if mine is not None and not mine.isFloating():
        room += mine.width() - narrow
        docks, widths = [theirs, mine], [max(room // 2, partner.minimumWidth()), narrow]
    main.resizeDocks(docks, widths, Qt.Orientation.Horizontal)
    return False

"""What every dock is built on: a message line, a scrolling body, and an orderly end."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from napari_gemini.widgets.common.connections import Connections
from napari_gemini.widgets.common.messages import Level, MessageBar
from napari_gemini.widgets.common.session import Session, get_session

if TYPE_CHECKING:
    import napari

_LEVELS: dict[str, Level] = {level: level for level in get_args(Level)}


class Dock(QWidget):
    """Base of the docks.

    Parameters
    ----------
    viewer
        napari's viewer, or the proxy that napari hands out.
    warm
        Start the engine's child in the background, so that the first job finds it ready.

    Attributes
    ----------
    session
        What all docks of the viewer share.
    messages
        The line for sentences.
    body
        Layout that the dock's panels go into; it scrolls.
    connections
        Dropped when the dock goes.
    """

    def __init__(self, viewer: napari.Viewer, *, warm: bool = False) -> None:
        super().__init__()
        self.session: Session = get_session(viewer)
        self.connections = Connections()
        self.messages = MessageBar(self)
        inner = QWidget()
        self.body = QVBoxLayout(inner)
        self.body.setContentsMargins(6, 6, 6, 6)
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        scroll.setWidget(inner)
        self._scroll = scroll
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.messages)
        layout.addWidget(scroll, 1)
        self.setMinimumWidth(340)
        self.connections.connect(self.session.message, self._on_message)
        self.session.on_closed(self.tear_down)
        self.destroyed.connect(self.connections.drop)
        if warm:
            self.session.engine.warm()

    def say(self, level: Level, sentence: str) -> None:
        """Show a sentence in this dock."""
        self.messages.show_message(level, sentence)

    def bring_up(self, part: QWidget) -> None:
        """Scroll so that a part of the dock is at its top."""
        inner, bar = self._scroll.widget(), self._scroll.verticalScrollBar()
        if inner is not None and bar is not None:
            bar.setValue(part.mapTo(inner, part.rect().topLeft()).y())

    def _on_message(self, level: str, sentence: str) -> None:
        self.messages.show_message(_LEVELS.get(level, "info"), sentence)

    def tear_down(self) -> None:
        """Let go of everything outside the dock; called once or more when it or the window goes."""
        self.connections.drop()

    def event(self, event: QEvent | None) -> bool:
        """Let go when napari takes the dock out of its window: its × sends no close event."""
        changed = event is not None and event.type() == QEvent.Type.ParentChange
        if changed and self.parent() is None:
            self.tear_down()
            self.deleteLater()
        return bool(super().event(event))

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Let go when the dock is closed."""
        self.tear_down()
        if event is not None:
            super().closeEvent(event)

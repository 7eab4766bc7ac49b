"""The line at the top of a dock that says what happened and what to do."""

from __future__ import annotations

from typing import Literal

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QSizePolicy, QToolButton, QWidget

Level = Literal["info", "warning", "error"]

#: Colour of the bar at the left edge; the text keeps the theme's colour, which is readable.
_COLOURS = {"info": "#3f8fd2", "warning": "#d29a2f", "error": "#d2423f"}
_SIGNS = {"info": "i", "warning": "!", "error": "✕"}


class MessageBar(QFrame):
    """One sentence at a time; hidden while there is none. The text can be selected and copied."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.level: Level | None = None
        self._sign = QLabel(self)
        self._text = QLabel(self)
        self._text.setWordWrap(True)
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._text.setTextFormat(Qt.TextFormat.PlainText)
        # Minimum, so that wrapped lines are never cut.
        self._text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        close = QToolButton(self)
        close.setText("×")
        close.setAutoRaise(True)
        close.setToolTip("Dismiss")
        close.clicked.connect(self.clear)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(8, 4, 2, 4)
        layout.addWidget(self._sign, 0, Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self._text, 1)
        layout.addWidget(close, 0, Qt.AlignmentFlag.AlignTop)
        self.hide()

    @property
    def text(self) -> str:
        """The sentence shown, empty while there is none."""
        return self._text.text()

    def show_message(self, level: Level, sentence: str) -> None:
        """Show a sentence.

        Parameters
        ----------
        level
            How serious it is.
        sentence
            What is wrong or done, and what to do.
        """
        self.level = level
        colour = _COLOURS[level]
        self.setStyleSheet(f"MessageBar {{ border-left: 4px solid {colour}; }}")
        self._sign.setText(_SIGNS[level])
        self._sign.setStyleSheet(f"color: {colour}; font-weight: bold;")
        self._text.setText(sentence)
        self.show()

    def clear(self) -> None:
        """Take the sentence away."""
        self.level = None
        self._text.clear()
        self.hide()

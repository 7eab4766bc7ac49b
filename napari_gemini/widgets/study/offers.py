"""Bars with a sentence and buttons: what the user may do about it, without a dialog in the way."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_gemini.widgets.study.talk import Offer, Talk

_COLOURS = {"info": "#3f8fd2", "warning": "#d29a2f", "error": "#d2423f"}


class OfferBar(QFrame):
    """One offer."""

    def __init__(self, offer: Offer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        colour = _COLOURS.get(offer.level, _COLOURS["info"])
        self.setStyleSheet(f"OfferBar {{ border-left: 4px solid {colour}; }}")
        text = QLabel(offer.sentence, self)
        text.setWordWrap(True)
        text.setTextFormat(Qt.TextFormat.PlainText)
        text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        buttons = QHBoxLayout()
        for words, action in offer.actions:
            button = QPushButton(words, self)
            button.clicked.connect(lambda *_, action=action: action())
            buttons.addWidget(button)
        buttons.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(text)
        layout.addLayout(buttons)


class OfferList(QWidget):
    """All offers that stand, one below the other."""

    def __init__(self, talk: Talk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._talk = talk
        self._bars: list[OfferBar] = []
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self.refresh()

    def refresh(self) -> None:
        """Show the offers as they are now."""
        for bar in self._bars:
            self._layout.removeWidget(bar)
            bar.hide()
            bar.deleteLater()
        self._bars = [OfferBar(offer, self) for offer in self._talk.offers.values()]
        for bar in self._bars:
            self._layout.addWidget(bar)
        self.setVisible(bool(self._bars))

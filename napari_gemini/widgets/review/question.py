"""A question in a dock, with its answers as buttons; the window goes on meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

Answer = tuple[str, Callable[[], None]]


class QuestionBar(QFrame):
    """One question at a time; hidden while there is none."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._text = QLabel(self)
        self._text.setWordWrap(True)
        self._text.setTextFormat(Qt.TextFormat.PlainText)
        self._text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self._row = QHBoxLayout()
        self._buttons: list[QPushButton] = []
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 8, 6)
        layout.addWidget(self._text)
        layout.addLayout(self._row)
        self.setStyleSheet("QuestionBar { border-left: 4px solid #d29a2f; }")
        self.hide()

    @property
    def text(self) -> str:
        """The question, empty while there is none."""
        return self._text.text()

    @property
    def answers(self) -> list[str]:
        """The words on the buttons."""
        return [button.text() for button in self._buttons]

    def ask(self, sentence: str, answers: Sequence[Answer], cancel: str = "Cancel") -> None:
        """Ask; the last answer, which does nothing, is added.

        Parameters
        ----------
        sentence
            The question.
        answers
            Words and what to do then.
        cancel
            Words of the answer that does nothing.
        """
        self.clear()
        self._text.setText(sentence)
        for words, action in [*answers, (cancel, _nothing)]:
            button = QPushButton(words, self)
            button.clicked.connect(lambda _=False, chosen=action: self._answer(chosen))
            self._row.addWidget(button)
            self._buttons.append(button)
        self.show()

    def _answer(self, action: Callable[[], None]) -> None:
        self.clear()
        action()

    def clear(self) -> None:
        """Take the question back."""
        for button in self._buttons:
            self._row.removeWidget(button)
            button.hide()
            button.deleteLater()
        self._buttons = []
        self._text.clear()
        self.hide()

    def choose(self, words: str) -> None:
        """Press the button with these words."""
        next(button for button in self._buttons if button.text() == words).click()


def _nothing() -> None:
    return

"""The five questions as lines: a sign, and what was found in words."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QWidget

from napari_gemini.widgets.training.readiness import Check

_SIGNS = {"yes": "✓", "note": "•", "no": "✕", "unknown": "…"}
#: Of the signs alone; the words keep the theme's colour.
_COLOURS = {"yes": "#3aa655", "note": "#d29a2f", "no": "#e05a4f", "unknown": "#888888"}


class ReadinessView(QWidget):
    """Shows the answers of :func:`.readiness.check_readiness`.

    Parameters
    ----------
    count
        Number of questions.
    """

    def __init__(self, count: int = 5, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.summary = QLabel(self)
        self.summary.setWordWrap(True)
        self._rows: list[tuple[QLabel, QLabel]] = []
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        grid.setVerticalSpacing(3)
        grid.addWidget(self.summary, 0, 0, 1, 2)
        for row in range(1, count + 1):
            sign, words = QLabel(self), QLabel(self)
            words.setWordWrap(True)
            words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            words.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
            grid.addWidget(sign, row, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(words, row, 1)
            self._rows.append((sign, words))

    @property
    def lines(self) -> list[str]:
        """What is shown, a line for each question."""
        return [f"{sign.text()} {words.text()}" for sign, words in self._rows]

    def set_checks(self, checks: Sequence[Check], ready: bool, wrong: str = "") -> None:
        """Show answers.

        Parameters
        ----------
        checks
            One for each question.
        ready
            Whether a training can start.
        wrong
            What is wrong with the settings, empty when nothing is.
        """
        good = sum(check.answer in ("yes", "note") for check in checks)
        word = "Ready to train" if ready else "Not ready yet"
        self.summary.setText(wrong or f"{word}: {good} of {len(checks)}")
        for (sign, words), check in zip(self._rows, checks, strict=True):
            sign.setText(_SIGNS[check.answer])
            sign.setStyleSheet(f"color: {_COLOURS[check.answer]}; font-weight: bold;")
            words.setText(f"{check.title}: {check.words}")

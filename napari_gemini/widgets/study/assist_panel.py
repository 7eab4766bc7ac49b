"""The panel of help with labelling: propagate to this case, next case to label."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_gemini.engine.events import Event, LogEvent, ProgressEvent
from napari_gemini.errors import GeminiError
from napari_gemini.widgets.common.models import ModelChoice
from napari_gemini.widgets.study.drafts import sources, start_draft, start_suggestion

if TYPE_CHECKING:
    from napari_gemini.widgets.common.engine import JobHandle
    from napari_gemini.widgets.study.labelling import Labelling

_PROPAGATE = "Propagate to this case"
_NEXT = "Next case to label"


class AssistPanel(QWidget):
    """Choose a source and a model; carry labels over, or ask for the next case.

    Parameters
    ----------
    labelling
        Of the session.
    """

    def __init__(self, labelling: Labelling, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._labelling = labelling
        self._handle: JobHandle | None = None
        self._models: list[ModelChoice] = []
        self.source = QComboBox(self)
        self.source.setToolTip("The case whose labels are carried over; finished ones come first")
        self.model = QComboBox(self)
        self.model.setToolTip("What finds the correspondence and compares cases")
        for box in (self.source, self.model):
            box.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            box.setMinimumContentsLength(8)
            box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.propagate = QPushButton(_PROPAGATE, self)
        self.propagate.setToolTip(
            "Carry the labels of another case to this one as a first draft to correct"
        )
        self.propagate.clicked.connect(self._on_propagate)
        self.next = QPushButton(_NEXT, self)
        self.next.setToolTip("The unlabelled case that the labelled ones cover least, and why")
        self.next.clicked.connect(self._on_next)
        self.words = QLabel(self)
        self.words.setWordWrap(True)
        self.words.hide()
        choices = QHBoxLayout()
        for words, box in (("From", self.source), ("Model", self.model)):
            choices.addWidget(QLabel(words, self))
            choices.addWidget(box, 1)
        buttons = QHBoxLayout()
        buttons.addWidget(self.propagate)
        buttons.addWidget(self.next)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(choices)
        layout.addLayout(buttons)
        layout.addWidget(self.words)

    # -- choices -------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Offer the sources and models that there are now."""
        session = self._labelling.session
        study, view = session.study, self._labelling.view
        target = None if view is None else view.case
        found = [] if study is None else sources(study, target)
        _fill(self.source, found)
        self._models = [] if study is None else session.models()
        _fill(self.model, [choice.name for choice in self._models])
        self._enable()

    def _enable(self) -> None:
        running = self._handle is not None
        view = self._labelling.view
        can = view is not None and not view.locked and self.source.count() > 0
        self.propagate.setEnabled(can if not running else self.propagate.text() != _PROPAGATE)
        study = self._labelling.session.study
        self.next.setEnabled(study is not None if not running else self.next.text() != _NEXT)

    # -- jobs ----------------------------------------------------------------------------------

    def _on_propagate(self) -> None:
        source, model = self.source.currentText(), self._choice()
        if model is None or not source:
            return
        self._start(
            self.propagate,
            lambda: start_draft(self._labelling, source, model, self._ended, self._hear),
        )

    def _on_next(self) -> None:
        model = self._choice()
        if model is None:
            return
        self._start(
            self.next, lambda: start_suggestion(self._labelling, model, self._ended, self._hear)
        )

    def _choice(self) -> ModelChoice | None:
        place = self.model.currentIndex()
        return self._models[place] if 0 <= place < len(self._models) else None

    def _start(self, button: QPushButton, start: Callable[[], JobHandle]) -> None:
        if self._handle is not None:
            self._handle.cancel()
            button.setText("Stopping…")
            button.setEnabled(False)
            return
        try:
            self._handle = start()
        except GeminiError as error:
            self._labelling.talk.tell("error", str(error))
            self._ended()
            return
        button.setText("Stop")
        self.words.setText("Waiting for the engine")
        self.words.show()
        self._enable()

    def _hear(self, event: Event) -> None:
        if isinstance(event, ProgressEvent):
            left = (
                ""
                if event.remaining is None
                else f", about {max(1, round(event.remaining))} s left"
            )
            share = f"{100 * event.done // max(1, event.total)} %"
            self.words.setText(f"{event.message or 'Working'}: {share}{left}")
        elif isinstance(event, LogEvent) and event.level != "debug":
            self.words.setText(event.message)

    def _ended(self) -> None:
        self._handle = None
        self.propagate.setText(_PROPAGATE)
        self.next.setText(_NEXT)
        self.words.hide()
        self._enable()


def _fill(box: QComboBox, texts: list[str]) -> None:
    """Offer other texts, keeping the choice where it is still there."""
    if [box.itemText(i) for i in range(box.count())] == texts:
        return
    chosen = box.currentText()
    box.clear()
    box.addItems(texts)
    if chosen in texts:
        box.setCurrentText(chosen)

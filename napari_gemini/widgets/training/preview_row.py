"""On which case the running training is watched."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QSizePolicy, QWidget

from napari_gemini.errors import GeminiError
from napari_gemini.study.study import Study
from napari_gemini.widgets.common.connections import Connections
from napari_gemini.widgets.common.messages import Level
from napari_gemini.widgets.training.preview import LivePreview
from napari_gemini.widgets.training.runs import RunProgress

if TYPE_CHECKING:
    from napari_gemini.widgets.common.session import Session

_OFF = "off"

Say = Callable[[Level, str], None]


class PreviewRow(QWidget):
    """Chooses the case of a :class:`LivePreview` and says what is shown.

    Parameters
    ----------
    session
        Of the viewer.
    say
        Shows a sentence in the dock.
    """

    def __init__(self, session: Session, say: Say) -> None:
        super().__init__()
        self.session = session
        self._say = say
        self.preview = LivePreview(session, self)
        self.cases = QComboBox(self)
        self.cases.setToolTip(
            "Show this case with what the newest checkpoint predicts for it; it is drawn anew "
            "with each checkpoint"
        )
        self.cases.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.cases.activated.connect(lambda _: self._choose())
        self.words = QLabel(self)
        self.words.setWordWrap(True)
        self.words.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.words.hide()
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Watch it on", self.cases)
        form.addRow(self.words)
        self.connections = Connections()
        self.connections.connect(self.preview.told, self._tell)
        self.connections.connect(session.case_changed, self._on_case)
        self._fill([])

    def follow(self, seen: RunProgress) -> None:
        """Take in what a run has reached."""
        self._fill(seen.held_back)
        self.preview.set_checkpoint(seen.checkpoint)

    def clear(self) -> None:
        """Watch nothing; the study has changed."""
        self.preview.set_case(None)
        self.preview.set_checkpoint(None)
        self._fill([])

    def watch(self, case: str | None) -> None:
        """Show a case with the present prediction; None shows none."""
        self.cases.setCurrentIndex(max(self.cases.findData(case), 0))
        self._choose()

    def _tell(self, words: str) -> None:
        self.words.setText(words)
        self.words.setVisible(bool(words))

    def _fill(self, held_back: list[str]) -> None:
        study = self.session.study
        entries = [(_OFF, None), *([] if study is None else _entries(study, held_back))]
        box = self.cases
        if entries == [(box.itemText(i), box.itemData(i)) for i in range(box.count())]:
            return
        with QSignalBlocker(box):
            box.clear()
            for words, case in entries:
                box.addItem(words, case)
            box.setCurrentIndex(max(box.findData(self.preview.case), 0))

    def _choose(self) -> None:
        case = self.cases.currentData()
        self.preview.set_case(case)
        if case is None or case == self.session.case:
            return
        try:
            self.session.show_case(case)
        except GeminiError as error:
            self._say("error", str(error))
            self.cases.setCurrentIndex(0)
            self.preview.set_case(None)

    def _on_case(self, case: str | None) -> None:
        if self.preview.case is None:
            return
        if case == self.preview.case:
            self.preview.place()
            return
        # The user looks at something else: the prediction goes along where it can.
        place = max(self.cases.findData(case), 0)
        self.cases.setCurrentIndex(place)
        self.preview.set_case(case if place else None)

    def tear_down(self) -> None:
        """Let go of the viewer."""
        self.connections.drop()
        self.preview.close()


def _entries(study: Study, held_back: list[str]) -> list[tuple[str, str | None]]:
    """Return words and id of each case: held back, without labels, with labels."""
    cases = [case.id for case in study.cases if case.role != "test"]
    held = [case for case in held_back if case in cases]
    free = [case for case in cases if case not in held and not study.has_labels(case)]
    rest = [case for case in cases if case not in held and case not in free]
    return [
        *((f"{case} (held back)", case) for case in held),
        *((f"{case} (no labels)", case) for case in free),
        *((f"{case} (labelled)", case) for case in rest),
    ]

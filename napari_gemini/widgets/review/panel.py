"""The table of results with what can be done about them; both docks that review have one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import (
    QGridLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_gemini.errors import GeminiError
from napari_gemini.study.review import Verdict
from napari_gemini.study.study import Study
from napari_gemini.widgets.common.connections import Connections
from napari_gemini.widgets.common.messages import Level
from napari_gemini.widgets.pair.background import in_background
from napari_gemini.widgets.review.decisions import (
    note_verdict,
    overwrite_question,
    replaces_hand_labels,
    take_prediction,
)
from napari_gemini.widgets.review.items import Item, known_dice, with_verdicts
from napari_gemini.widgets.review.keys import ACCEPT, CORRECT, NEXT_WORST, REJECT, review_keys
from napari_gemini.widgets.review.question import QuestionBar
from napari_gemini.widgets.review.showing import Showing
from napari_gemini.widgets.review.table import (
    NAME,
    ItemTable,
    Show,
    cell_text,
    doubt_in_words,
    review_in_words,
)
from napari_gemini.widgets.study.labelling import labelling_of

if TYPE_CHECKING:
    from napari_gemini.widgets.common.session import Session

Collect = Callable[[Study], list[Item]]
Say = Callable[[Level, str], None]


class ReviewPanel(QWidget):
    """A table of results, what the selected one is about, and the verdicts.

    Parameters
    ----------
    session
        Of the viewer.
    say
        Shows a sentence in the dock.
    collect
        Returns what is to be reviewed; called in a worker's thread.
    one_source
        Whether all results have one origin.
    """

    def __init__(
        self, session: Session, say: Say, collect: Collect, *, one_source: bool = False
    ) -> None:
        super().__init__()
        self.session = session
        self._say = say
        self._collect = collect
        self._closed = False
        self._asked = 0
        self._dice: dict[tuple[str, str], float | None] = {}
        self.showing = Showing(session, say)
        self.connections = Connections()
        self.table = ItemTable(self, one_source=one_source)
        self.table.setMinimumHeight(180)
        self.question = QuestionBar(self)
        self.about = QLabel(self)
        self.about.setWordWrap(True)
        self.about.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.comment = QLineEdit(self)
        self.comment.setPlaceholderText("Comment, kept with the verdict")
        self.accept_button = self._button("Accept", ACCEPT, self.accept)
        self.correct_button = self._button("Correct", CORRECT, self.correct)
        self.reject_button = self._button("Reject", REJECT, self.reject)
        self.next_button = self._button("Next worst", NEXT_WORST, self.next_worst)
        self._lay_out()
        selection = self.table.selectionModel()
        assert selection is not None
        selection.selectionChanged.connect(self._on_selected)
        self.connections.connect(session.case_changed, self._on_case)
        self.connections.connect(session.study_changed, self._on_study)
        self._update()

    def _button(self, words: str, key: str, action: Callable[[], None]) -> QPushButton:
        button = QPushButton(words, self)
        button.clicked.connect(lambda: action())
        button.setToolTip(f"{_TIPS[key]}  ({key})")
        return button

    def _lay_out(self) -> None:
        buttons = QGridLayout()
        buttons.addWidget(self.accept_button, 0, 0)
        buttons.addWidget(self.correct_button, 0, 1)
        buttons.addWidget(self.reject_button, 1, 0)
        buttons.addWidget(self.next_button, 1, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table, 1)
        for widget in (self.about, self.question, self.comment):
            layout.addWidget(widget)
        layout.addLayout(buttons)

    # -- content -------------------------------------------------------------------------------

    @property
    def items(self) -> list[Item]:
        """All results, shown or filtered away."""
        return self.table.items.items

    def refresh(self) -> None:
        """Collect the results again, beside the GUI thread."""
        study = self.session.study
        self._asked += 1
        if study is None:
            self._put([])
            return
        asked = self._asked

        def arrived(items: list[Item]) -> None:
            if not self._closed and asked == self._asked:
                self._put(items)
                self._look_up_dice(study, items, asked)

        in_background(lambda: self._collect(study), arrived, lambda words: self._fail(asked, words))

    def _fail(self, asked: int, sentence: str) -> None:
        if not self._closed and asked == self._asked:
            self._say("error", sentence)

    def _look_up_dice(self, study: Study, items: list[Item], asked: int) -> None:
        """Compare predictions with labels that their cases have; it takes longer than a table."""

        def look() -> dict[tuple[str, str], float]:
            found = ((item.key, known_dice(study, item)) for item in items)
            return {key: dice for key, dice in found if dice is not None}

        def arrived(found: dict[tuple[str, str], float]) -> None:
            if self._closed or asked != self._asked or not found:
                return
            self._put(
                [
                    replace(item, values={**item.values, "dice": found[item.key]})
                    if item.key in found
                    else item
                    for item in self.items
                ]
            )

        in_background(look, arrived, lambda words: None)

    def _put(self, items: list[Item]) -> None:
        # The same result stays selected, and is not read again.
        selected = self.table.selected()
        model = self.table.selectionModel()
        assert model is not None
        with QSignalBlocker(model):
            self.table.set_items(items)
        now = self.table.selected()
        if selected is not None and now is None:
            self.showing.clear()
        self._update()

    def set_show(self, show: Show) -> None:
        """Filter the table."""
        self.table.filter.set_show(show)
        self._update()

    # -- selection -----------------------------------------------------------------------------

    def _on_selected(self, *_: object) -> None:
        item = self.table.selected()
        review_keys(self.session).use(self)
        self.question.clear()
        self.comment.setText(item.review.comment if item is not None and item.review else "")
        if item is not None:
            self.showing.show(item)
        self._update()

    def _on_case(self, *_: object) -> None:
        self.showing.place()

    def _on_study(self) -> None:
        self.showing.clear()
        self.refresh()

    def _update(self) -> None:
        item = self.table.selected()
        can_write = item is not None and not self.session.read_only
        self.accept_button.setEnabled(can_write)
        self.reject_button.setEnabled(can_write)
        self.comment.setEnabled(can_write)
        self.correct_button.setEnabled(
            can_write
            and item is not None
            and item.kind == "prediction"
            and (self.session.study is None or not self.session.study.scheme.overlapping)
        )
        self.next_button.setEnabled(bool(self.items))
        if item is None:
            self.about.setText("Select a row to look at it." if self.items else "")
            return
        parts = [f"{cell_text(item, NAME)}: {doubt_in_words(item)}"]
        if item.review is not None:
            parts.append(review_in_words(item.review))
        self.about.setText("\n".join(parts))

    def next_worst(self) -> None:
        """Select the most doubtful result without a verdict, after the selected one."""
        waiting = [item for item in self.table.shown() if item.review is None]
        waiting.sort(key=lambda item: -1.0 if item.doubt is None else item.doubt, reverse=True)
        selected = self.table.selected()
        keys = [item.key for item in waiting]
        if selected is not None and selected.key in keys:
            place = keys.index(selected.key) + 1
            waiting = waiting[place:] + waiting[: place - 1]
        if waiting:
            self.table.select(waiting[0].key)
        else:
            self._say("info", "Every result that is shown has a verdict.")

    # -- verdicts ------------------------------------------------------------------------------

    def accept(self) -> None:
        """Accept the selected result; a prediction becomes the labels of its case."""
        self._decide("accepted")

    def correct(self) -> None:
        """Copy the selected prediction into the labels of its case, to be corrected by hand."""
        item = self.table.selected()
        if item is not None and item.kind == "prediction":
            self._decide("corrected")

    def reject(self) -> None:
        """Reject the selected result; labels stay as they are."""
        self._decide("rejected")

    def _decide(self, verdict: Verdict) -> None:
        item, study = self.table.selected(), self.session.study
        if item is None or study is None:
            return
        if self.session.read_only:
            self._say("warning", "Another window has this study open: verdicts are given there.")
            return
        takes = item.kind == "prediction" and verdict != "rejected"
        if takes and self._has_to_ask(study, item):
            self.question.ask(
                overwrite_question(study, item),
                [("Replace", lambda: self._do(study, item, verdict, takes))],
                cancel="Keep them",
            )
            return
        self._do(study, item, verdict, takes)

    def _has_to_ask(self, study: Study, item: Item) -> bool:
        asks = self.session.preferences.confirm_overwrite
        try:
            # What is being painted counts as labels made by hand.
            labelling_of(self.session).save_all()
        except GeminiError:
            return True
        return asks and replaces_hand_labels(study, item)

    def _do(self, study: Study, item: Item, verdict: Verdict, takes: bool) -> None:
        comment = self.comment.text().strip()
        labelling = labelling_of(self.session)
        try:
            if takes:
                labelling.save_all()
                take_prediction(study, item, verdict, comment)
                if labelling.view is not None and labelling.view.case == item.case:
                    labelling.reload()
            else:
                note_verdict(study, item, verdict, comment)
        except GeminiError as error:
            self._say("error", str(error))
            return
        self.session.cases_changed.emit()
        self._put(with_verdicts(self.items, study.review()))
        if verdict == "corrected":
            self._hand_over(item)
        else:
            self._say("info", _SAID[verdict].format(item.name))
            self.next_worst()

    def _hand_over(self, item: Item) -> None:
        """Let the user paint on what was the prediction."""
        self.showing.clear()
        assert item.case is not None
        try:
            self.session.show_case(item.case)
        except GeminiError as error:
            self._say("error", str(error))
            return
        self._say(
            "info",
            f"The prediction is now the labels of {item.case}: paint on its labels layer, and "
            "finish the case when it is right.",
        )

    # -- the end -------------------------------------------------------------------------------

    def tear_down(self) -> None:
        """Let go of the viewer."""
        self._closed = True
        self.connections.drop()
        self.showing.close()
        review_keys(self.session).leave(self)


_TIPS = {
    ACCEPT: "The result is good: a prediction becomes the labels of its case, which is finished",
    CORRECT: "Copy the prediction into the labels of its case and paint on them",
    REJECT: "The result is no good: labels stay as they are",
    NEXT_WORST: "Show the most doubtful result that nobody has judged yet",
}
_SAID = {
    "accepted": "{} is accepted.",
    "rejected": "{} is rejected.",
}

"""Labelling by hand: which case is shown, that no stroke is lost, and who may write.

One :class:`Labelling` belongs to a session, whether its dock is open or not: cases are shown from
other docks too, and what is painted then saves itself just the same.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from qtpy.QtCore import QTimer

from napari_gemini.errors import StudyError
from napari_gemini.study.files import Status
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.study.study import Study
from napari_gemini.widgets.common.threads import in_thread
from napari_gemini.widgets.study.colours import label_name
from napari_gemini.widgets.study.copies import ask_for_copy
from napari_gemini.widgets.study.journal import LeftOpen
from napari_gemini.widgets.study.keys import bind_keys
from napari_gemini.widgets.study.reading import CaseData
from napari_gemini.widgets.study.showing import FINISHED, READ_ONLY, CaseShow
from napari_gemini.widgets.study.talk import Offer

if TYPE_CHECKING:
    from napari_gemini.widgets.common.session import Session


class Labelling(CaseShow):
    """Shows cases of the open study, looks after their labels, and knows who may write.

    Parameters
    ----------
    session
        Held weakly.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._told = ""
        self._result: Any = None
        self.autosave.changed.connect(self._on_autosave)
        session.before_study_closes(self.save_all)
        session.add_close_guard(self._may_close)
        session.on_closed(self.close)
        session.study_changed.connect(self._on_study)
        session.viewer.layers.events.removed.connect(self._on_removed)
        self.keys = bind_keys(session.viewer, self)
        self._on_study()

    # -- saving --------------------------------------------------------------------------------

    def save_all(self) -> None:
        """Make sure that everything painted is on disk.

        Raises
        ------
        StudyError
            If it cannot be saved: what to do is offered.
        """
        try:
            self.autosave.flush()
        except StudyError as error:
            assert self.view is not None
            raise StudyError(
                f"The labels of {self.view.case} are not saved ({str(error).rstrip('.')}), so it "
                "stays open: mend that and wait a moment, or keep a copy elsewhere."
            ) from error

    def give_up(self) -> None:
        """Forget what could not be saved; the user has a copy or wants none."""
        self.autosave.forget()
        self.talk.withdraw("unsaved")
        self.reload()

    def _may_close(self) -> bool:
        try:
            self.save_all()
        except StudyError as error:
            self.talk.tell("error", str(error))
            return False
        return True

    def _on_painted(self, *_: Any) -> None:
        if self.view is None:
            return
        if self.view.locked:
            self.talk.tell("warning", f"This change is not saved. {self.view.locked}")
        else:
            self.autosave.touch()

    def _on_maybe_changed(self, *_: Any) -> None:
        if self.view is not None and not self.view.locked:
            self.autosave.suspect()

    def _on_autosave(self) -> None:
        session = self._session()
        if session is None or session.closed:
            return
        sentence = self.autosave.error
        if sentence and sentence != self._told:
            assert self.view is not None
            self.talk.tell(
                "error",
                f"{sentence.rstrip('.')}. The labels of {self.view.case} are kept in memory and "
                "saving is tried again every few seconds.",
            )
            actions = (
                ("Keep a copy…", lambda: ask_for_copy(self)),
                ("Try again", self.autosave.save_now),
            )
            words = f"The labels of {self.view.case} are not saved yet."
            self.talk.offer("unsaved", Offer(words, actions, "error"))
        if not sentence and self._told:
            self.talk.withdraw("unsaved")
            self.talk.tell("info", "The labels are saved again.")
        self._told = sentence
        if self.autosave.result is not None and self.autosave.result is not self._result:
            self._result = self.autosave.result
            if self.view is not None:
                self.saved.emit(self.view.case, self._result)
        self.state_changed.emit()

    # -- a case's status -----------------------------------------------------------------------

    def set_status(self, status: Status) -> None:
        """Finish or reopen the shown case.

        Raises
        ------
        GeminiError
            If its labels cannot be saved, or it has none to finish.
        """
        view = self.shown()
        self.save_all()
        if status == "done" and not self.study.has_labels(view.case):
            raise StudyError(f"{view.case} has no labels yet: paint some before it is finished.")
        self.study.set_case(view.case, status=status)
        if status == "done":
            self.autosave.forget()
            view.lock(FINISHED)
            self.state_changed.emit()
        elif view.locked == FINISHED:
            view.lock("")
            labels = None if self.masks is not None else self.study.load_labels(view.case)
            self._watch(view, CaseData(view.case, view.outline, labels))
        self.session.cases_changed.emit()
        self.view_changed.emit()

    # -- labels --------------------------------------------------------------------------------

    def _on_selected(self, *_: Any) -> None:
        if self.view is None:
            return
        value = int(self.view.labels.selected_label)
        scheme = self.study.scheme
        if value in scheme.allowed:
            if self.masks is not None:
                chosen = self.masks.value
                if not self.talk.attempt(lambda: self._paint_mask(value)):
                    self.view.labels.selected_label = value = chosen
            self.label_selected.emit(value)
            return
        self.view.labels.selected_label = max(scheme.values)
        self.talk.tell(
            "warning",
            f"There is no label {value} in this study, so {label_name(scheme, max(scheme.values))} "
            "is chosen: add labels in the list of labels.",
        )

    def set_scheme(self, scheme: LabelScheme) -> None:
        """Change the study's labels; what is painted keeps its values.

        Renaming, recolouring and adding happen at once. Taking a label away first looks into
        every label map, in a thread.

        Raises
        ------
        GeminiError
            If the labels cannot be saved before, or another window writes the study.
        """
        if self.session.read_only:
            raise StudyError(READ_ONLY)
        self.save_all()
        study = self.study
        if scheme.allowed >= study.scheme.allowed:
            study.set_scheme(scheme)
            self._take_scheme(study)
            return

        def refused(sentence: str) -> None:
            self.talk.tell("error", sentence)
            self.session.cases_changed.emit()

        in_thread(
            lambda: study.set_scheme(scheme),
            "Looking for the label",
            lambda _: self._take_scheme(study),
            refused,
        )

    def _take_scheme(self, study: Study) -> None:
        if self.session.study is not study:
            return
        if self.view is not None:
            self.view.use_scheme(study.scheme)
            if self.masks is not None:
                self.masks.add(study.scheme)
                self.masks.draw(self._viewer, self.view)
            self.view.bind_keys(study.scheme, self.select_label)
        self.session.cases_changed.emit()

    # -- study, window and other windows -------------------------------------------------------

    def _on_study(self) -> None:
        session = self.session
        if self.view is not None:
            self._leave()
            self.view = None
        self.talk.withdraw_all()
        self._set_opening(None)
        self._ownership.study_changed()
        if session.study is not None and session.read_only:
            self.talk.tell("warning", READ_ONLY)
        self.view_changed.emit()

    def _on_left_open(self, left: LeftOpen) -> None:
        def show() -> None:
            self.talk.attempt(lambda: self.show(left.case))

        actions = (
            (f"Show {left.case}", show),
            ("Dismiss", lambda: self.talk.withdraw("crash")),
        )
        self.talk.offer("crash", Offer(left.sentence, actions))

    def _on_taken(self) -> None:
        self.reload()
        self.talk.tell("info", "The other window has gone: this study can be changed here now.")
        self.session.cases_changed.emit()
        self.others_changed.emit()
        self.view_changed.emit()

    def _on_removed(self, event: Any) -> None:
        view = self.view
        if self._removing or view is None or event.value not in (view.image, view.labels):
            return
        if event.value is view.labels:
            # The array lives on in the view until it is on disk.
            self.autosave.save_now()
        # A closing window removes its layers too: by then nobody needs to be told.
        QTimer.singleShot(0, self._tell_removed)

    def _tell_removed(self) -> None:
        session, view = self._session(), self.view
        if session is None or session.closed or view is None:
            return
        if view.labels not in session.viewer.layers:
            self.talk.tell(
                "info",
                f"The labels layer of {view.case} was removed and its labels are kept; show the "
                "case again to go on.",
            )
        self.view_changed.emit()

    def close(self) -> None:
        """End with the window: everything is saved, the study is closed in good order."""
        with contextlib.suppress(StudyError):
            self.autosave.flush()
        self._ownership.end(tidy=not self.autosave.error)
        self._layer_events.drop()
        self.autosave.close()
        self.view = None
        self.talk.offers.clear()


_labellings: WeakKeyDictionary[Any, Labelling] = WeakKeyDictionary()


def labelling_of(session: Session) -> Labelling:
    """Return the labelling of a session, the same for all docks."""
    found = _labellings.get(session)
    if found is None:
        found = _labellings[session] = Labelling(session)
    return found

"""Labelling by hand: which case is shown, that no stroke is lost, and who may write.

One :class:`Labelling` belongs to a session, whether its dock is open or not: cases are shown from
other docks too, and what is painted then saves itself just the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_gemini.errors import GeminiError, StudyError
from napari_gemini.study.files import Status
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.study.study import Study
from napari_gemini.study.summary import LabelSummary, summarise
from napari_gemini.widgets.common.connections import Connections
from napari_gemini.widgets.study.autosave import Autosave, Target
from napari_gemini.widgets.study.case_view import CaseView, centre_slices, hide_other_scans
from napari_gemini.widgets.study.colours import label_name
from napari_gemini.widgets.study.copies import ask_for_copy
from napari_gemini.widgets.study.journal import LeftOpen
from napari_gemini.widgets.study.keys import bind_keys
from napari_gemini.widgets.study.ownership import Ownership
from napari_gemini.widgets.study.reading import CaseData, read_case
from napari_gemini.widgets.study.talk import Offer, Talk
from napari_gemini.widgets.study.threads import in_thread

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_gemini.widgets.common.session import Session

FINISHED = "This case is finished; reopen it to change its labels."
READ_ONLY = (
    "Another window has this study open, so it can only be looked at here; this window takes over "
    "when the other one closes or dies."
)
OVERLAPPING = (
    "The labels of this study may overlap, one file for each; they are shown together here and "
    "cannot be painted."
)


class Labelling:
    """Shows cases of the open study and looks after their labels.

    Parameters
    ----------
    session
        Held weakly.
    """

    #: A case was shown, went, was locked or unlocked.
    view_changed = Signal()
    #: The autosave's state.
    state_changed = Signal()
    #: (case, summary): labels of a case were written.
    saved = Signal(str, object)
    #: Value of the label that is painted with.
    label_selected = Signal(int)
    #: A case is being read.
    opening_changed = Signal(object)
    #: Another window saved, or this one took the study over.
    others_changed = Signal()

    def __init__(self, session: Session) -> None:
        self._session = ref(session)
        self.view: CaseView | None = None
        self.opening: str | None = None
        #: Whether the labels on disk of the shown case cannot be read.
        self.damaged = False
        self.talk = Talk(session)
        #: The order in which next and previous go; the dock's table sets it.
        self.order: Callable[[], Sequence[str]] | None = None
        self._then: tuple[str, Callable[[], None]] | None = None
        self._told = ""
        self._result: Any = None
        self._layer_events = Connections()
        self._removing = False
        self.autosave = Autosave(lambda: session_seconds(self._session))
        self.autosave.changed.connect(self._on_autosave)
        self._ownership = Ownership(
            session, self._on_taken, self._on_left_open, self.others_changed.emit
        )
        session.before_study_closes(self.save_all)
        session.add_close_guard(self._may_close)
        session.on_closed(self.close)
        session.study_changed.connect(self._on_study)
        session.viewer.layers.events.removed.connect(self._on_removed)
        self.keys = bind_keys(session.viewer, self)
        self._on_study()

    @property
    def session(self) -> Session:
        """The session.

        Raises
        ------
        RuntimeError
            If it is gone.
        """
        session = self._session()
        if session is None:
            raise RuntimeError("the session of this labelling is closed")
        return session

    @property
    def study(self) -> Study:
        """The open study.

        Raises
        ------
        StudyError
            If none is open.
        """
        study = self.session.study
        if study is None:
            raise StudyError("No study is open: open one in the Study dock.")
        return study

    @property
    def _viewer(self) -> ViewerModel:
        return self.session.viewer

    # -- showing -------------------------------------------------------------------------------

    def show(self, case_id: str) -> None:
        """Show a case; see :func:`napari_gemini.widgets.study.case_view.show_case`."""
        study = self.study
        study.case(case_id)
        study.image_path(case_id)
        if self.view is not None and self.view.case == case_id and self.view.alive(self._viewer):
            self._viewer.layers.selection.active = self.view.labels
            return
        self.save_all()
        self._set_opening(case_id)
        try:
            read_case(self.session, study, case_id, self._arrived, self._not_read)
        except GeminiError:
            self._set_opening(None)
            raise

    def when_shown(self, case_id: str, action: Callable[[], None]) -> None:
        """Show a case and do something as soon as it is there."""
        if not self.talk.attempt(lambda: self.show(case_id)):
            return
        if self.opening is None:
            action()
        else:
            self._then = (case_id, action)

    def _set_opening(self, case_id: str | None) -> None:
        self.opening = case_id
        self.opening_changed.emit(case_id)

    def _not_read(self, sentence: str) -> None:
        self._set_opening(None)
        self.talk.tell("error", sentence)

    def _arrived(self, data: CaseData) -> None:
        session = self._session()
        if session is None or session.closed or session.study is None or self.opening != data.case:
            return
        self._set_opening(None)
        try:
            self.save_all()  # painting went on while the scan was read
        except StudyError as error:
            self.talk.tell("error", str(error))
            return
        self._present(data)

    def _present(self, data: CaseData) -> None:
        old = self.view
        study, viewer = self.study, self._viewer
        self._layer_events.drop()
        self.autosave.forget()
        self._removing = True
        try:
            view = CaseView.put(
                viewer,
                data.case,
                data.image,
                data.labels,
                study.scheme,
                self.session.preferences.label_opacity,
                old,
            )
        finally:
            self._removing = False
        self.view, self.damaged = view, bool(data.problem)
        hidden = hide_other_scans(viewer, view.grid)
        centre_slices(viewer, view)
        view.lock(self._lock_reason(data))
        self._listen(view)
        self._watch(view, data)
        if not self.session.read_only:
            self._ownership.note(data.case)
        viewer.layers.selection.active = view.labels
        self.talk.withdraw("crash")
        self.session.set_case(data.case)
        self.view_changed.emit()
        self.label_selected.emit(int(view.labels.selected_label))
        if data.problem:
            self.talk.tell("error", data.problem)
        elif hidden:
            self.talk.tell("info", f"Layers of other scans were hidden ({hidden}).")
        then, self._then = self._then, None
        if then is not None and then[0] == data.case:
            then[1]()

    def _lock_reason(self, data: CaseData) -> str:
        if self.session.read_only:
            return READ_ONLY
        if data.problem:
            return data.problem
        if self.study.scheme.overlapping:
            return OVERLAPPING
        return FINISHED if self.study.case(data.case).status == "done" else ""

    def _listen(self, view: CaseView) -> None:
        events = view.labels.events
        for event in (events.paint, events.labels_update):
            self._layer_events.connect(event, self._on_painted)
        for event in (events.set_data, events.data):
            self._layer_events.connect(event, self._on_maybe_changed)
        self._layer_events.connect(events.selected_label, self._on_selected)
        view.bind_keys(self.study.scheme, self.select_label)

    def _watch(self, view: CaseView, data: CaseData) -> None:
        if view.locked:
            self.autosave.forget()
            return
        study, case_id, affine = self.study, view.case, view.outline.affine

        def write(labels: Any) -> LabelSummary:
            study.save_labels(case_id, labels)
            return summarise(labels, affine)

        base = None if data.labels is None else data.labels.data
        self.autosave.watch(Target(view.values, write, base), saved_time(study, case_id))

    def reload(self) -> None:
        """Read the case that is shown again, since others may have changed it."""
        if self.view is None:
            return
        case_id = self.view.case
        self._leave()
        self.view = None
        with contextlib.suppress(GeminiError):
            self.show(case_id)

    def _leave(self) -> None:
        """Take the layers of the shown case away; everything is saved by now."""
        self._layer_events.drop()
        self.autosave.forget()
        if self.view is not None:
            self._removing = True
            try:
                self.view.remove(self._viewer)
            finally:
                self._removing = False

    def step(self, by: int) -> None:
        """Show the next (1) or previous (-1) case, in the order of the table."""
        study = self.session.study
        if study is None:
            return
        order = list(self.order()) if self.order is not None else [c.id for c in study.cases]
        if not order:
            return
        shown = self.opening or self.session.case
        if shown in order:
            place = min(max(order.index(shown) + by, 0), len(order) - 1)
        else:
            place = 0 if by > 0 else len(order) - 1
        self.talk.attempt(lambda: self.show(order[place]))

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
            labels = self.study.load_labels(view.case)
            self._watch(view, CaseData(view.case, view.outline, labels))
        self.session.cases_changed.emit()
        self.view_changed.emit()

    def shown(self) -> CaseView:
        """Return the shown case.

        Raises
        ------
        StudyError
            If none is shown.
        """
        if self.view is None or not self.view.alive(self._viewer):
            raise StudyError("No case is shown: choose one in the table of the Study dock.")
        return self.view

    def editable(self) -> CaseView:
        """Return the shown case, whose labels can be changed.

        Raises
        ------
        StudyError
            If none is shown or it is locked.
        """
        view = self.shown()
        if view.locked:
            raise StudyError(view.locked)
        return view

    # -- labels --------------------------------------------------------------------------------

    def select_label(self, value: int) -> None:
        """Paint with a label from now on."""
        if self.view is not None:
            self.view.labels.selected_label = value

    def _on_selected(self, *_: Any) -> None:
        if self.view is None:
            return
        value = int(self.view.labels.selected_label)
        scheme = self.study.scheme
        if value in scheme.allowed:
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


def session_seconds(session: ref[Session]) -> float:
    """Return the interval between saves as the preferences have it."""
    alive = session()
    return 3.0 if alive is None else float(alive.preferences.autosave_seconds)


def saved_time(study: Study, case_id: str) -> datetime | None:
    """Return when the labels of a case were last written."""
    if not study.has_labels(case_id):
        return None
    try:
        return datetime.fromtimestamp(study.labels_path(case_id).stat().st_mtime).astimezone()
    except OSError:
        return None


_labellings: WeakKeyDictionary[Any, Labelling] = WeakKeyDictionary()


def labelling_of(session: Session) -> Labelling:
    """Return the labelling of a session, the same for all docks."""
    found = _labellings.get(session)
    if found is None:
        found = _labellings[session] = Labelling(session)
    return found

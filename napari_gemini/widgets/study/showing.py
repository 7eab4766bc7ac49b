"""Which case is shown, and how the next one takes its place without a stroke being lost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from psygnal import Signal

from napari_gemini.errors import GeminiError, StudyError
from napari_gemini.study.scheme import BACKGROUND
from napari_gemini.study.study import Study
from napari_gemini.study.summary import LabelSummary, summarise
from napari_gemini.widgets.common.connections import Connections
from napari_gemini.widgets.study.autosave import Autosave, Target
from napari_gemini.widgets.study.case_view import CaseView, centre_slices, hide_other_scans
from napari_gemini.widgets.study.journal import LeftOpen
from napari_gemini.widgets.study.masks import MaskView
from napari_gemini.widgets.study.ownership import Ownership
from napari_gemini.widgets.study.reading import CaseData, read_case
from napari_gemini.widgets.study.talk import Talk

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_gemini.widgets.common.session import Session

FINISHED = "This case is finished; reopen it to change its labels."
READ_ONLY = (
    "Another window has this study open, so it can only be looked at here; this window takes over "
    "when the other one closes or dies."
)


#: Of more voxels than this, a label map is logged between two writes of its file.
LARGE = 8_000_000


class CaseShow:
    """Shows cases of the open study, one at a time.

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
        #: Of labels that may overlap: the masks of the shown case.
        self.masks: MaskView | None = None
        self.opening: str | None = None
        #: Whether the labels on disk of the shown case cannot be read.
        self.damaged = False
        self.talk = Talk(session)
        #: The order in which next and previous go; the dock's table sets it.
        self.order: Callable[[], Sequence[str]] | None = None
        self._then: tuple[str, Callable[[], None]] | None = None
        self._layer_events = Connections()
        self._removing = False
        self.autosave = Autosave(lambda: session_seconds(self._session))
        self._ownership = Ownership(
            session, self._on_taken, self._on_left_open, self.others_changed.emit
        )

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
        self.masks = None
        if data.masks is not None:
            self.masks = MaskView(data.masks, study.scheme, int(view.labels.selected_label))
            self._put_mask(view)
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
        return FINISHED if self.study.case(data.case).status == "done" else ""

    def _listen(self, view: CaseView) -> None:
        events = view.labels.events
        for event in (events.paint, events.labels_update):
            self._layer_events.connect(event, self._on_painted)
        for event in (events.set_data, events.data):
            self._layer_events.connect(event, self._on_maybe_changed)
        self._layer_events.connect(events.selected_label, self._on_selected)
        view.bind_keys(self.study.scheme, self.select_label)

    def _put_mask(self, view: CaseView) -> None:
        """Let the labels layer show the mask of the chosen label, the other labels beneath."""
        assert self.masks is not None
        view.labels.data = view.grid.to_canvas(self.masks.painted())
        view.labels.selected_label = self.masks.value
        self.masks.draw(self._viewer, view)

    def _paint_mask(self, value: int) -> None:
        """Paint another of the labels that may overlap from now on; the present one is saved.

        Raises
        ------
        StudyError
            If it cannot be saved: it stays the one that is painted.
        """
        view, masks = self.view, self.masks
        if view is None or masks is None or value in (BACKGROUND, masks.value):
            return
        self.save_all()
        masks.take(view.values())
        masks.value = value
        self._layer_events.drop()
        self._put_mask(view)
        view.lock(view.locked)  # what undo knows belongs to the other label
        self._listen(view)
        self._watch_mask(view, masks)

    def _watch_mask(self, view: CaseView, masks: MaskView) -> None:
        self.autosave.forget()
        if view.locked:
            return
        study, case_id, affine, value = self.study, view.case, view.outline.affine, masks.value

        def write(labels: Any) -> LabelSummary:
            study.save_mask(case_id, value, labels != 0)
            return masks.summary(labels, affine)

        target = Target(view.values, write, masks.painted())
        self.autosave.watch(target, saved_time(study, case_id))

    def _watch(self, view: CaseView, data: CaseData) -> None:
        if self.masks is not None:
            self._watch_mask(view, self.masks)
            return
        if view.locked:
            self.autosave.forget()
            return
        study, case_id, affine = self.study, view.case, view.outline.affine
        base = None if data.labels is None else data.labels.data
        log = None
        if np.prod(view.outline.shape) > LARGE:
            log = study.log_strokes(case_id, base)

        def write(labels: Any) -> LabelSummary:
            if log is None:
                study.save_labels(case_id, labels)
                return summarise(labels, affine)
            study.save_frozen(case_id, log, labels)
            return summarise(labels.labels, affine)

        self.autosave.watch(Target(view.values, write, base, log), saved_time(study, case_id))

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
        self.masks = None
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

    # -- what is shown --------------------------------------------------------------------------

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

    # -- what labelling adds -------------------------------------------------------------------

    def save_all(self) -> None:
        """Make sure that everything painted is on disk, or raise StudyError."""
        raise NotImplementedError

    def select_label(self, value: int) -> None:
        """Paint with a label from now on."""
        if self.view is not None:
            self.view.labels.selected_label = value

    def _on_painted(self, *_: Any) -> None:
        raise NotImplementedError

    def _on_maybe_changed(self, *_: Any) -> None:
        raise NotImplementedError

    def _on_selected(self, *_: Any) -> None:
        raise NotImplementedError

    def _on_taken(self) -> None:
        raise NotImplementedError

    def _on_left_open(self, left: LeftOpen) -> None:
        raise NotImplementedError


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

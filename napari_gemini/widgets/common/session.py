"""What the docks of one viewer share: the study, the engine, the pair, and who is to be told."""

from __future__ import annotations

import atexit
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakMethod, WeakSet, ref

from psygnal import Signal
from qtpy.QtWidgets import QApplication, QWidget

from napari_gemini.study.lock import LockedError
from napari_gemini.study.study import Study
from napari_gemini.widgets.canvas.letters import OrientationLetters
from napari_gemini.widgets.canvas.readout import Readout
from napari_gemini.widgets.common.bindings import keep_none_alive
from napari_gemini.widgets.common.closing import CloseWatch, Guard
from napari_gemini.widgets.common.engine import QtEngine
from napari_gemini.widgets.common.models import ModelChoice, model_choices
from napari_gemini.widgets.common.preferences import Preferences, load_preferences

if TYPE_CHECKING:
    import napari

    from napari_gemini.widgets.pair.pair_data import PairData


class Session:
    """The state of one viewer; :func:`get_session` makes and finds it.

    Docks may be opened and closed at any time: they read the state from here, connect to the
    signals, and drop the connections when they go.

    Parameters
    ----------
    viewer
        Held weakly: the session dies with it.
    """

    study_changed = Signal()
    #: The id of the case that is shown now, None for none.
    case_changed = Signal(object)
    #: Something in the table of cases: roles, status, labels.
    cases_changed = Signal()
    models_changed = Signal()
    pair_changed = Signal()
    #: (level, sentence): for every dock to show.
    message = Signal(str, str)

    def __init__(self, viewer: napari.Viewer) -> None:
        keep_none_alive()
        self._viewer = ref(viewer)
        self.engine = QtEngine(memory_limit=lambda: load_preferences().memory_limit_gb)
        self.readout = Readout(viewer)
        self.study: Study | None = None
        self.read_only = False
        self.case: str | None = None
        self.pair: PairData | None = None
        self.closed = False
        self._lock: contextlib.ExitStack | None = None
        self._listeners: list[WeakMethod[Callable[[], None]]] = []
        self._keepers: list[WeakMethod[Callable[[], None]]] = []
        self._watch: CloseWatch | None = None
        window, canvas = _widgets_of(viewer)
        if canvas is not None:
            self.letters: OrientationLetters | None = OrientationLetters(viewer, canvas)
        else:
            self.letters = None
        if window is not None:
            self._watch = CloseWatch(window)
            window.destroyed.connect(self.close)

    @property
    def viewer(self) -> napari.Viewer:
        """The viewer.

        Raises
        ------
        RuntimeError
            If it is gone.
        """
        viewer = self._viewer()
        if viewer is None:
            raise RuntimeError("the viewer is closed")
        return viewer

    @property
    def preferences(self) -> Preferences:
        """The plugin's preferences as they are now."""
        return load_preferences()

    # -- study ---------------------------------------------------------------------------------

    def open_study(self, folder: str | Path) -> Study:
        """Open a study and take its lock; where another window has it, open it for reading.

        Raises
        ------
        StudyError
            If the folder is no study.
        InputError, EngineError
            If the lock cannot be written.
        """
        study = Study.open(folder)
        self.close_study()
        self.study = study
        self.take_lock()
        self.study_changed.emit()
        self.models_changed.emit()
        return study

    def take_lock(self) -> bool:
        """Try to become the study's writer; False while another window is, or nothing is open.

        Raises
        ------
        InputError, EngineError
            If the lock cannot be written for another reason than an owner.
        """
        if self.study is None:
            return False
        if self._lock is not None:
            return True
        stack = contextlib.ExitStack()
        try:
            stack.enter_context(self.study.lock("napari"))
        except LockedError:
            self.read_only = True
            return False
        self._lock = stack
        if self.read_only:
            # The other window may have changed everything.
            self.study.reload()
        self.read_only = False
        return True

    def close_study(self) -> None:
        """Let go of the study; nothing happens when none is open.

        Raises
        ------
        GeminiError
            If somebody who holds unsaved work cannot save it; the study stays open.
        """
        if self.study is None:
            return
        for weak in self._keepers:
            keeper = weak()
            if keeper is not None:
                keeper()
        self.study, self.case, self.read_only = None, None, False
        self._release()
        self.study_changed.emit()
        self.models_changed.emit()

    def before_study_closes(self, keeper: Callable[[], None]) -> None:
        """Call a method before the study is let go: it saves, or raises to keep the study open."""
        self._keepers.append(WeakMethod(keeper))

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()

    def show_case(self, case_id: str) -> None:
        """Show a case of the study as image and labels.

        Raises
        ------
        GeminiError
            If there is no such case or its files cannot be read.
        """
        from napari_gemini.widgets.study.case_view import show_case

        show_case(self, case_id)

    def set_case(self, case_id: str | None) -> None:
        """Note which case is shown and tell the docks."""
        self.case = case_id
        self.case_changed.emit(case_id)

    # -- models and pairs ----------------------------------------------------------------------

    def models(self, dimension: int | None = None) -> list[ModelChoice]:
        """Return the models to choose from.

        Parameters
        ----------
        dimension
            2 or 3; the study's when not given.
        """
        if dimension is None and self.study is not None:
            dimension = self.study.dimension
        return model_choices(self.study, dimension)

    def set_pair(self, pair: PairData | None) -> None:
        """Note the pair whose correspondence is looked at and tell the docks."""
        self.pair = pair
        self.pair_changed.emit()

    # -- the window's end ----------------------------------------------------------------------

    def add_close_guard(self, guard: Guard) -> None:
        """Ask `guard` when the window is about to close; False keeps it open."""
        if self._watch is not None:
            self._watch.add_guard(guard)

    def remove_close_guard(self, guard: Guard) -> None:
        """Ask `guard` no longer."""
        if self._watch is not None:
            self._watch.remove_guard(guard)

    def on_closed(self, listener: Callable[[], None]) -> None:
        """Call a method once when the window has gone; its object is held weakly."""
        self._listeners.append(WeakMethod(listener))

    def close(self, *_: Any) -> None:
        """End the engine's child and give the study back; the window has gone."""
        if self.closed:
            return
        self.closed = True
        listeners, self._listeners = self._listeners, []
        for weak in listeners:
            listener = weak()
            if listener is None:
                continue
            try:
                listener()
            except RuntimeError:
                pass  # Qt's part of it has gone already
            except Exception:
                # Qt aborts the program on an exception here, and child and lock would stay.
                _log.exception("A dock could not be ended in order.")
        self.engine.close()
        self._release()
        self.study = self.pair = None


_log = logging.getLogger(__name__)
_sessions: WeakKeyDictionary[Any, Session] = WeakKeyDictionary()
_open: WeakSet[Session] = WeakSet()


@atexit.register
def _close_all() -> None:
    """Close what a program leaves open at its end.

    Later Python and Qt take windows apart in an order of their own, and half a window cannot be
    ended: a script that closes its window, or does not, and ends at once would crash.
    """
    for session in list(_open):
        session.close()


def get_session(viewer: napari.Viewer) -> Session:
    """Return the session of a viewer, the same for all its docks."""
    # napari hands docks a proxy that guards private names, a new one each time.
    viewer = getattr(viewer, "__wrapped__", viewer)
    session = _sessions.get(viewer)
    if session is None or session.closed:
        session = _sessions[viewer] = Session(viewer)
        _open.add(session)
    return session


def _widgets_of(viewer: napari.Viewer) -> tuple[QWidget | None, QWidget | None]:
    """Find the main window and the canvas of a viewer; None where it has no window."""
    from napari.qt import QtViewer

    for window in QApplication.topLevelWidgets():
        for qt_viewer in window.findChildren(QtViewer):
            if qt_viewer.viewer is viewer:
                return window, qt_viewer.canvas.native
    return None, None

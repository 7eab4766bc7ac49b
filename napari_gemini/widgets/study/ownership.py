"""Who may write the open study: waiting for another window's lock, and what a crash left."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import ref

from qtpy.QtCore import QObject, QTimer

from napari_gemini.errors import GeminiError
from napari_gemini.widgets.study.journal import Journal, LeftOpen

if TYPE_CHECKING:
    from napari_gemini.widgets.common.session import Session

#: Seconds between two looks at a lock that another window holds.
POLL = 2.0


class Ownership(QObject):
    """Takes the open study over when the window that writes it has gone.

    Parameters
    ----------
    session
        Held weakly.
    taken
        Called when this window has become the writer after looking on.
    left
        Called with what a window left that ended without closing the study.
    looked
        Called after each look at a lock that is still held: others may have saved.
    """

    def __init__(
        self,
        session: Session,
        taken: Callable[[], None],
        left: Callable[[LeftOpen], None],
        looked: Callable[[], None],
    ) -> None:
        super().__init__()
        self._session = ref(session)
        self._taken, self._left, self._looked = taken, left, looked
        self._journal: Journal | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(int(POLL * 1000))
        self._timer.timeout.connect(self.look)

    def study_changed(self) -> None:
        """Begin with the study that is open now, if any."""
        self.end()
        session = self._session()
        if session is None or session.study is None:
            return
        if session.read_only:
            self._timer.start()
        else:
            self._own()

    def end(self, *, tidy: bool = True) -> None:
        """Stop; the study is closed in good order unless labels are unsaved."""
        self._timer.stop()
        if self._journal is not None and tidy:
            self._journal.clear()
        self._journal = None

    def note(self, case: str) -> None:
        """Note which case is shown, for the time after a crash."""
        if self._journal is not None:
            self._journal.note(case)

    def look(self) -> None:
        """Take the study over if its writer has gone."""
        session = self._session()
        if session is None or session.closed or session.study is None or not session.read_only:
            self._timer.stop()
            return
        try:
            taken = session.take_lock()
            if not taken:
                session.study.reload()
        except GeminiError:
            return  # the folder cannot be written to or read now: still only to be looked at
        if not taken:
            self._looked()
            return
        self._timer.stop()
        self._own()
        self._taken()

    def _own(self) -> None:
        session = self._session()
        if session is None or session.study is None:
            return
        self._journal = Journal(session.study)
        left = self._journal.left_open()
        if left is not None:
            self._left(left)

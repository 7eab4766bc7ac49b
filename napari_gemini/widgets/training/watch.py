"""Looks at the runs of a study again and again, in a thread of its own, for the GUI thread."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from psygnal import Signal
from qtpy.QtCore import QObject, QTimer

from napari_gemini.engine.run_folder import RunFolder
from napari_gemini.widgets.training.runs import (
    RunFollower,
    RunInfo,
    RunProgress,
    held_back_cases,
    list_runs,
)

#: Milliseconds between two looks at the followed run.
INTERVAL = 500
#: Seconds between two looks at the list of runs.
_LIST_EVERY = 3.0


@dataclass(frozen=True)
class _Seen:
    """What one look found."""

    follower: RunFollower | None
    changed: bool
    runs: list[RunInfo] | None


class RunWatch(QObject):
    """Follows one run of a study and keeps the list of its runs.

    Only one look is under way at a time, and the GUI thread takes what it found before the next
    one begins, so both may use the same :class:`RunProgress`.
    """

    #: list[RunInfo]
    runs_changed = Signal(list)
    #: RunProgress of the followed run, None when none is followed.
    progress_changed = Signal(object)
    #: A look has ended, whether it found anything or not.
    looked = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.runs: list[RunInfo] = []
        self._runs_dir: Path | None = None
        self._follower: RunFollower | None = None
        self._chosen = False
        self._next_list = 0.0
        self._look: Future[_Seen] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="run-watch")
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL)
        self._timer.timeout.connect(self._tick)

    @property
    def folder(self) -> RunFolder | None:
        """Folder of the followed run."""
        return None if self._follower is None else self._follower.folder

    @property
    def progress(self) -> RunProgress | None:
        """Of the followed run."""
        return None if self._follower is None else self._follower.progress

    def watch(self, runs_dir: Path | None) -> None:
        """Look at the runs of another study; the running one is followed by itself."""
        self._runs_dir = runs_dir
        self._follower, self._chosen = None, False
        self.runs = []
        self._next_list = 0.0
        self._timer.setInterval(INTERVAL)
        if runs_dir is None:
            self._timer.stop()
        else:
            self._timer.start()
            self._begin()
        self.runs_changed.emit([])
        self.progress_changed.emit(None)

    def follow(self, name: str) -> None:
        """Follow a run from its first event on."""
        if self._runs_dir is None:
            return
        self._chosen = True
        if self._follower is None or self._follower.folder.name != name:
            self._follow(name)
        self.look_again()

    def _follow(self, name: str) -> None:
        assert self._runs_dir is not None
        self._follower = RunFollower(RunFolder(self._runs_dir / name))
        self.progress_changed.emit(self._follower.progress)

    def look_again(self) -> None:
        """Look at the list of runs at the next occasion."""
        self._next_list = 0.0

    # -- looking -------------------------------------------------------------------------------

    def _tick(self) -> None:
        look = self._look
        if look is not None:
            if not look.done():
                return
            self._look = None
            if look.exception() is None:
                self._take(look.result())
            self.looked.emit()
        self._begin()

    def _begin(self) -> None:
        if self._look is not None or self._runs_dir is None:
            return
        now = time.monotonic()
        wanted = now >= self._next_list
        if wanted:
            self._next_list = now + _LIST_EVERY
        self._look = self._pool.submit(_see, self._follower, self._runs_dir if wanted else None)

    def _take(self, seen: _Seen) -> None:
        if seen.runs is not None and seen.runs != self.runs:
            self.runs = seen.runs
            self.runs_changed.emit(seen.runs)
            self._pick_up()
        if seen.changed and seen.follower is self._follower and seen.follower is not None:
            self.progress_changed.emit(seen.follower.progress)

    def _pick_up(self) -> None:
        """Follow the running one, else the newest, unless the user chose another."""
        if self._chosen or not self.runs:
            return
        first = self.runs[0]
        if self._follower is None or (
            first.state == "running" and first.name != self._follower.folder.name
        ):
            self._follow(first.name)

    def close(self) -> None:
        """Look no more."""
        self._timer.stop()
        self._runs_dir = self._follower = None
        self._pool.shutdown(wait=True, cancel_futures=True)


def _see(follower: RunFollower | None, runs_dir: Path | None) -> _Seen:
    changed = False
    if follower is not None:
        changed = follower.read()
        if changed and not follower.progress.held_back:
            follower.progress.held_back = held_back_cases(follower.folder)
    return _Seen(follower, changed, None if runs_dir is None else list_runs(runs_dir))

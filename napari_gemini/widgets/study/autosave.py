"""Labels save themselves: when the brush rests, and every few seconds while it does not.

Comparing, copying, packing and writing happen in threads of their own, so the window never waits.
A copy that is taken in the middle of a stroke holds part of that stroke; the rest follows with the
next save.

Small maps are written whole each time. Of large ones, whose file takes seconds to pack, a save
appends what changed to a log (:mod:`napari_gemini.study.strokes`), and the file follows when the
brush rests; leaving a case waits for the file.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_gemini.errors import GeminiError, StudyError
from napari_gemini.study.strokes import Frozen, StrokeLog

State = Literal["idle", "unsaved", "saving", "saved", "failed"]

#: Seconds without a change after which the brush rests.
REST = 0.6
#: Seconds until a failed save is tried again.
RETRY = 3.0
#: Shortest time between two saves, in seconds.
_SHORTEST = 0.2
#: Seconds between the end of packing a large map and the next time, while the brush never rests.
PACK_EVERY = 15.0


@dataclass(frozen=True, eq=False)
class Target:
    """What is saved, and how.

    Parameters
    ----------
    read
        Returns the labels as they are now, file order; called in the thread that saves.
    write
        Saves a copy of them; what it returns is kept as :attr:`Autosave.result`.
    saved
        The labels on disk, None where there are none.
    log
        Of a large map: where changes go between two writes of the file. `write` gets a
        :class:`~napari_gemini.study.strokes.Frozen` then.
    """

    read: Callable[[], NDArray[Any]]
    write: Callable[[Any], Any]
    saved: NDArray[Any] | None
    log: StrokeLog | None = None


@dataclass(frozen=True, eq=False)
class _Done:
    """A save that went well.

    Attributes
    ----------
    changed
        Whether there was anything to write.
    labels
        What the file holds now, None where it was not written.
    result
        What the target's ``write`` returned.
    seconds
        How long it took.
    frozen
        Of a large map: a copy to pack.
    """

    changed: bool
    labels: NDArray[Any] | None = None
    result: Any = None
    seconds: float = 0.0
    frozen: Frozen | None = None


@dataclass(frozen=True, eq=False)
class _Packed:
    """A large map was packed and written."""

    frozen: Frozen
    result: Any


class Autosave(QObject):
    """Saves one array at a time, and says how that goes.

    Parameters
    ----------
    interval
        Returns the longest time between two saves while painting, in seconds.

    Attributes
    ----------
    state
        ``idle`` (nothing to save yet), ``unsaved``, ``saving``, ``saved`` or ``failed``.
    saved_at
        When labels were last written, None before.
    error
        The sentence of the last failure, empty after a success.
    result
        What the target's ``write`` returned last.
    """

    changed = Signal()
    _ended = Signal()
    _packed = Signal()

    def __init__(self, interval: Callable[[], float], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._interval = interval
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="save-labels")
        self._packer = ThreadPoolExecutor(1, thread_name_prefix="pack-labels")
        self._future: Future[_Done] | None = None
        self._packing: Future[_Packed] | None = None
        self._packed_at = 0.0
        self._target: Target | None = None
        self._base: NDArray[Any] | None = None
        self._seconds = 0.0
        self._changes = self._written = self._covered = 0
        self.saved_at: datetime | None = None
        self.error = ""
        self.result: Any = None
        self._rest = self._timer()
        self._deadline = self._timer()
        self._retry = self._timer()
        self._ended.connect(self._collect)
        self._packed.connect(self._collect_packed)

    def _timer(self) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.timeout.connect(self._start)
        return timer

    # -- what is watched -----------------------------------------------------------------------

    def watch(self, target: Target, saved_at: datetime | None = None) -> None:
        """Look after an array from now on; what was watched before has to be flushed.

        Parameters
        ----------
        target
            The array.
        saved_at
            When it was last written, as far as known.
        """
        self.forget()
        self._target, self._base, self.saved_at = target, target.saved, saved_at
        self.changed.emit()

    def forget(self) -> None:
        """Look after nothing; unsaved changes are nobody's business any more."""
        self._wait()
        self._wait_packed()
        self._stop_timers()
        log = None if self._target is None else self._target.log
        if log is not None and log.dirty:
            log.clear()  # it was given up: the next window must not bring it back
        self._target = self._base = None
        self._changes = self._written = self._covered = 0
        self.saved_at, self.error, self.result = None, "", None
        self.changed.emit()

    @property
    def watching(self) -> bool:
        """Whether there is something to look after."""
        return self._target is not None

    @property
    def unsaved(self) -> bool:
        """Whether changes are known that are not on disk."""
        return self._changes != self._written

    @property
    def state(self) -> State:
        """How it stands; see the attributes of the class."""
        if self.error:
            return "failed"
        if self._future is not None and self.unsaved:
            return "saving"
        if self.unsaved:
            return "unsaved"
        return "idle" if self.saved_at is None else "saved"

    # -- changes -------------------------------------------------------------------------------

    def touch(self) -> None:
        """Say that the array has changed."""
        if self._target is None:
            return
        first = not self.unsaved or self._changes == self._covered
        self._changes += 1
        self._rest.start(int(REST * 1000))
        if first and not self._deadline.isActive():
            # The time that writing takes belongs to the promise too.
            wait = max(_SHORTEST, self._interval() - 2 * self._seconds)
            self._deadline.start(int(wait * 1000))
        if first:
            self.changed.emit()

    def suspect(self) -> None:
        """Say that the array may have changed (undo, another plugin); it is compared soon."""
        if self._target is not None and not self._rest.isActive():
            self._rest.start(int(REST * 1000))

    def save_now(self) -> None:
        """Save without waiting for the brush to rest, in the background."""
        self._start()

    def flush(self) -> None:
        """Save what is unsaved, known or not, file included, and wait for it.

        Raises
        ------
        StudyError
            If it could not be saved; the labels stay watched and in memory.
        """
        target = self._target
        if target is None:
            return
        self._stop_timers()
        self._wait()
        self._wait_packed()
        self._start(pack=True)
        self._wait()
        self._wait_packed()
        if self.error:
            raise StudyError(self.error)

    def close(self) -> None:
        """End the threads after what they are doing."""
        self._stop_timers()
        self._wait()
        self._wait_packed()
        self._pool.shutdown(wait=True)
        self._packer.shutdown(wait=True)

    # -- saving --------------------------------------------------------------------------------

    def _start(self, *, pack: bool = False) -> None:
        if self._target is None or self._future is not None:
            return  # what changed meanwhile is saved when the running save has ended
        resting = not self._rest.isActive()
        self._rest.stop()
        self._deadline.stop()
        self._retry.stop()
        self._covered = self._changes
        due = pack or resting or time.monotonic() - self._packed_at > PACK_EVERY
        self._future = self._pool.submit(
            _save, self._target, self._base, due and self._packing is None
        )
        self._future.add_done_callback(lambda _: self._tell(self._ended))
        if self.unsaved:
            self.changed.emit()

    def _tell(self, signal: Any) -> None:
        # In the saving thread; the object may be gone when the window has closed.
        with contextlib.suppress(RuntimeError):
            signal.emit()

    def _wait(self) -> None:
        if self._future is not None:
            with contextlib.suppress(Exception):
                self._future.result()
            self._collect()

    def _wait_packed(self) -> None:
        if self._packing is not None:
            with contextlib.suppress(Exception):
                self._packing.result()
            self._collect_packed()
            # The log has to be in order before the study's lock is given back.
            self._pool.submit(_nothing).result()

    def _collect(self) -> None:
        """Take note of a save that has ended."""
        future = self._future
        if future is None or not future.done():
            return
        self._future = None
        try:
            done = future.result()
        except GeminiError as error:
            self._failed(str(error))
        except Exception as error:  # labels are kept and the sentence is shown, whatever it was
            self._failed(f"The labels could not be saved ({error}): save a copy of them.")
        else:
            self._succeeded(done)
        self.changed.emit()

    def _succeeded(self, done: _Done) -> None:
        self._written = self._covered
        if done.changed:
            self._seconds = done.seconds
            self.saved_at = datetime.now().astimezone()
        if done.labels is not None:
            self._base, self.result = done.labels, done.result
        if done.frozen is not None:
            self._pack(done.frozen)
        elif self._packing is None:
            self.error = ""
        if self.unsaved:
            wait = max(_SHORTEST, self._interval() - 3 * self._seconds)
            self._deadline.start(int(wait * 1000))
            self._rest.start(int(REST * 1000))
        elif self._packing is None:
            self._rest_until_packed()

    def _rest_until_packed(self) -> None:
        """Look again when the brush rests: the file lacks what the log has."""
        log = None if self._target is None else self._target.log
        if log is not None and log.dirty:
            self._rest.start(int(REST * 1000))

    def _pack(self, frozen: Frozen) -> None:
        assert self._target is not None
        self._packing = self._packer.submit(_write_frozen, self._target, frozen)
        self._packing.add_done_callback(lambda _: self._tell(self._packed))

    def _collect_packed(self) -> None:
        """Take note of a label file that was written."""
        future = self._packing
        if future is None or not future.done():
            return
        self._packing, self._packed_at = None, time.monotonic()
        try:
            packed = future.result()
        except GeminiError as error:
            self._failed(str(error))
        except Exception as error:
            self._failed(f"The labels could not be saved ({error}): save a copy of them.")
        else:
            self.error, self.result = "", packed.result
            log = None if self._target is None else self._target.log
            if log is not None:
                # After what is being appended, in the thread that appends.
                self._pool.submit(log.forget_packed, packed.frozen)
                self._rest_until_packed()
        self.changed.emit()

    def _failed(self, sentence: str) -> None:
        self.error = sentence
        if self._changes == self._written:
            self._changes += 1  # something is unsaved, whether or not anybody said so
        self._retry.start(int(RETRY * 1000))

    def _stop_timers(self) -> None:
        for timer in (self._rest, self._deadline, self._retry):
            timer.stop()


def _save(target: Target, base: NDArray[Any] | None, pack: bool) -> _Done:
    """Write the labels if they differ from those on disk."""
    started = time.monotonic()
    live = target.read()
    if target.log is not None:
        changed = target.log.append(live) > 0
        seconds = time.monotonic() - started
        frozen = target.log.freeze() if pack and target.log.dirty else None
        return _Done(changed, seconds=seconds, frozen=frozen)
    if base is None:
        if not live.any():
            return _Done(False)
    elif live.shape == base.shape and np.array_equal(live, base):
        return _Done(False)
    labels = np.array(live, order="F")
    return _Done(True, labels, target.write(labels), time.monotonic() - started)


def _nothing() -> None:
    return


def _write_frozen(target: Target, frozen: Frozen) -> _Packed:
    return _Packed(frozen, target.write(frozen))

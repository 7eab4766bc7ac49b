"""Reporters that turn progress into events: to a stream, to a callback, to several at once.

The run folder's reporter is in :mod:`napari_gemini.engine.run_folder`, the terminal's in
:mod:`napari_gemini.engine.console`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, cast, get_args

from napari_gemini.engine.eta import EtaEstimator
from napari_gemini.engine.events import (
    Event,
    LogEvent,
    LogLevel,
    NoticeEvent,
    ProgressEvent,
    format_event,
)
from napari_gemini.engine.plain import to_plain
from napari_gemini.progress import Reporter

#: Progress without values is repeated at most this often, in seconds.
QUIET_INTERVAL = 0.1


class EventReporter:
    """Make events of everything a job reports and hand each one on.

    Parameters
    ----------
    emit
        Called with each event, from whatever thread reports.
    cancel
        Set from outside when the job should stop.
    job
        Id that every event carries.
    quiet_interval
        Progress that brings no values is dropped when the last one is younger than this (seconds);
        the first and the last of a phase always pass.
    """

    def __init__(
        self,
        emit: Callable[[Event], None],
        cancel: threading.Event | None = None,
        job: str | None = None,
        quiet_interval: float = QUIET_INTERVAL,
    ) -> None:
        self._emit = emit
        self._cancel = cancel or threading.Event()
        self._job = job
        self._quiet_interval = quiet_interval
        self._eta = EtaEstimator()
        self._last_progress = float("-inf")

    def progress(self, done: int, total: int, message: str = "", **values: float) -> None:
        """Pass on progress with the time left."""
        self._eta.update(done, total)
        now = time.monotonic()
        idle = now - self._last_progress
        if not values and 0 < done < total and idle < self._quiet_interval:
            return
        self._last_progress = now
        self._emit(
            ProgressEvent(
                job=self._job,
                done=done,
                total=total,
                message=message,
                values=dict(values),
                elapsed=self._eta.elapsed,
                remaining=self._eta.remaining,
            )
        )

    def log(self, message: str, level: str = "info") -> None:
        """Pass on a message."""
        known = cast(LogLevel, level if level in get_args(LogLevel) else "info")
        self._emit(LogEvent(job=self._job, level=known, message=message))

    def event(self, name: str, **payload: Any) -> None:
        """Pass on a notice."""
        self._emit(NoticeEvent(job=self._job, name=name, payload=to_plain(payload)))

    def cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._cancel.is_set()


class JsonLinesReporter(EventReporter):
    """Write each event as one line of JSON.

    Parameters
    ----------
    write_line
        Takes one line without its line break and must be safe to call from several threads.
    cancel, job, quiet_interval
        See :class:`EventReporter`.
    """

    def __init__(
        self,
        write_line: Callable[[str], None],
        cancel: threading.Event | None = None,
        job: str | None = None,
        quiet_interval: float = QUIET_INTERVAL,
    ) -> None:
        super().__init__(lambda event: write_line(format_event(event)), cancel, job, quiet_interval)


class TeeReporter:
    """Pass everything to several reporters; one that wants to stop is enough to stop."""

    def __init__(self, *reporters: Reporter) -> None:
        self.reporters = reporters

    def progress(self, done: int, total: int, message: str = "", **values: float) -> None:
        """Pass on progress."""
        for reporter in self.reporters:
            reporter.progress(done, total, message, **values)

    def log(self, message: str, level: str = "info") -> None:
        """Pass on a message."""
        for reporter in self.reporters:
            reporter.log(message, level)

    def event(self, name: str, **payload: Any) -> None:
        """Pass on a notice."""
        for reporter in self.reporters:
            reporter.event(name, **payload)

    def cancelled(self) -> bool:
        """Whether any of them wants to stop."""
        return any(reporter.cancelled() for reporter in self.reporters)


class CancelReporter(TeeReporter):
    """A reporter that also stops when an event is set (a signal, a button)."""

    def __init__(self, reporter: Reporter, cancel: threading.Event) -> None:
        super().__init__(reporter)
        self._cancel = cancel

    def cancelled(self) -> bool:
        """Whether the event is set or the inner reporter wants to stop."""
        return self._cancel.is_set() or super().cancelled()


class PartReporter:
    """Show one part of a longer job on the bar of the whole.

    Parameters
    ----------
    reporter
        Reporter of the whole.
    index, count
        This is part `index` (from 0) of `count` equal parts.
    prefix
        Put in front of every message.
    """

    RESOLUTION = 1000

    def __init__(self, reporter: Reporter, index: int, count: int, prefix: str = "") -> None:
        self._reporter = reporter
        self._index = index
        self._count = count
        self._prefix = prefix

    def progress(self, done: int, total: int, message: str = "", **values: float) -> None:
        """Scale the progress of the part to the whole."""
        share = done / total if total else 0.0
        scaled = round((self._index + min(1.0, share)) * self.RESOLUTION)
        self._reporter.progress(
            scaled, self._count * self.RESOLUTION, f"{self._prefix}{message}", **values
        )

    def log(self, message: str, level: str = "info") -> None:
        """Pass on a message with the part's name."""
        self._reporter.log(f"{self._prefix}{message}", level)

    def event(self, name: str, **payload: Any) -> None:
        """Pass on a notice."""
        self._reporter.event(name, **payload)

    def cancelled(self) -> bool:
        """Whether the whole should stop."""
        return self._reporter.cancelled()

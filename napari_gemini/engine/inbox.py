"""What the client's reading thread and its callers share about one child process.

It knows no client, so that a client that nobody holds any more can go.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO

from napari_gemini.engine.events import (
    FINAL_EVENTS,
    CancelledEvent,
    ErrorEvent,
    Event,
    LogEvent,
    ReadyEvent,
    parse_event,
)
from napari_gemini.engine.processes import describe_exit, kill_group
from napari_gemini.errors import EngineError

#: How many outcomes are kept for a late :meth:`EngineClient.wait`.
KEPT_OUTCOMES = 200
#: How much of the child's error stream goes into a crash report, in bytes.
REPORT_BYTES = 8192


class Inbox:
    """Events and jobs of one child process.

    Parameters
    ----------
    process
        The child.
    log_path
        Where its error stream goes.
    """

    def __init__(self, process: subprocess.Popen[bytes], log_path: Path) -> None:
        self.process = process
        self.log_path = log_path
        self.changed = threading.Condition()
        self.events: deque[Event] = deque()
        self.pending: dict[str, float | None] = {}
        self.outcomes: dict[str, Event] = {}
        self.waited: set[str] = set()
        self.ready: ReadyEvent | None = None
        self.ended = False
        self.killed = False

    def read(self, stream: IO[bytes]) -> None:
        """Take events until the child's stream ends; the reading thread runs this."""
        with contextlib.suppress(OSError, ValueError):
            for line in stream:
                try:
                    event = parse_event(line)
                except EngineError as error:
                    event = LogEvent(level="warning", message=str(error))
                self.put(event)
        code = self.process.wait()
        kill_group(self.process.pid)  # what a crashed child started must not stay
        with self.changed:
            for job_id, deadline in list(self.pending.items()):
                self.put(self._last_word(job_id, code, asked=deadline is not None))
            self.ended = True
            self.changed.notify_all()

    def expect(self, job_id: str) -> None:
        """Take in that a job was submitted, even to a child that died in this moment."""
        with self.changed:
            self.pending[job_id] = None
            if self.ended:
                self.put(self._last_word(job_id, self.process.wait(), asked=False))

    def _last_word(self, job_id: str, code: int, asked: bool) -> Event:
        if asked or self.killed:
            return CancelledEvent(job=job_id, killed=True)
        return ErrorEvent(
            job=job_id,
            message=(
                f"The engine stopped unexpectedly ({describe_exit(code)}); nothing that was "
                "finished is lost, start the job again."
            ),
            traceback=self.report(),
        )

    def put(self, event: Event) -> None:
        """File one event."""
        with self.changed:
            if isinstance(event, ReadyEvent):
                self.ready = event
            if isinstance(event, FINAL_EVENTS) and event.job in self.pending:
                del self.pending[event.job]
                self.outcomes[event.job] = event
                while len(self.outcomes) > KEPT_OUTCOMES:
                    del self.outcomes[next(iter(self.outcomes))]
            self.events.append(event)
            self.changed.notify_all()

    def take(self, wanted: Callable[[Event], bool]) -> list[Event]:
        """Take out the events that somebody wants, in order."""
        with self.changed:
            taken = [event for event in self.events if wanted(event)]
            if taken:
                kept = [event for event in self.events if not wanted(event)]
                self.events = deque(kept)
            return taken

    def report(self) -> str:
        """Return the end of what the child wrote to its error stream."""
        try:
            text = self.log_path.read_bytes()[-REPORT_BYTES:]
        except OSError:
            return ""
        return text.decode(errors="replace")

    def enforce_deadlines(self) -> None:
        """Kill the child when a job did not stop in time."""
        with self.changed:
            deadlines = [deadline for deadline in self.pending.values() if deadline is not None]
            due = bool(deadlines) and min(deadlines) <= time.monotonic()
        if due:
            kill_group(self.process.pid)

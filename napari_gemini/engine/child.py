"""Inside of the interactive child: jobs run one at a time on the main thread.

A second thread reads requests all the while, so that a running job can be asked to stop. Closing
the child's standard input ends it, after a short grace for the running job.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import FrameType
from typing import BinaryIO

from napari_gemini import __version__
from napari_gemini.engine.arrays import exchange
from napari_gemini.engine.dispatch import run_job
from napari_gemini.engine.events import (
    CancelledEvent,
    Event,
    ReadyEvent,
    ResultEvent,
    StartedEvent,
    format_event,
)
from napari_gemini.engine.failures import error_event
from napari_gemini.engine.interrupts import die_of
from napari_gemini.engine.jobs import Job, parse_job
from napari_gemini.engine.processes import kill_tree
from napari_gemini.engine.reporting import JsonLinesReporter
from napari_gemini.engine.requests import (
    MAX_LINE,
    Request,
    SubmitRequest,
    parse_request,
)
from napari_gemini.errors import EngineError
from napari_gemini.progress import Cancelled

#: Seconds that a running job has to stop after the client is gone.
GRACE = 5.0


class LineWriter:
    """Write whole lines to a file descriptor from any thread; a closed reader is no error.

    Parameters
    ----------
    descriptor
        Where to write.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._broken = False

    def __call__(self, line: str) -> None:
        """Write one line."""
        data = memoryview(line.encode() + b"\n")
        with self._lock:
            while data and not self._broken:
                try:
                    data = data[os.write(self._descriptor, data) :]
                except OSError:
                    # Nobody listens any more; standard input will end soon as well.
                    self._broken = True


@dataclass
class _Waiting:
    id: str
    job: Job
    cancel: threading.Event = field(default_factory=threading.Event)


class Child:
    """The interactive engine.

    Parameters
    ----------
    requests
        Lines of requests; its end ends the child.
    write_line
        Takes lines of events.
    grace
        Seconds that a running job has to stop after the end of the requests.
    """

    def __init__(
        self, requests: BinaryIO, write_line: Callable[[str], None], grace: float = GRACE
    ) -> None:
        self._requests = requests
        self._write_line = write_line
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._jobs: dict[str, _Waiting] = {}
        self._used: set[str] = set()
        self._lock = threading.Lock()
        self._running: _Waiting | None = None
        self._watchdog = _daemon_timer(grace, self._end_at_once)

    def run(self) -> None:
        """Serve until the requests end."""
        reader = threading.Thread(target=self._read, name="engine-requests", daemon=True)
        reader.start()
        self._emit(ReadyEvent(version=__version__, pid=os.getpid()))
        while (waiting := self._queue.get()) is not None:
            self._do(waiting)
        self._watchdog.cancel()

    def _emit(self, event: Event) -> None:
        self._write_line(format_event(event))

    # -- the main thread -----------------------------------------------------------------------

    def _do(self, waiting: _Waiting) -> None:
        self._running = waiting
        try:
            if waiting.cancel.is_set():
                raise Cancelled
            self._emit(StartedEvent(job=waiting.id, kind=waiting.job.kind, pid=os.getpid()))
            reporter = JsonLinesReporter(self._write_line, waiting.cancel, waiting.id)
            values = run_job(waiting.job, reporter)
            final: Event = ResultEvent(job=waiting.id, values=values)
        except Cancelled:
            final = CancelledEvent(job=waiting.id)
        except BaseException as error:
            # Even sys.exit() in a library ends the job and not the engine.
            final = error_event(error, waiting.id)
        self._running = None
        with self._lock:
            self._jobs.pop(waiting.id, None)
        self._emit(final)

    def interrupt(self, number: int, frame: FrameType | None = None) -> None:
        """Take SIGINT or SIGTERM: ask the running job first, end the second time or when idle."""
        running = self._running
        if running is None or running.cancel.is_set():
            die_of(number)
        else:
            running.cancel.set()

    # -- the reading thread --------------------------------------------------------------------

    def _read(self) -> None:
        try:
            while line := self._requests.readline(MAX_LINE + 1):
                self._take(line)
        except (OSError, ValueError):
            pass  # as good as its end
        self._close()

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        job_id: str | None = None
        try:
            if len(line) > MAX_LINE:
                self._skip_line(line)
                raise EngineError(f"The message is longer than {MAX_LINE} bytes; name files in it.")
            request = parse_request(line)
            job_id = getattr(request, "id", None)
            self._answer(request)
        except Exception as error:
            self._emit(error_event(error, job_id))

    def _skip_line(self, line: bytes) -> None:
        while line and not line.endswith(b"\n"):
            line = self._requests.readline(MAX_LINE)

    def _answer(self, request: Request) -> None:
        if isinstance(request, SubmitRequest):
            self._submit(request)
        else:
            self._cancel(request.id)

    def _submit(self, request: SubmitRequest) -> None:
        if request.id in self._used:
            raise EngineError(f"The id {request.id!r} was used before; choose a new one.")
        waiting = _Waiting(request.id, parse_job(request.job))
        self._used.add(request.id)
        with self._lock:
            self._jobs[request.id] = waiting
        self._queue.put(waiting)

    def _cancel(self, job_id: str | None) -> None:
        with self._lock:
            for waiting in self._jobs.values():
                if job_id in (None, waiting.id):
                    waiting.cancel.set()

    def _close(self) -> None:
        self._cancel(None)
        self._watchdog.start()
        self._queue.put(None)

    def _end_at_once(self) -> None:
        """End a job that does not listen, with everything it started."""
        exchange().remove()
        kill_tree(os.getpid())


def _daemon_timer(seconds: float, function: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, function)
    timer.daemon = True
    return timer


def serve(requests: BinaryIO, answers: int, grace: float = GRACE) -> int:
    """Run the interactive child until `requests` end (see :mod:`.streams`)."""
    child = Child(requests, LineWriter(answers), grace)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, child.interrupt)
    try:
        child.run()
    finally:
        exchange().remove()
        # A thread that some library left behind must not keep the process.
        _daemon_timer(grace, lambda: kill_tree(os.getpid())).start()
        with contextlib.suppress(OSError):
            sys.stderr.flush()
    return 0

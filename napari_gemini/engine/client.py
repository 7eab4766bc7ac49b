"""The client of the interactive child, for windows that must never freeze.

It needs the standard library and pydantic only. A window asks :meth:`EngineClient.poll` from a
timer or lets a worker thread :meth:`EngineClient.wait`; both may be used from several threads.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from napari_gemini.engine.arrays import ArrayExchange
from napari_gemini.engine.events import (
    ErrorEvent,
    Event,
    ReadyEvent,
    ResultEvent,
)
from napari_gemini.engine.failures import error_from_event
from napari_gemini.engine.inbox import Inbox
from napari_gemini.engine.jobs import Job
from napari_gemini.engine.processes import (
    engine_command,
    engine_environment,
    kill_group,
    session_options,
)
from napari_gemini.engine.requests import CancelRequest, SubmitRequest
from napari_gemini.errors import EngineError
from napari_gemini.progress import Cancelled

#: Seconds between asking a job to stop and killing the child.
KILL_AFTER = 5.0
#: The file of the error stream is emptied between jobs when it gets larger, in bytes.
_LOG_LIMIT = 4 << 20


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """End the child of a client that was dropped without being closed."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()


class EngineClient:
    """Start the engine's child, give it jobs and hear what they say.

    The child starts with the first job, or with :meth:`start` to have it warm, and again after a
    crash. Use the client as a context manager or :meth:`close` it.

    Parameters
    ----------
    python
        Interpreter of the child; the running one unless given.
    arguments
        More options of ``python -m napari_gemini.engine``.
    environment
        Variables to add to the child's environment.
    """

    def __init__(
        self,
        python: str | None = None,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._python = python
        self._arguments = tuple(arguments)
        self._environment = environment
        self._lock = threading.RLock()
        self._inbox: Inbox | None = None
        self._reader: threading.Thread | None = None
        self._exchange: ArrayExchange | None = None
        self._finalizer: weakref.finalize[..., EngineClient] | None = None
        self._backlog: deque[Event] = deque()
        self._outcomes: dict[str, Event] = {}

    def __enter__(self) -> EngineClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- the child -----------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether the child is alive."""
        inbox = self._inbox
        return inbox is not None and not inbox.ended and inbox.process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id of the child, None while there is none."""
        inbox = self._inbox
        return inbox.process.pid if inbox is not None and self.running else None

    @property
    def ready(self) -> ReadyEvent | None:
        """What the child said when it came up, None before."""
        return self._inbox.ready if self._inbox is not None else None

    def start(self) -> None:
        """Start the child unless it runs; it comes up in the background.

        A ping with ``devices=True`` right after it makes the child import torch before the first
        real job needs it.

        Raises
        ------
        EngineError
            If the interpreter cannot be started or no temporary folder can be made.
        """
        with self._lock:
            if self.running:
                return
            self._retire()
            if self._exchange is None:
                self._exchange = ArrayExchange()
            self._exchange.folder.mkdir(mode=0o700, exist_ok=True)
            inbox = Inbox(self._spawn(self._exchange.folder), self._log_path)
            assert inbox.process.stdout is not None
            self._inbox = inbox
            self._finalizer = weakref.finalize(self, _let_go, inbox.process)
            self._reader = threading.Thread(
                target=inbox.read, args=(inbox.process.stdout,), name="engine-events", daemon=True
            )
            self._reader.start()

    @property
    def _log_path(self) -> Path:
        assert self._exchange is not None
        return self._exchange.folder / "engine.log"

    def _spawn(self, folder: Path) -> subprocess.Popen[bytes]:
        command = engine_command("--exchange", str(folder), *self._arguments, python=self._python)
        # Appending, so that the file can be emptied while the child has it open.
        with self._log_path.open("ab") as log:
            try:
                return subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=engine_environment(self._python, self._environment),
                    **session_options(),
                )
            except OSError as error:
                raise EngineError(
                    f"The engine cannot be started with {command[0]} ({error.strerror}); choose "
                    "a Python that has napari-gemini."
                ) from error

    def _retire(self) -> None:
        """Put away what is left of a child that ended; its last events stay to be polled."""
        inbox, reader = self._inbox, self._reader
        if inbox is None or reader is None:
            return
        reader.join()
        self._backlog.extend(event for event in inbox.events if event.job not in inbox.waited)
        self._outcomes.update(inbox.outcomes)
        for stream in (inbox.process.stdin, inbox.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        if self._finalizer is not None:
            self._finalizer.detach()
        self._inbox = self._reader = self._finalizer = None

    def restart(self) -> None:
        """Kill the child, if there is one, and start another; its jobs count as cancelled."""
        self.kill()
        self.start()

    def kill(self) -> None:
        """End the child and everything it started, now; unfinished jobs count as cancelled."""
        with self._lock:
            if self._inbox is not None:
                self._inbox.killed = True
                kill_group(self._inbox.process.pid)
                self._retire()

    def close(self, timeout: float = 5.0) -> None:
        """End the child, politely for `timeout` seconds, and remove the arrays.

        Parameters
        ----------
        timeout
            Seconds that a running job has to stop.
        """
        with self._lock:
            if self._inbox is not None:
                self._inbox.killed = True
                _let_go(self._inbox.process)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._inbox.process.wait(timeout)
                kill_group(self._inbox.process.pid)
                self._retire()
            if self._exchange is not None:
                self._exchange.close()
                self._exchange = None

    # -- jobs ----------------------------------------------------------------------------------

    def submit(self, job: Job) -> str:
        """Queue a job, starting the child if need be, and return the job's id.

        Raises
        ------
        EngineError
            If the child cannot be started.
        """
        with self._lock:
            self.start()
            inbox = self._inbox
            assert inbox is not None
            self._trim_log(inbox)
            job_id = uuid.uuid4().hex
            inbox.expect(job_id)
            request = SubmitRequest(id=job_id, job=job.model_dump(mode="json"))
            self._send(inbox, request.model_dump_json())
            return job_id

    def _send(self, inbox: Inbox, line: str) -> None:
        stdin = inbox.process.stdin
        assert stdin is not None
        # A child that died in this moment is noticed by the reading thread.
        with contextlib.suppress(OSError, ValueError):
            stdin.write(line.encode() + b"\n")
            stdin.flush()

    def _trim_log(self, inbox: Inbox) -> None:
        with contextlib.suppress(OSError):
            if not inbox.pending and inbox.log_path.stat().st_size > _LOG_LIMIT:
                inbox.log_path.write_bytes(b"")

    def cancel(self, job_id: str | None = None, kill_after: float = KILL_AFTER) -> None:
        """Ask a job to stop (every job without an id); the child is killed if that does not help.

        Returns at once; :meth:`poll` and :meth:`wait` keep the deadline.

        Parameters
        ----------
        job_id
            What :meth:`submit` returned.
        kill_after
            Seconds to wait before the kill.
        """
        with self._lock:
            inbox = self._inbox
            if inbox is None or inbox.ended:
                return
            deadline = time.monotonic() + kill_after
            with inbox.changed:
                for pending in inbox.pending:
                    if job_id in (None, pending):
                        inbox.pending[pending] = deadline
            self._send(inbox, CancelRequest(id=job_id).model_dump_json())

    def poll(self) -> list[Event]:
        """Return what was said since the last call, without waiting.

        Events of jobs that another thread waits for are left to it.
        """
        inbox = self._inbox
        with self._lock:
            events = list(self._backlog)
            self._backlog.clear()
        if inbox is not None:
            inbox.enforce_deadlines()
            events += inbox.take(lambda event: event.job not in inbox.waited)
        return events

    def wait(
        self,
        job_id: str,
        timeout: float | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> dict[str, Any]:
        """Wait for a job and return its result.

        Parameters
        ----------
        job_id
            What :meth:`submit` returned.
        timeout
            Seconds; none waits for ever.
        on_event
            Called with each event of the job, in this thread.

        Raises
        ------
        Cancelled
            If the job was cancelled.
        GeminiError
            What the job failed with.
        EngineError
            If the child died, or the id is unknown.
        TimeoutError
            If the time is over; the job goes on.
        """
        until = None if timeout is None else time.monotonic() + timeout
        inbox = self._inbox
        if inbox is not None and (job_id in inbox.pending or job_id in inbox.outcomes):
            self._wait_in(inbox, job_id, until, on_event)
            return _value_of(inbox.outcomes[job_id])
        if job_id in self._outcomes:
            return _value_of(self._outcomes[job_id])
        raise EngineError(f"The engine knows no job {job_id!r}; submit it again.")

    def _wait_in(
        self,
        inbox: Inbox,
        job_id: str,
        until: float | None,
        on_event: Callable[[Event], None] | None,
    ) -> None:
        inbox.waited.add(job_id)
        try:
            while True:
                with inbox.changed:
                    finished = job_id not in inbox.pending
                    events = inbox.take(lambda event: event.job == job_id)
                    if not events and not finished:
                        inbox.changed.wait(_pause(until))
                for event in events:
                    if on_event is not None:
                        on_event(event)
                if finished and not events:
                    return
                inbox.enforce_deadlines()
                if not finished and until is not None and time.monotonic() > until:
                    raise TimeoutError(f"the job {job_id} is not finished")
        finally:
            inbox.waited.discard(job_id)

    def run(
        self,
        job: Job,
        timeout: float | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> dict[str, Any]:
        """Submit a job and wait for it; see :meth:`wait`."""
        return self.wait(self.submit(job), timeout, on_event)

    # -- arrays --------------------------------------------------------------------------------

    @property
    def arrays(self) -> ArrayExchange:
        """Arrays in results are opened and discarded here.

        Raises
        ------
        EngineError
            If the child was never started.
        """
        if self._exchange is None:
            raise EngineError("The engine was not started yet; submit a job first.")
        return self._exchange


def _pause(until: float | None) -> float:
    """Return how long to sleep before deadlines are looked at again."""
    pause = 0.1
    return pause if until is None else max(0.0, min(pause, until - time.monotonic()))


def _value_of(outcome: Event) -> dict[str, Any]:
    if isinstance(outcome, ResultEvent):
        return outcome.values
    if isinstance(outcome, ErrorEvent):
        raise error_from_event(outcome)
    raise Cancelled

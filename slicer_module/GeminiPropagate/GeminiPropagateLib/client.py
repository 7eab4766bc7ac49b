"""The client of the engine's child process: standard library alone, never blocks the window.

Call :meth:`EngineClient.poll` from a timer. Events are dictionaries as the engine's message schema
describes them; see ``engine-messages.schema.json`` of napari-gemini.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
import time
import uuid
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any

from GeminiPropagateLib.errors import INSTALL
from GeminiPropagateLib.processes import end_of_file, kill_tree, start_process, why_it_ended
from GeminiPropagateLib.translations import _

#: The version of the messages that this client speaks.
PROTOCOL = 1
FINAL_EVENTS = ("result", "cancelled", "error")
#: Kind of the error of an engine that never came up: no other job will do better.
START_ERROR = "StartError"
#: The same where installing napari-gemini would help.
MISSING_ERROR = "MissingEngineError"
#: Seconds that a child has to come up; slow network drives need some of them.
START_TIMEOUT = 180.0
_LONGEST_LINE = 4 << 20


class _Child:
    """One process and the lines it has said; a thread reads them."""

    def __init__(self, python: str, environment: Mapping[str, str] | None) -> None:
        descriptor, name = tempfile.mkstemp(prefix="gemini-engine-", suffix=".log")
        self.log = Path(name)
        # -P: a file torch.py in the current folder must not become the torch that is imported.
        command = [python, "-P", "-m", "napari_gemini.engine"]
        try:
            with os.fdopen(descriptor, "ab") as errors:
                self.process = start_process(command, environment, subprocess.PIPE, errors)
        except BaseException:
            self.log.unlink(missing_ok=True)
            raise
        assert self.process.stdout is not None
        self.started = time.monotonic()
        self.ready = False
        self.killed = False
        self.ended = False
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        threading.Thread(
            target=_read_lines, args=(self.process.stdout, self._lines), daemon=True
        ).start()

    def lines(self) -> Iterator[bytes]:
        """Yield what was said since the last call; sets `ended` after the last line."""
        with contextlib.suppress(Empty):
            while True:
                line = self._lines.get_nowait()
                if line is None:
                    self.ended = True
                    return
                yield line

    def say(self, message: Mapping[str, Any]) -> None:
        """Write one request; a child that died in this moment is noticed by its last line."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()

    def kill(self) -> None:
        """End it with everything it started."""
        kill_tree(self.process.pid)

    def put_away(self) -> str:
        """Release what is left of an ended child and return the end of its error stream."""
        self.process.wait()
        # What a crashed child started must not stay.
        kill_tree(self.process.pid)
        _close_quietly(self.process.stdin)
        _close_quietly(self.process.stdout)
        errors = end_of_file(self.log)
        with contextlib.suppress(OSError):
            self.log.unlink()
        return errors


class EngineClient:
    """Start the engine's child, give it jobs and hear what they say.

    The child starts with the first job, and again after a crash. One child runs many jobs one
    after the other, so a model is loaded once.

    Parameters
    ----------
    python
        Interpreter with napari-gemini: ``PythonSlicer`` or any other.
    environment
        The child's whole environment; give ``slicer.util.startupEnvironment()`` for an
        interpreter that is not Slicer's own. None: this process's.
    """

    def __init__(self, python: str, environment: Mapping[str, str] | None = None) -> None:
        self._python = python
        self._environment = environment
        self._child: _Child | None = None
        self._finalizer: weakref.finalize[..., EngineClient] | None = None
        self._pending: dict[str, float | None] = {}
        self._backlog: list[dict[str, Any]] = []

    @property
    def running(self) -> bool:
        """Whether the child is alive."""
        return self._child is not None and self._child.process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id of the child, None while there is none."""
        return self._child.process.pid if self._child is not None and self.running else None

    def start(self) -> None:
        """Start the child unless it runs.

        Raises
        ------
        PropagateError
            If the interpreter cannot be started.
        """
        if self.running:
            return
        self._drain()
        child = _Child(self._python, self._environment)
        self._child = child
        # A client that nobody holds any more, or the end of Slicer, ends the child.
        self._finalizer = weakref.finalize(self, _close_quietly, child.process.stdin)

    def submit(self, job: Mapping[str, Any]) -> str:
        """Queue a job, starting the child if need be, and return the job's id.

        Raises
        ------
        PropagateError
            If the interpreter cannot be started.
        """
        self.start()
        assert self._child is not None
        job_id = uuid.uuid4().hex
        self._pending[job_id] = None
        self._child.say({"request": "submit", "id": job_id, "job": dict(job)})
        return job_id

    def poll(self) -> list[dict[str, Any]]:
        """Return the events since the last call, at once.

        Every submitted job ends with one of ``result``, ``cancelled`` and ``error``, also when the
        child dies. What is no event (a library's print) comes as a ``log`` event of level debug.
        """
        self._enforce_deadlines()
        events = self._backlog + self._hear()
        self._backlog = []
        return events

    def cancel(self, job_id: str | None = None, kill_after: float = 5.0) -> None:
        """Ask a job to stop, every job without an id; later :meth:`poll` kills the child.

        Parameters
        ----------
        job_id
            What :meth:`submit` returned.
        kill_after
            Seconds that the job has to stop by itself.
        """
        deadline = time.monotonic() + kill_after
        for pending in self._pending:
            if job_id in (None, pending):
                self._pending[pending] = deadline
        if self._child is not None:
            self._child.say({"request": "cancel", "id": job_id})

    def kill(self) -> None:
        """End the child and everything it started, now; unfinished jobs count as cancelled."""
        if self._child is not None:
            self._child.killed = True
            self._child.kill()
            self._drain()

    def close(self, timeout: float = 2.0) -> None:
        """End the child, politely for `timeout` seconds; harmless when there is none."""
        if self._child is None:
            return
        self._child.killed = True
        _close_quietly(self._child.process.stdin)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.process.wait(timeout)
        self._child.kill()
        self._drain()

    # -- what the child says -------------------------------------------------------------------

    def _hear(self) -> list[dict[str, Any]]:
        child = self._child
        if child is None:
            return []
        events = []
        for line in child.lines():
            event = _parse(line)
            if event["event"] == "ready":
                child.ready = True
                if event.get("protocol") != PROTOCOL:
                    events += self._refuse(event)
                    return events
            if event["event"] in FINAL_EVENTS:
                self._pending.pop(str(event.get("job")), None)
            events.append(event)
        if child.ended:
            events += self._last_words(child)
            self._retire()
        return events

    def _last_words(self, child: _Child) -> list[dict[str, Any]]:
        """Make the final events of jobs that a dead child left unfinished."""
        code = child.process.wait()
        errors = end_of_file(child.log)
        events = []
        for job_id, deadline in self._pending.items():
            if child.killed or deadline is not None:
                events.append({"event": "cancelled", "job": job_id, "killed": True})
            else:
                reason = why_it_ended(self._python, code, errors)
                kind = "EngineError" if child.ready else START_ERROR
                if reason.step == INSTALL:
                    kind = MISSING_ERROR
                events.append(_error(job_id, str(reason), errors, kind))
        self._pending.clear()
        return events

    def _refuse(self, ready: Mapping[str, Any]) -> list[dict[str, Any]]:
        assert self._child is not None
        sentence = _(
            "The engine in {python} (napari-gemini {version}) speaks another language than "
            "this module; install the version that belongs to it."
        ).format(python=self._python, version=ready.get("version") or _("unknown"))
        events = [_error(job_id, sentence, kind=START_ERROR) for job_id in self._pending]
        self._pending.clear()
        self._child.kill()
        self._retire()
        return events

    def _enforce_deadlines(self) -> None:
        child = self._child
        if child is None:
            return
        now = time.monotonic()
        deadlines = [deadline for deadline in self._pending.values() if deadline is not None]
        if deadlines and min(deadlines) <= now:
            child.kill()
        if not child.ready and self._pending and now > child.started + START_TIMEOUT:
            sentence = _(
                "{python} does not answer as an engine; choose a Python that has napari-gemini."
            ).format(python=self._python)
            self._backlog += [_error(job, sentence, kind=START_ERROR) for job in self._pending]
            self._pending.clear()
            child.kill()

    def _drain(self) -> None:
        """Keep the last events of a killed child for the next poll."""
        child = self._child
        until = time.monotonic() + 2.0
        while child is not None and self._child is child and time.monotonic() < until:
            self._backlog += self._hear()
            time.sleep(0.005)
        if child is not None and self._child is child:
            # Somebody outside the group holds its output open.
            self._backlog += self._last_words(child)
            self._retire()

    def _retire(self) -> None:
        if self._child is None:
            return
        self._child.put_away()
        if self._finalizer is not None:
            self._finalizer.detach()
        self._child = self._finalizer = None


def _read_lines(stream: IO[bytes], lines: SimpleQueue[bytes | None]) -> None:
    with contextlib.suppress(OSError, ValueError):
        while line := stream.readline(_LONGEST_LINE):
            lines.put(line)
    lines.put(None)


def _parse(line: bytes) -> dict[str, Any]:
    """Read one line; what is no event becomes a message for the log."""
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if isinstance(event, dict) and isinstance(event.get("event"), str):
        return event
    text = line.decode(errors="replace").strip()[:500]
    return {"event": "log", "job": None, "level": "debug", "message": text}


def _error(
    job_id: str, sentence: str, details: str = "", kind: str = "EngineError"
) -> dict[str, Any]:
    return {
        "event": "error",
        "job": job_id,
        "kind": kind,
        "message": sentence,
        "traceback": details or None,
    }


def _close_quietly(stream: IO[bytes] | None) -> None:
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):
            stream.close()

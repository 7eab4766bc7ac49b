"""A propagation run from files to files: a state machine without Qt and without MRML.

Standard library alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from GeminiPropagateLib.client import MISSING_ERROR, START_ERROR, EngineClient
from GeminiPropagateLib.errors import COMPUTE, INSTALL, PropagateError
from GeminiPropagateLib.jobs import (
    AtlasFiles,
    PropagateOptions,
    RunLayout,
    TargetFile,
    propagate_job,
)
from GeminiPropagateLib.sentences import in_panel_words
from GeminiPropagateLib.translations import _

#: States of a run and of a target.
WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
FINAL_STATES = (DONE, FAILED, CANCELLED)


def status_in_words(status: str) -> str:
    """Return the status of a run or a target in the user's language."""
    words = {
        WAITING: _("waiting"),
        RUNNING: _("running"),
        DONE: _("done"),
        FAILED: _("failed"),
        CANCELLED: _("cancelled"),
    }
    return words[status]


@dataclass
class TargetState:
    """How one target is.

    Attributes
    ----------
    file
        The target.
    status
        ``waiting``, ``running``, ``done``, ``failed`` or ``cancelled``.
    fraction
        0 to 1.
    message
        What happens now, or one sentence why it failed.
    folders
        Folder of the results by atlas key, of the atlases that are finished.
    """

    file: TargetFile
    status: str = WAITING
    fraction: float = 0.0
    message: str = ""
    folders: dict[str, Path] = field(default_factory=dict)


@dataclass
class RunUpdate:
    """What :meth:`PropagationRun.poll` returns.

    Attributes
    ----------
    state
        ``waiting``, ``running``, ``done``, ``failed`` (no target is done) or ``cancelled``.
    fraction
        0 to 1, of the whole run.
    remaining
        Estimated seconds left, None while unknown.
    message
        What happens now.
    targets
        Every target in order.
    finished
        Targets that ended since the last call.
    log
        New lines for the log as (level, text).
    error, step
        One sentence when the run failed, and where it can be mended (see
        :class:`GeminiPropagateLib.errors.PropagateError`), else empty.
    """

    state: str
    fraction: float
    remaining: float | None
    message: str
    targets: list[TargetState]
    finished: list[TargetState] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)
    error: str = ""
    step: str = ""


class PropagationRun:
    """Carry the labels of one or several atlases to targets, one child process for all.

    One job for each target and atlas, targets first: a target with all its atlases is finished
    before the next begins, and one that fails does not stop the others. The child keeps the model
    between jobs.

    Parameters
    ----------
    python, environment
        As for :class:`GeminiPropagateLib.client.EngineClient`.
    atlases, targets
        Files.
    layout
        Where results go.
    options
        How to propagate.
    """

    def __init__(
        self,
        python: str,
        atlases: Sequence[AtlasFiles],
        targets: Sequence[TargetFile],
        layout: RunLayout,
        options: PropagateOptions | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._client = EngineClient(python, environment)
        self._atlases = list(atlases)
        self._layout = layout
        self._options = options or PropagateOptions()
        self._targets = [TargetState(target) for target in targets]
        self._queue = [(target, atlas) for target in self._targets for atlas in self._atlases]
        self._total = len(self._queue)
        self._failures: dict[str, list[str]] = {}
        self._state = WAITING
        self._error = self._step = ""
        self._message = ""
        self._cancelled = False
        self._job = ""
        self._job_started = 0.0
        self._job_remaining: float | None = None
        self._seconds: list[float] = []
        self._log: list[tuple[str, str]] = []
        self._finished: list[TargetState] = []

    @property
    def state(self) -> str:
        """``waiting``, ``running``, ``done``, ``failed`` or ``cancelled``."""
        return self._state

    @property
    def client(self) -> EngineClient:
        """The client, for the process id of the child."""
        return self._client

    def start(self) -> None:
        """Start the child and the first job.

        Raises
        ------
        PropagateError
            If the interpreter cannot be started.
        """
        self._state = RUNNING
        self._message = _("Starting the engine")
        try:
            self._next()
        except PropagateError:
            self._state = FAILED
            raise

    def poll(self) -> RunUpdate:
        """Take in what happened since the last call; call it from a timer (100 to 250 ms)."""
        if self._state == RUNNING:
            for event in self._client.poll():
                self._take(event)
        update = RunUpdate(
            state=self._state,
            fraction=self._fraction(),
            remaining=self._remaining(),
            message=self._message,
            targets=self._targets,
            finished=self._finished,
            log=self._log,
            error=self._error,
            step=self._step,
        )
        self._finished, self._log = [], []
        return update

    def cancel(self) -> None:
        """Ask the run to stop; the process tree is killed when it does not. Keep polling."""
        if self._state == RUNNING and not self._cancelled:
            self._cancelled = True
            self._message = _("Stopping")
            self._client.cancel()

    def close(self) -> None:
        """End the child, now if it works; what was not finished counts as cancelled."""
        if self._state == RUNNING:
            self._client.kill()
            self._end_cancelled()
        self._client.close()

    # -- jobs ----------------------------------------------------------------------------------

    def _next(self) -> None:
        if not self._queue:
            self._end()
            return
        target, atlas = self._queue[0]
        target.status = RUNNING
        out = self._layout.results_of(atlas.key)
        self._job_started, self._job_remaining = time.monotonic(), None
        self._job = self._client.submit(propagate_job(atlas, target.file, out, self._options))

    def _take(self, event: Mapping[str, Any]) -> None:
        kind, about_us = event["event"], event.get("job") == self._job
        if kind == "log":
            self._say(str(event.get("level", "info")), str(event.get("message", "")))
        elif kind == "progress" and about_us:
            self._progress(event)
        elif kind == "result" and about_us:
            self._take_result(event.get("values") or {})
        elif kind == "error":
            self._take_error(event, about_us)
        elif kind == "cancelled" and about_us:
            self._end_cancelled()

    def _say(self, level: str, text: str) -> None:
        self._log.append((level, in_panel_words(text)))

    def _progress(self, event: Mapping[str, Any]) -> None:
        target = self._queue[0][0]
        total = event.get("total") or 1
        share = min(1.0, float(event.get("done") or 0) / float(total))
        target.fraction = (self._jobs_done(target) + share) / len(self._atlases)
        self._job_remaining = event.get("remaining")
        if not self._cancelled:
            target.message = self._message = self._without_keys(str(event.get("message", "")))

    def _without_keys(self, message: str) -> str:
        """Show the target by its name in the scene instead of by its file's."""
        target = self._queue[0][0].file
        return message.replace(f"{target.key}: ", f"{target.name}: ", 1)

    def _take_result(self, values: Mapping[str, Any]) -> None:
        target, atlas = self._queue[0]
        failed = values.get("failed") or {}
        if failed:
            self._job_failed(next(iter(failed.values())))
            return
        key = next(iter(values.get("targets") or {}), target.file.key)
        target.folders[atlas.key] = self._layout.results_of(atlas.key) / key
        self._job_ended()

    def _take_error(self, event: Mapping[str, Any], about_us: bool) -> None:
        sentence = str(event.get("message", _("The engine failed without a word.")))
        if event.get("traceback"):
            self._log.append(("debug", str(event["traceback"])))
        if not about_us:
            self._say("error", sentence)
        elif event.get("kind") in (START_ERROR, MISSING_ERROR):
            self._step = INSTALL if event["kind"] == MISSING_ERROR else COMPUTE
            self._end_failed(in_panel_words(sentence))
        else:
            self._job_failed(sentence)

    def _job_failed(self, sentence: object) -> None:
        target, atlas = self._queue[0]
        sentence = in_panel_words(str(sentence))
        self._failures.setdefault(target.file.key, []).append(sentence)
        self._say(
            "error",
            _("{target} with atlas {atlas}: {sentence}").format(
                target=target.file.name, atlas=atlas.name, sentence=sentence
            ),
        )
        self._job_ended()

    def _job_ended(self) -> None:
        target = self._queue.pop(0)[0]
        self._seconds.append(time.monotonic() - self._job_started)
        if not any(waiting is target for waiting, _atlas in self._queue):
            self._target_ended(target)
        if self._cancelled:
            self._end_cancelled()
        else:
            self._next()

    def _target_ended(self, target: TargetState) -> None:
        failures = self._failures.get(target.file.key, [])
        target.status, target.fraction = (DONE if target.folders else FAILED), 1.0
        target.message = failures[0] if failures else ""
        if failures and target.folders:
            target.message = _("{failures} of {atlases} atlases failed: {sentence}").format(
                failures=len(failures), atlases=len(self._atlases), sentence=failures[0]
            )
        self._finished.append(target)

    # -- ends ----------------------------------------------------------------------------------

    def _end(self) -> None:
        done = [target for target in self._targets if target.status == DONE]
        if done:
            self._state = DONE
            self._message = _("{done} of {targets} targets are finished").format(
                done=len(done), targets=len(self._targets)
            )
        else:
            self._state = FAILED
            self._error = self._message = next(
                (target.message for target in self._targets), _("There is nothing to do.")
            )
        self._client.close()

    def _end_failed(self, sentence: str) -> None:
        self._close_targets(FAILED, sentence)
        self._state, self._error, self._message = FAILED, sentence, sentence
        self._say("error", sentence)
        self._client.close()

    def _end_cancelled(self) -> None:
        self._close_targets(CANCELLED, _("Cancelled"))
        self._state, self._message = CANCELLED, _("Cancelled")
        self._client.close()

    def _close_targets(self, status: str, message: str) -> None:
        self._queue.clear()
        for target in self._targets:
            if target.status not in FINAL_STATES:
                target.status, target.message = status, message
                self._finished.append(target)

    # -- numbers -------------------------------------------------------------------------------

    def _jobs_done(self, target: TargetState) -> int:
        return len(target.folders) + len(self._failures.get(target.file.key, []))

    def _fraction(self) -> float:
        if self._state == DONE:
            return 1.0
        return sum(target.fraction for target in self._targets) / max(1, len(self._targets))

    def _remaining(self) -> float | None:
        """Estimate the seconds left from the jobs so far and the engine's own estimate."""
        if self._state != RUNNING or not self._queue:
            return None
        spent = time.monotonic() - self._job_started
        typical = sum(self._seconds) / len(self._seconds) if self._seconds else None
        now = self._job_remaining
        if typical is None:
            return None if now is None else now + (spent + now) * (len(self._queue) - 1)
        now = max(0.0, typical - spent) if now is None else now
        return now + typical * (len(self._queue) - 1)

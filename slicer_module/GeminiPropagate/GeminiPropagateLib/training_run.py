"""A detached training: started through the engine's command, followed through its run folder.

The training outlives Slicer. Its run folder is all that connects the two: ``events.jsonl`` says
what happens, a file named ``stop`` asks it to end, ``lock`` is renewed every few seconds while it
lives. Standard library alone.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from GeminiPropagateLib.command_run import CommandRun
from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.sentences import in_panel_words
from GeminiPropagateLib.translations import _

STARTING, RUNNING, STOPPING = "starting", "running", "stopping"
STOPPED, FINISHED, FAILED, INTERRUPTED = "stopped", "finished", "failed", "interrupted"
FINAL_STATES = (STOPPED, FINISHED, FAILED, INTERRUPTED)
_STATE_AFTER = {"result": FINISHED, "cancelled": STOPPED, "error": FAILED}
#: A training whose lock was not renewed for this long (seconds) is dead.
SILENT_SECONDS = 60.0
_RUN_PREFIX = "slicer"
#: What the progress of training steps says.
_TRAINING = "training"


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    Attributes
    ----------
    preset
        ``quick``, ``standard`` or ``paper``.
    steps
        None: the preset's.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    init
        Model whose weights the training starts from; None: from random ones.
    assignments
        Other settings as ``KEY=VALUE``.
    """

    preset: str = "quick"
    steps: int | None = None
    device: str = "auto"
    init: str | None = None
    assignments: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """Return the options of ``napari-gemini train``."""
        words = ["--preset", self.preset, "--device", self.device]
        if self.steps is not None:
            words += ["--steps", str(self.steps)]
        if self.init:
            words += ["--init", self.init]
        for assignment in self.assignments:
            words += ["--set", assignment]
        return words


@dataclass
class TrainingUpdate:
    """What :meth:`TrainingRun.poll` returns.

    Attributes
    ----------
    state
        ``starting``, ``running``, ``stopping``, ``stopped``, ``finished``, ``failed`` or
        ``interrupted`` (its process was killed; it can be resumed).
    step, steps
        0 while unknown.
    remaining
        Estimated seconds left, None while unknown.
    values
        Newest numbers, such as losses.
    history
        (step, values) since the last call.
    log
        New lines as (level, text).
    error, mend
        One sentence when it failed, and where it can be mended (see
        :class:`GeminiPropagateLib.errors.PropagateError`), else empty.
    """

    state: str
    step: int = 0
    steps: int = 0
    remaining: float | None = None
    values: dict[str, float] = field(default_factory=dict)
    history: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)
    error: str = ""
    mend: str = ""


class EventTail:
    """Read the events of a growing ``events.jsonl`` from where the last reading ended.

    Half a line at the end is left for the next reading; lines that are no events are skipped.

    Parameters
    ----------
    path
        The file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[dict[str, Any]]:
        """Return the events that were completed since the last call."""
        try:
            with self._path.open("rb") as stream:
                if os.fstat(stream.fileno()).st_size < self._offset:
                    self._offset = 0
                stream.seek(self._offset)
                data = stream.read()
        except OSError:
            return []
        complete = data[: data.rfind(b"\n") + 1]
        self._offset += len(complete)
        events = []
        for line in complete.splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and isinstance(event.get("event"), str):
                events.append(event)
        return events


class TrainingRun:
    """Start, follow, stop and resume a training of a study; it outlives this process.

    Parameters
    ----------
    python, environment
        As for :class:`GeminiPropagateLib.client.EngineClient`.
    study
        Folder of the study.
    run
        Name of the run; None: the next free name.
    """

    def __init__(
        self,
        python: str,
        study: Path,
        run: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._python = python
        self._environment = environment
        self._study = Path(study)
        self._name = run or _free_name(self._study)
        self._command: CommandRun | None = None
        self._tail = EventTail(self.folder / "events.jsonl")
        self._now = TrainingUpdate(STARTING)
        self._ended = False

    @property
    def name(self) -> str:
        """Name of the run."""
        return self._name

    @property
    def folder(self) -> Path:
        """The run folder, which is also a model once there is a checkpoint."""
        return self._study / "runs" / self._name

    @property
    def has_model(self) -> bool:
        """Whether a checkpoint can label scans."""
        return any((self.folder / name).is_file() for name in ("best.json", "last.json"))

    def start(self, options: TrainOptions) -> None:
        """Start the training in the background.

        Raises
        ------
        PropagateError
            If the interpreter cannot be started.
        """
        self._begin(options.arguments())

    def resume(self, device: str = "auto") -> None:
        """Go on from the last checkpoint; a training that still runs is followed.

        Raises
        ------
        PropagateError
            If the interpreter cannot be started.
        """
        for event in self._tail.read():
            self._take(event)
        if self._now.state in (RUNNING, STOPPING) and self._alive():
            # From its beginning, so that the whole curve is there.
            self._tail = EventTail(self.folder / "events.jsonl")
            self._now = TrainingUpdate(STARTING)
            return
        self._begin(["--resume", "--device", device])

    def _begin(self, options: list[str]) -> None:
        # How an earlier session ended says nothing about the one that begins.
        for event in self._tail.read():
            self._take(event)
        words = ["train", str(self._study), "--run", self._name, "--detach", *options]
        self._command = CommandRun(self._python, words, self._environment)
        self._now = TrainingUpdate(STARTING, self._now.step, self._now.steps)
        self._ended = False

    def stop(self) -> None:
        """Ask it to write a checkpoint and end (through the run folder's stop file).

        Raises
        ------
        PropagateError
            If the run folder cannot be written to.
        """
        if self._now.state not in (STARTING, RUNNING):
            return
        if self._command is not None:
            # It removes old stop files when it begins; the wish is granted after that.
            self._now.state = STOPPING
            return
        self._ask_to_stop()
        self._now.state = STOPPING

    def _ask_to_stop(self) -> None:
        try:
            (self.folder / "stop").touch()
        except OSError as error:
            raise PropagateError(
                _("The training in {folder} cannot be asked to stop ({strerror}).").format(
                    folder=self.folder, strerror=error.strerror
                )
            ) from error

    def poll(self) -> TrainingUpdate:
        """Take in what happened since the last call; call it from a timer.

        A run that another program started is followed as well: make the object with its name and
        poll.
        """
        self._now.history, self._now.log = [], []
        if self._command is not None:
            self._wait_for_start()
        # Asked before reading: what is written before the end is then read below.
        alive = self._alive()
        for event in self._tail.read():
            self._take(event)
        following = self._command is None and self._now.state in (STARTING, RUNNING, STOPPING)
        if following and not alive:
            self._now.state = INTERRUPTED
            self._now.error = _("The training was killed; resume it from its last checkpoint.")
        return self._now

    def _wait_for_start(self) -> None:
        assert self._command is not None
        try:
            answer = self._command.poll()
        except PropagateError as error:
            self._command = None
            self._now.state, self._now.error = FAILED, in_panel_words(str(error))
            self._now.mend = error.step
            return
        if answer is not None:
            self._command = None
            if self._now.state == STOPPING:
                self._ask_to_stop()

    def _alive(self) -> bool:
        try:
            age = time.time() - (self.folder / "lock").stat().st_mtime
        except OSError:
            return False
        return age < SILENT_SECONDS

    def _take(self, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        now = self._now
        if kind == "started":
            now.state = STOPPING if now.state == STOPPING else RUNNING
            now.error = ""
        elif kind == "progress":
            self._take_progress(event)
        elif kind == "log":
            text = in_panel_words(str(event.get("message", "")))
            now.log.append((str(event.get("level", "info")), text))
        elif kind in _STATE_AFTER:
            now.state, now.remaining = _STATE_AFTER[kind], None
            if kind == "error":
                now.error = in_panel_words(str(event.get("message", "")))

    def _take_progress(self, event: Mapping[str, Any]) -> None:
        now = self._now
        done, total = event.get("done"), event.get("total")
        if event.get("message") != _TRAINING:
            return  # of reading the scans
        values = {
            key: float(value)
            for key, value in (event.get("values") or {}).items()
            if isinstance(value, int | float)
        }
        now.step = int(done) if isinstance(done, int | float) else now.step
        now.steps = int(total) if isinstance(total, int | float) else now.steps
        now.remaining = event.get("remaining")
        if values:
            now.values = values
            now.history.append((now.step, values))


def state_in_words(state: str) -> str:
    """Return a state in the user's language."""
    words = {
        STARTING: _("starting"),
        RUNNING: _("running"),
        STOPPING: _("stopping"),
        STOPPED: _("stopped"),
        FINISHED: _("finished"),
        FAILED: _("failed"),
        INTERRUPTED: _("interrupted"),
    }
    return words.get(state, state)


def trainings_of_study(study: Path) -> list[str]:
    """Return the names of the runs of a study, newest first."""
    begun = list((Path(study) / "runs").glob("*/config.json"))
    begun.sort(key=lambda path: -path.stat().st_mtime)
    return [path.parent.name for path in begun]


def _free_name(study: Path) -> str:
    pattern = re.compile(rf"{_RUN_PREFIX}-(\d+)")
    runs = study / "runs"
    names = [path.name for path in runs.iterdir()] if runs.is_dir() else []
    numbers = [int(found.group(1)) for name in names if (found := pattern.fullmatch(name))]
    return f"{_RUN_PREFIX}-{max(numbers, default=0) + 1}"

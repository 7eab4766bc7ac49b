"""A training run's folder: all that a run shares with whoever starts, follows or stops it.

``config.json`` says what runs and all that is needed to repeat it, ``events.jsonl`` and ``log.txt``
what happens, ``lock`` who owns the folder, a file named ``stop`` asks the owner to end. Checkpoints
lie in ``checkpoints/`` and belong to :mod:`napari_gemini.learning.checkpoints`.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from napari_gemini.engine.event_log import EventTail, append_event, append_line, last_events
from napari_gemini.engine.events import (
    FINAL_EVENTS,
    CancelledEvent,
    ErrorEvent,
    Event,
    LogEvent,
    ResultEvent,
    StartedEvent,
)
from napari_gemini.engine.jobs import TrainJob, parse_job
from napari_gemini.engine.plain import to_plain
from napari_gemini.engine.reporting import EventReporter
from napari_gemini.errors import EngineError, InputError
from napari_gemini.settings import complete_layout
from napari_gemini.study.lock import FolderLock, LockedError, living_owner
from napari_gemini.study.processes import ProcessIdentity
from napari_gemini.volumes.atomic import explain_write_error, write_json_atomic

RUN_SCHEMA = 1
#: Seconds between two looks for the stop file.
STOP_INTERVAL = 0.2

RunState = Literal["new", "running", "finished", "stopped", "failed", "interrupted"]


class RunFolder:
    """The files of one run.

    Parameters
    ----------
    path
        The folder; ``study/runs/<run>`` as a rule.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(os.path.abspath(path))
        self.name = self.path.name
        self.config_path = self.path / "config.json"
        self.events_path = self.path / "events.jsonl"
        self.log_path = self.path / "log.txt"
        self.stop_path = self.path / "stop"
        self.lock_path = self.path / "lock"
        self.checkpoints_path = self.path / "checkpoints"

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def exists(self) -> bool:
        """Whether a run was ever begun here."""
        return self.config_path.is_file()

    def failed_at_once(self) -> bool:
        """Whether a run failed here before it trained at all, so that its name is free again.

        Raises
        ------
        InputError
            If its configuration is damaged.
        """
        return self.exists and self.state() == "failed" and "data_sha256" not in self.read_config()

    def make(self) -> None:
        """Make the folder with its parents; an existing one is fine.

        Raises
        ------
        InputError, EngineError
            If it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain_write_error(error, self.path) from error

    # -- config.json -------------------------------------------------------------------------

    def read_config(self) -> dict[str, Any]:
        """Return the configuration.

        Raises
        ------
        InputError
            If there is none, it is damaged or of a newer version.
        """
        try:
            config = json.loads(self.config_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(
                f"{self.path} is no run folder (it has no config.json); give a folder below the "
                "study's runs."
            ) from None
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.config_path} cannot be read ({error}); restore it or start a new run."
            ) from error
        version = config.get("schema_version") if isinstance(config, dict) else None
        if not isinstance(version, int):
            raise InputError(
                f"{self.config_path} has no schema version; restore it or start a new run."
            )
        if version > RUN_SCHEMA:
            raise InputError(
                f"The run {self.path} was written by a newer napari-gemini (schema {version}, this "
                f"one knows {RUN_SCHEMA}); update napari-gemini to use it."
            )
        return config

    def write_config(self, job: TrainJob, **sections: Any) -> None:
        """Write ``config.json`` for a new run.

        Parameters
        ----------
        job
            What runs, with the run's name.
        **sections
            What else is needed to repeat it: ``provenance``, ``data``, ...
        """
        self._save_config({"job": job.model_dump(mode="json"), **sections})

    def update_config(self, **sections: Any) -> None:
        """Add or replace sections of ``config.json``; the rest stays as it is."""
        self._save_config({**self.read_config(), **sections})

    def _save_config(self, config: dict[str, Any]) -> None:
        plain = to_plain({**config, "schema_version": RUN_SCHEMA})
        write_json_atomic(self.config_path, plain)

    def read_job(self) -> TrainJob:
        """Return the job that the run was started with.

        Raises
        ------
        InputError
            If the configuration cannot be used.
        """
        stored = self.read_config().get("job")
        settings = stored.get("settings") if isinstance(stored, dict) else None
        if isinstance(settings, dict) and "network" in settings:
            settings["network"] = complete_layout(settings["network"])
        job = parse_job(stored)
        if not isinstance(job, TrainJob):
            raise InputError(f"The run {self.path} is no training; give another run folder.")
        return job

    # -- events.jsonl and log.txt ------------------------------------------------------------

    def append(self, event: Event) -> None:
        """Append an event; messages and errors also go to ``log.txt``."""
        append_event(self.events_path, event)
        if isinstance(event, LogEvent):
            self._write_log(event.time, event.level, event.message)
        elif isinstance(event, ErrorEvent):
            self._write_log(event.time, "error", event.message)
            if event.traceback:
                append_line(self.log_path, event.traceback.rstrip())

    def _write_log(self, moment: float, level: str, message: str) -> None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
        append_line(self.log_path, f"{stamp}  {level.upper():7}  {message}")

    def tail(self) -> EventTail:
        """Return a reader that gives the events so far and then the new ones."""
        return EventTail(self.events_path)

    def follow(self, interval: float = 0.2) -> Iterator[Event]:
        """Yield every event, those so far first, until the run has ended.

        Parameters
        ----------
        interval
            Seconds between two looks at the file.
        """
        tail = self.tail()
        while True:
            # Asked before reading: what is written before the end is then read below.
            running = self.state() == "running"
            yield from tail.read()
            if not running:
                return
            time.sleep(interval)

    # -- stop --------------------------------------------------------------------------------

    def request_stop(self) -> None:
        """Ask the run's owner to write a checkpoint and end."""
        self.stop_path.touch()

    def clear_stop(self) -> None:
        """Take back the wish to stop."""
        self.stop_path.unlink(missing_ok=True)

    def stop_requested(self) -> bool:
        """Whether somebody asked the run to end."""
        return self.stop_path.exists()

    # -- lock and state ----------------------------------------------------------------------

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Own the run while the block runs; the lock dies with its owner.

        Raises
        ------
        EngineError
            If another process owns the run.
        """
        lock = FolderLock(self.lock_path, purpose="training")
        try:
            lock.acquire()
        except LockedError:
            raise self._already_running() from None
        with lock:
            yield

    def refuse_if_running(self) -> None:
        """Raise the error of :meth:`lock` without taking the lock.

        Raises
        ------
        EngineError
            If a process owns the run.
        """
        if self.owner() is not None:
            raise self._already_running()

    def _already_running(self) -> EngineError:
        owner = self.owner()
        who = f" (process {owner.pid} on {owner.host})" if owner is not None else ""
        return EngineError(
            f"The run {self.name} is already running{who}; follow it, stop it or choose another "
            "--run name."
        )

    def owner(self) -> ProcessIdentity | None:
        """Return who runs it now, None when nobody does."""
        return living_owner(self.lock_path)

    def state(self) -> RunState:
        """Return how the run is, also after its process was killed."""
        if self.owner() is not None:
            return "running"
        for event in reversed(last_events(self.events_path)):
            if isinstance(event, StartedEvent):
                return "interrupted"
            if isinstance(event, FINAL_EVENTS):
                return _state_after(event)
        return "interrupted" if self.events_path.exists() else "new"

    def last_final_event(self) -> Event | None:
        """Return the event that the run ended with, None while it runs or after a kill."""
        for event in reversed(last_events(self.events_path)):
            if isinstance(event, StartedEvent):
                return None
            if isinstance(event, FINAL_EVENTS):
                return event
        return None


def _state_after(event: Event) -> RunState:
    if isinstance(event, ResultEvent):
        return "finished"
    return "stopped" if isinstance(event, CancelledEvent) else "failed"


class RunFolderReporter(EventReporter):
    """Report into a run folder and stop when its ``stop`` file appears.

    Parameters
    ----------
    folder
        Where events and messages go.
    cancel
        A second way to ask for the end (a signal).
    """

    def __init__(self, folder: RunFolder, cancel: threading.Event | None = None) -> None:
        super().__init__(folder.append, cancel)
        self._folder = folder
        self._next_look = 0.0

    def cancelled(self) -> bool:
        """Whether the stop file is there or the other way was taken."""
        if super().cancelled():
            return True
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + STOP_INTERVAL
            if self._folder.stop_requested():
                self._cancel.set()
        return self._cancel.is_set()

"""Small helpers of the engine's tests."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_gemini.engine.events import Event
from napari_gemini.engine.reporting import EventReporter
from napari_gemini.progress import SilentReporter
from napari_gemini.study.processes import _exists

REPOSITORY = Path(__file__).resolve().parents[2]
IMPORT_FAKES = ("--import", "tests.engine.fake_tasks")


def wait_until(condition: Callable[[], Any], timeout: float = 20.0) -> Any:
    """Return the condition's first true value."""
    until = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError("it did not happen in time")
        time.sleep(0.01)


def lives(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    return _exists(pid)


class Recorder(EventReporter):
    """A reporter that keeps its events."""

    def __init__(self, cancel_after: int | None = None) -> None:
        super().__init__(self._keep, quiet_interval=0.0)
        self.events: list[Event] = []
        self._cancel_after = cancel_after

    def _keep(self, event: Event) -> None:
        self.events.append(event)
        if self._cancel_after is not None and len(self.events) >= self._cancel_after:
            self._cancel.set()

    def stop(self) -> None:
        self._cancel.set()

    def named(self, name: str) -> list[Any]:
        return [event for event in self.events if event.event == name]


def environment(**extra: str) -> dict[str, str]:
    """Return an environment in which a plain Python finds the repository."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), **extra}


class Warnings(SilentReporter):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def log(self, message: str, level: str = "info") -> None:
        if level == "warning":
            self.texts.append(message)

"""The client of the engine's child process: standard library alone, never blocks the window.

Call :meth:`EngineClient.poll` from a timer. Events are dictionaries as the engine's message schema
describes them; see ``engine-messages.schema.json`` of napari-gemini.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
        raise NotImplementedError

    @property
    def running(self) -> bool:
        """Whether the child is alive."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the child unless it runs.

        Raises
        ------
        PropagateError
            If the interpreter cannot be started.
        """
        raise NotImplementedError

    def submit(self, job: Mapping[str, Any]) -> str:
        """Queue a job, starting the child if need be, and return the job's id."""
        raise NotImplementedError

    def poll(self) -> list[dict[str, Any]]:
        """Return the events since the last call, at once.

        Every submitted job ends with one of ``result``, ``cancelled`` and ``error``, also when the
        child dies. What is no event (a library's print) comes as a ``log`` event of level debug.
        """
        raise NotImplementedError

    def cancel(self, job_id: str | None = None, kill_after: float = 5.0) -> None:
        """Ask a job to stop, every job without an id; :meth:`poll` kills the child after a while."""
        raise NotImplementedError

    def kill(self) -> None:
        """End the child and everything it started, now."""
        raise NotImplementedError

    def close(self, timeout: float = 2.0) -> None:
        """End the child, politely for `timeout` seconds; harmless when there is none."""
        raise NotImplementedError

"""One command of ``napari-gemini`` in the background, its answer read as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class CommandRun:
    """Run ``python -m napari_gemini.cli ARGUMENTS --json`` without blocking.

    Parameters
    ----------
    python, environment
        As for :class:`GeminiPropagateLib.client.EngineClient`.
    arguments
        Command and options, without ``--json``.
    """

    def __init__(
        self, python: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        raise NotImplementedError

    def poll(self) -> dict[str, Any] | None:
        """Return the answer when the command has ended, None before.

        Raises
        ------
        PropagateError
            What the command failed with.
        """
        raise NotImplementedError

    def wait(self, timeout: float | None = None) -> dict[str, Any]:
        """Wait for the answer; for tests and scripts."""
        raise NotImplementedError

    def kill(self) -> None:
        """End the command and what it started."""
        raise NotImplementedError

"""How long work tells about itself and learns that it should stop.

Networks, correspondence and learning report through :class:`Reporter`; the engine, the command line
and tests supply implementations. Nothing here knows who listens.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


class Cancelled(Exception):
    """Raised by work that stopped because it was asked to."""


@runtime_checkable
class Reporter(Protocol):
    """Receiver of progress, messages and results of one job."""

    def progress(self, done: int, total: int, message: str = "", **values: float) -> None:
        """Say that `done` of `total` units are finished; `values` are numbers worth plotting."""

    def log(self, message: str, level: str = "info") -> None:
        """Say one sentence (`level`: debug, info, warning or error)."""

    def event(self, name: str, **payload: Any) -> None:
        """Announce something a program may act on, with a JSON-ready payload."""

    def cancelled(self) -> bool:
        """Whether the work should stop at the next safe point."""


class SilentReporter:
    """A reporter that listens to nothing and never cancels."""

    def progress(self, done: int, total: int, message: str = "", **values: float) -> None:
        """Ignore progress."""

    def log(self, message: str, level: str = "info") -> None:
        """Ignore a message."""

    def event(self, name: str, **payload: Any) -> None:
        """Ignore an event."""

    def cancelled(self) -> bool:
        """Return False: nobody can cancel."""
        return False


def stop_if_cancelled(reporter: Reporter) -> None:
    """Raise :class:`Cancelled` when the reporter asks to stop.

    Raises
    ------
    Cancelled
        If ``reporter.cancelled()`` is true.
    """
    if reporter.cancelled():
        raise Cancelled

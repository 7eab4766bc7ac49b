"""A propagation run from files to files: a state machine without Qt and without MRML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from GeminiPropagateLib.jobs import AtlasFiles, PropagateOptions, RunLayout, TargetFile

#: States of a run and of a target.
WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"


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
    error
        One sentence when the run failed, else empty.
    """

    state: str
    fraction: float
    remaining: float | None
    message: str
    targets: list[TargetState]
    finished: list[TargetState] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)
    error: str = ""


class PropagationRun:
    """Carry the labels of one or several atlases to targets, one child process for all.

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
        raise NotImplementedError

    def start(self) -> None:
        """Start the child and queue everything.

        Raises
        ------
        PropagateError
            If the interpreter cannot be started.
        """
        raise NotImplementedError

    def poll(self) -> RunUpdate:
        """Take in what happened since the last call; call it from a timer (100 to 250 ms)."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Ask the run to stop; the process tree is killed when it does not. Keep polling."""
        raise NotImplementedError

    def close(self) -> None:
        """End the child at once if it still runs."""
        raise NotImplementedError

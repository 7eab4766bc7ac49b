"""A detached training: started through the engine's command, followed through its run folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class TrainOptions:
    """How to train: preset ``quick``, ``standard`` or ``paper``; `steps` None: the preset's."""

    preset: str = "quick"
    steps: int | None = None
    device: str = "auto"
    init: str | None = None
    assignments: tuple[str, ...] = ()


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
    error
        One sentence when it failed, else empty.
    """

    state: str
    step: int = 0
    steps: int = 0
    remaining: float | None = None
    values: dict[str, float] = field(default_factory=dict)
    history: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)
    error: str = ""


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
        raise NotImplementedError

    @property
    def folder(self) -> Path:
        """The run folder, which is also a model once there is a checkpoint."""
        raise NotImplementedError

    def start(self, options: TrainOptions) -> None:
        """Start the training in the background."""
        raise NotImplementedError

    def resume(self, device: str = "auto") -> None:
        """Go on from the last checkpoint."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ask it to write a checkpoint and end (through the run folder's stop file)."""
        raise NotImplementedError

    def poll(self) -> TrainingUpdate:
        """Take in what happened since the last call; call it from a timer."""
        raise NotImplementedError


def trainings_of_study(study: Path) -> list[str]:
    """Return the names of the runs of a study, newest first."""
    raise NotImplementedError

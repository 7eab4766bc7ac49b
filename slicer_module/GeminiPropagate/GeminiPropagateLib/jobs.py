"""Jobs for the engine as plain dictionaries, and where a run's files lie. Standard library alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PropagateOptions:
    """How labels are propagated.

    Attributes
    ----------
    model
        Name of a shipped model, a folder with a model, ``none`` for refinement on the images
        alone, or None for what the engine chooses for the scans.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    refine
        Refinement steps; None: what suits the model.
    spacing
        Of the grid to compute on in mm; None: what suits the scans.
    """

    model: str | None = None
    device: str = "auto"
    refine: int | None = None
    spacing: float | None = None


@dataclass(frozen=True)
class AtlasFiles:
    """An atlas on disk; `key` is unique in a run and may stand in a file name."""

    key: str
    name: str
    image: Path
    labels: Path


@dataclass(frozen=True)
class TargetFile:
    """A target on disk; `key` is unique in a run and names the folder of its results."""

    key: str
    name: str
    image: Path


class RunLayout:
    """Where the files of a run lie.

    Parameters
    ----------
    root
        Folder of the run. ``inputs`` below it holds what was written for the engine, ``results``
        what the engine wrote: ``results/<atlas key>/<target key>/``.
    """

    def __init__(self, root: Path) -> None:
        raise NotImplementedError

    @classmethod
    def temporary(cls) -> RunLayout:
        """Make a private temporary folder; :meth:`remove` deletes it."""
        raise NotImplementedError

    def remove(self) -> None:
        """Delete the folder if it is a temporary one."""
        raise NotImplementedError


def unique_key(name: str, taken: set[str]) -> str:
    """Return a file-name-safe key for a node's or file's name and add it to `taken`."""
    raise NotImplementedError


def propagate_job(
    atlas: AtlasFiles, target: TargetFile, out: Path, options: PropagateOptions
) -> dict[str, Any]:
    """Return the job that carries an atlas's labels to one target, into ``out/<target key>``."""
    raise NotImplementedError


def predict_job(
    model: Path, images: list[Path], out: Path, study: Path | None = None, device: str = "auto"
) -> dict[str, Any]:
    """Return the job that labels scans with a trained model (a run folder is a model)."""
    raise NotImplementedError


def ping_job(devices: bool = False) -> dict[str, Any]:
    """Return the job that asks for the engine's version (and devices, which takes seconds)."""
    raise NotImplementedError

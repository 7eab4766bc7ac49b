"""Jobs for the engine as plain dictionaries, and where a run's files lie.

Standard library alone.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
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
        Folder of the run, made when it is missing. ``inputs`` below it holds what was written for
        the engine, ``results`` what the engine wrote: ``results/<atlas key>/<target key>/``.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root).resolve()
        self.inputs = self.root / "inputs"
        self.results = self.root / "results"
        self._temporary = False
        for folder in (self.inputs, self.results):
            folder.mkdir(parents=True, exist_ok=True)

    @classmethod
    def temporary(cls) -> RunLayout:
        """Make a private temporary folder; :meth:`remove` deletes it."""
        layout = cls(Path(tempfile.mkdtemp(prefix="gemini-propagate-")))
        layout._temporary = True
        return layout

    def input_path(self, kind: str, key: str) -> Path:
        """Return where a volume is written for the engine.

        NRRD, since it keeps the grid in full precision (NIfTI rounds it to 32 bits).

        Parameters
        ----------
        kind
            ``atlas``, ``labels`` or ``target``, the folder of it.
        key
            Name of the file.
        """
        folder = self.inputs / kind
        folder.mkdir(exist_ok=True)
        return folder / f"{key}.nrrd"

    def results_of(self, atlas_key: str) -> Path:
        """Return the folder that holds a result folder for each target of an atlas."""
        return self.results / atlas_key

    def remove(self) -> None:
        """Delete the folder if it is a temporary one."""
        if self._temporary:
            shutil.rmtree(self.root, ignore_errors=True)


def unique_key(name: str, taken: set[str]) -> str:
    """Return a file-name-safe key for a node's or file's name and add it to `taken`."""
    # Some file systems make no difference between upper and lower case.
    safe = re.sub(r"[^A-Za-z0-9-]+", "_", name).strip("_-")[:60] or "scan"
    key, number = safe, 2
    while key.casefold() in taken:
        key, number = f"{safe}-{number}", number + 1
    taken.add(key.casefold())
    return key


def propagate_job(
    atlas: AtlasFiles, target: TargetFile, out: Path, options: PropagateOptions
) -> dict[str, Any]:
    """Return the job that carries an atlas's labels to one target.

    Results go into a folder of `out` that is named like the target's file.
    """
    return {
        "kind": "propagate",
        "atlas": str(atlas.image),
        "labels": str(atlas.labels),
        "targets": [str(target.image)],
        "out": str(out),
        "model": options.model or None,
        "device": options.device,
        "refine": options.refine,
        "spacing": options.spacing,
    }


def predict_job(
    model: Path,
    images: Sequence[Path],
    out: Path,
    study: Path | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Return the job that labels scans with a trained model (a run folder is a model).

    Either `study` (every scan of it without labels) or `images` says what to label.
    """
    return {
        "kind": "predict",
        "model": str(model),
        "study": None if study is None else str(study),
        "images": [] if study is not None else [str(image) for image in images],
        "out": str(out),
        "device": device,
    }


def ping_job(devices: bool = False) -> dict[str, Any]:
    """Return the job that asks for the engine's version (and devices, which takes seconds)."""
    return {"kind": "ping", "devices": devices}

"""A propagation run from nodes to nodes: what the module's logic needs, without Qt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from GeminiPropagateLib.jobs import PropagateOptions
from GeminiPropagateLib.results import ImportedTarget
from GeminiPropagateLib.session import RunUpdate


@dataclass(frozen=True)
class AtlasNodes:
    """Volume node and segmentation node of an atlas."""

    volume: Any
    segmentation: Any


@dataclass
class SceneUpdate:
    """What :meth:`ScenePropagation.poll` returns.

    Attributes
    ----------
    run
        State, fraction, remaining seconds, message, targets, log lines, error.
    imported
        Targets brought into the scene since the last call.
    """

    run: RunUpdate
    imported: list[ImportedTarget]


class ScenePropagation:
    """Propagate atlases of a scene to targets and bring results in as they finish.

    Survives a closed scene (the run is cancelled) and deleted nodes (that target's results stay on
    disk and its row says so).

    Parameters
    ----------
    scene
        The MRML scene.
    python, environment
        As for :class:`GeminiPropagateLib.client.EngineClient`.
    """

    def __init__(
        self, scene: Any, python: str, environment: Mapping[str, str] | None = None
    ) -> None:
        raise NotImplementedError

    def start(
        self,
        atlases: Sequence[AtlasNodes],
        targets: Sequence[Any],
        options: PropagateOptions | None = None,
        vote_by: str = "majority",
        out: Path | None = None,
    ) -> None:
        """Write the inputs and start the engine.

        Parameters
        ----------
        atlases
            At least one.
        targets
            Volume nodes, or paths of image files (their nodes are loaded when they are finished).
        options
            How to propagate.
        vote_by
            ``majority`` or ``similarity``, with several atlases.
        out
            Folder to keep the results in; None: a temporary one, removed by :meth:`close`.

        Raises
        ------
        PropagateError
            If an input cannot be used or the interpreter cannot be started; nothing runs then.
        """
        raise NotImplementedError

    def poll(self) -> SceneUpdate:
        """Take in what happened and import finished targets; call it from a timer."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Ask the run to stop; keep polling until its state is final."""
        raise NotImplementedError

    def close(self) -> None:
        """End everything and remove temporary files; harmless twice."""
        raise NotImplementedError


def images_in_folder(folder: Path) -> list[Path]:
    """Return the image files of a folder that can be targets, sorted."""
    raise NotImplementedError

"""Few-shot training from the scene: study, training, prediction of the other scans, import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from GeminiPropagateLib.scene_run import AtlasNodes
from GeminiPropagateLib.training_run import TrainingUpdate, TrainOptions


@dataclass
class FewShotUpdate:
    """What :meth:`FewShotTraining.poll` returns.

    Attributes
    ----------
    phase
        ``idle``, ``preparing`` (study), ``training``, ``trained``, ``predicting``, ``done`` or
        ``failed``.
    training
        Newest state of the training; None before.
    fraction, remaining, message
        Of the phase.
    imported
        (target volume node, segmentation node) since the last call.
    log
        New lines as (level, text).
    error
        One sentence when the phase failed, else empty.
    """

    phase: str
    training: TrainingUpdate | None = None
    fraction: float = 0.0
    remaining: float | None = None
    message: str = ""
    imported: list[tuple[Any, Any]] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)
    error: str = ""


class FewShotTraining:
    """Train on segmented volumes of the scene and label the others.

    Parameters
    ----------
    scene
        The MRML scene.
    python, environment
        As for :class:`GeminiPropagateLib.client.EngineClient`.
    folder
        Where the scans are written and the study is made (``images``, ``labels``, ``study``); it
        stays, since a training outlives Slicer.
    """

    def __init__(
        self, scene: Any, python: str, folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        raise NotImplementedError

    def start(
        self,
        labelled: Sequence[AtlasNodes],
        others: Sequence[Any],
        options: TrainOptions | None = None,
    ) -> None:
        """Write the scans, make the study and start the training.

        Parameters
        ----------
        labelled
            Volumes with their segmentations; labels are matched by name.
        others
            Volume nodes without labels: they train the correspondence and are predicted.

        Raises
        ------
        PropagateError
            If an input cannot be used or a program cannot be started.
        """
        raise NotImplementedError

    def attach(self) -> None:
        """Follow the latest training of the folder, one that was started earlier."""
        raise NotImplementedError

    def poll(self) -> FewShotUpdate:
        """Take in what happened since the last call; call it from a timer."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ask the training to write a checkpoint and end."""
        raise NotImplementedError

    def resume(self, device: str = "auto") -> None:
        """Go on with the training from its last checkpoint."""
        raise NotImplementedError

    def predict(self, targets: Sequence[Any] | None = None, device: str = "auto") -> None:
        """Label volumes of the scene with the trained model (None: the others of the study)."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop listening; a training goes on, a prediction ends."""
        raise NotImplementedError

"""Segmentation from the labelled scans alone: the U-Net that GEMINI-Semi is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from napari_gemini.errors import StudyError
from napari_gemini.learning.cohort import Cohort
from napari_gemini.learning.objectives.base import (
    LabelledBatches,
    Objective,
    ShapeChange,
    Update,
)
from napari_gemini.learning.segmentation_loss import segmentation_loss
from napari_gemini.networks.gemini import GeminiNetwork
from napari_gemini.settings import TrainSettings
from napari_gemini.study.scheme import IGNORE_INDEX


class SegmentationUpdate:
    """The segmentation update: features, head, cross-entropy plus Dice (Eq. 10).

    Parameters
    ----------
    network, settings, cohort
        As for :class:`Objective`.
    change_shape
        See :class:`LabelledBatches`.
    """

    def __init__(
        self,
        network: GeminiNetwork,
        settings: TrainSettings,
        cohort: Cohort,
        change_shape: ShapeChange | None = None,
    ) -> None:
        self.network = network
        self.weight = settings.weights.segmentation
        self.batches = LabelledBatches(cohort, settings, change_shape)

    def terms(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw a labelled batch and return ``loss`` and ``segmentation``."""
        images, target = self.batches.draw(generator)
        logits = self.network.segment(self.network.features(images))
        loss = segmentation_loss(
            logits, target, overlapping=self.network.config.overlapping, ignore=IGNORE_INDEX
        )
        return {"loss": self.weight * loss, "segmentation": loss}


def require_labels(cohort: Cohort) -> None:
    """Raise unless at least one scan of the cohort is labelled.

    Raises
    ------
    StudyError
        If no scan has labels.
    """
    if not cohort.labels:
        raise StudyError(
            "No scan of this study is labelled; label at least one (five are recommended) first."
        )


class Supervised(Objective):
    """Cross-entropy plus Dice on the labelled scans, nothing else."""

    name: ClassVar[str] = "supervised"
    trains: ClassVar[tuple[str, ...]] = ("backbone", "head")

    def __init__(self, network: GeminiNetwork, settings: TrainSettings, cohort: Cohort) -> None:
        super().__init__(network, settings, cohort)
        self.segmentation = SegmentationUpdate(network, settings, cohort)

    def check(self) -> None:
        """Require labels."""
        require_labels(self.cohort)

    def updates(self, step: int, generator: torch.Generator) -> Iterator[Update]:
        """Yield one segmentation update."""
        yield Update("segmentation", lambda: self.segmentation.terms(generator))

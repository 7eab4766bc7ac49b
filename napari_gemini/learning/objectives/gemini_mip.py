"""GEMINI-MIP: homeomorphism learning with self-restoration, without any label (Eq. 2-9).

Every step makes two updates of one shared optimiser: the correspondence of two scans of one group,
exactly as in GEMINI-Semi, and the restoration of a damaged scan (squared error, weighted 100) in
the place of the segmentation. The red path is on from the first step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch

from napari_gemini.learning.cohort import Cohort
from napari_gemini.learning.objectives.base import PairBatches, Update
from napari_gemini.learning.objectives.gemini_semi import gemini_loss
from napari_gemini.learning.objectives.pretraining import Pretraining, RestorationUpdate
from napari_gemini.networks.gemini import GeminiNetwork
from napari_gemini.networks.heads import Head
from napari_gemini.settings import TrainSettings


class GeminiMip(Pretraining):
    """Deformable homeomorphism learning (DHL, GSS, GVS) and self-restoration."""

    name: ClassVar[str] = "gemini-mip"
    trains: ClassVar[tuple[str, ...]] = ("backbone", "deformer")

    def __init__(self, network: GeminiNetwork, settings: TrainSettings, cohort: Cohort) -> None:
        super().__init__(network, settings, cohort)
        layout = settings.network
        head = Head(layout.dimension, layout.base_width, 1, layout.head_width)
        self.heads["restoration"] = head.to(cohort.images.device)
        self.pairs = PairBatches(cohort, settings)
        self.restoration = RestorationUpdate(network, settings, cohort, head)

    def pretext(self, step: int, generator: torch.Generator) -> Iterator[Update]:
        """Yield the correspondence update and then the restoration update."""
        settings = self.settings
        if step % settings.correspondence_every == 0:
            batch = self.pairs.draw(generator)
            yield Update(
                "correspondence",
                lambda: gemini_loss(self.network, batch, settings.weights, settings.ncc_window),
            )
        yield Update("restoration", lambda: self.restoration.terms(generator))

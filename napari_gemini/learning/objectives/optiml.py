"""OPTiML: dense optimal transport between two views of a scan (arXiv 2404.11868).

Two augmented views of one scan pass the encoder. Every position of one dense map is compared with
every position of the other (discrepancy matrix, 1 - cosine). The averaged maps are expanded to
vectors, cross-view attention (CV-SIM) turns these into distributions over the positions, and the
entropic transport plan with those marginals is found by Sinkhorn's iterations:

    L = alpha <T, C> + beta [var(q_s) + var(q_t)] + eta [cov(q_s) + cov(q_t)].
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_gemini.correspondence.transport import discrepancy, transport_loss
from napari_gemini.errors import StudyError
from napari_gemini.learning.augmentation import draw_affine, resample, sampling_grid
from napari_gemini.learning.cohort import Cohort
from napari_gemini.learning.intensities import pixel_view
from napari_gemini.learning.objectives.base import Update
from napari_gemini.learning.objectives.pretraining import Pretraining
from napari_gemini.learning.sampling import draw_cases
from napari_gemini.networks.cross_view import CrossViewMarginals
from napari_gemini.networks.gemini import GeminiNetwork
from napari_gemini.networks.projection import Expander
from napari_gemini.networks.unet import DEPTH, MULTIPLE, UNet
from napari_gemini.settings import TrainSettings

#: VICReg's target for the standard deviation, and what is added to the variance.
GAMMA, EPSILON = 1.0, 1e-4
FEWEST_POSITIONS = 4


def variance_term(vectors: Tensor) -> Tensor:
    """Return VICReg's hinge on the standard deviation of each channel of (B, D) vectors."""
    deviation = torch.sqrt(vectors.var(0) + EPSILON)
    return F.relu(GAMMA - deviation).mean()


def covariance_term(vectors: Tensor) -> Tensor:
    """Return VICReg's sum of squared covariances between channels of (B, D) vectors, over D."""
    count, length = vectors.shape
    centred = vectors - vectors.mean(0)
    covariance = centred.T @ centred / (count - 1)
    off = covariance.square().sum() - covariance.diagonal().square().sum()
    return off / length


class Optiml(Pretraining):
    """Dense transport between two views; trains the encoder of the U-Net."""

    name: ClassVar[str] = "optiml"
    trains: ClassVar[tuple[str, ...]] = ("backbone",)
    needs_stages: ClassVar[bool] = True

    def __init__(self, network: GeminiNetwork, settings: TrainSettings, cohort: Cohort) -> None:
        super().__init__(network, settings, cohort)
        transport = settings.transport
        channels = settings.network.base_width * 2 ** (DEPTH - 1)
        positions = math.prod(max(1, size // MULTIPLE) for size in cohort.shape)
        self.positions = positions
        self.expand = Expander(channels, transport.expansion)
        self.marginals = CrossViewMarginals(
            transport.expansion, positions, transport.heads, transport.tokens
        )
        self.heads["expander"] = self.expand
        self.heads["marginals"] = self.marginals
        self.heads.to(cohort.images.device)

    def check(self) -> None:
        """Require several scans a step and a dense map with something to transport."""
        super().check()
        if self.settings.pairs_per_step < 2:
            raise StudyError(
                "optiml compares the scans of a step with each other; set pairs_per_step to at "
                "least 2."
            )
        if self.positions < FEWEST_POSITIONS:
            grid = " x ".join(map(str, self.cohort.shape))
            raise StudyError(
                f"The scans are too small for optiml: a grid of {grid} leaves {self.positions} "
                "positions at the network's coarsest stage; make the study with a smaller spacing."
            )

    def pretext(self, step: int, generator: torch.Generator) -> Iterator[Update]:
        """Yield one update."""
        first, second = self.draw(generator)
        yield Update("transport", lambda: self.loss(first, second))

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return two views (B, 1, *S) of some scans, each with a map and intensities of its own."""
        cohort, settings = self.cohort, self.settings
        count = settings.pairs_per_step
        images = cohort.images[draw_cases(list(range(len(cohort.ids))), count, generator)]
        views = []
        for _ in range(2):
            draw = draw_affine(generator, settings.augmentation, cohort.shape, count)
            view = resample(images, sampling_grid(draw, cohort.shape, images))
            views.append(pixel_view(view, generator, settings.pixel.intensity_share))
        return views[0], views[1]

    def loss(self, first: Tensor, second: Tensor) -> dict[str, Tensor]:
        """Return the loss and its terms for two views (B, 1, *S)."""
        backbone, settings = self.network.backbone, self.settings.transport
        assert isinstance(backbone, UNet)
        maps = backbone.bottleneck(torch.cat([first, second])).float()
        with torch.autocast(maps.device.type, enabled=False):
            one, two = maps.chunk(2)
            expanded = self.expand(maps.flatten(2).mean(2))
            q_one, q_two = expanded.chunk(2)
            rows, columns = self.marginals(q_one, q_two)
            transport = transport_loss(
                discrepancy(one, two), rows, columns, settings.epsilon, settings.iterations
            )
            variance = variance_term(q_one) + variance_term(q_two)
            covariance = covariance_term(q_one) + covariance_term(q_two)
            loss = (
                settings.transport * transport
                + settings.variance * variance
                + settings.covariance * covariance
            )
        return {
            "loss": loss,
            "transport": transport,
            "variance": variance,
            "covariance": covariance,
        }

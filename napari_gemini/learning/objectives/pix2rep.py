"""Pix2Rep and Pix2Rep-v2: features of pixels, equivariant in space and invariant to intensity.

Two views of one scan differ in intensity, and the second also by a known affine map g. Features of
the first view, sampled through g, are to equal the features of the second: g(f(t1(x))) and
f(t2(g(x))). Pixels that g brings in from outside the scan are left out. Pix2Rep tells the pixels
apart by contrast (InfoNCE), Pix2Rep-v2 decorrelates the channels (Barlow Twins).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_gemini.errors import StudyError
from napari_gemini.learning.augmentation import resample, sampling_grid
from napari_gemini.learning.cohort import Cohort
from napari_gemini.learning.intensities import pixel_view
from napari_gemini.learning.objectives.base import Update
from napari_gemini.learning.objectives.pretraining import Pretraining
from napari_gemini.learning.objectives.views import draw_pixel_view, pick_visible
from napari_gemini.learning.sampling import draw_cases
from napari_gemini.networks.gemini import GeminiNetwork
from napari_gemini.networks.projection import VoxelProjection
from napari_gemini.settings import TrainSettings

#: Smallest standard deviation that an embedding is divided by.
SMALLEST_SPREAD = 1e-5


def info_nce(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return the symmetric contrast of matching rows (NT-Xent over 2 M vectors).

    Parameters
    ----------
    first, second
        (M, D) embeddings; row i of one belongs to row i of the other, all others are negatives.
    temperature
        Divides the cosines.
    """
    count = len(first)
    vectors = F.normalize(torch.cat([first, second]).float(), dim=1)
    scores = vectors @ vectors.T / temperature
    # A vector is no candidate for itself.
    scores = scores.masked_fill(torch.eye(2 * count, dtype=torch.bool, device=scores.device), -1e9)
    partner = torch.arange(2 * count, device=scores.device).roll(count)
    return F.cross_entropy(scores, partner)


def cross_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return the (D, D) correlations of the channels of two sets of embeddings (M, D)."""
    a, b = (
        (x - x.mean(0)) / x.std(0, unbiased=False).clamp_min(SMALLEST_SPREAD)
        for x in (first.float(), second.float())
    )
    return a.T @ b / len(first)


def barlow_twins(first: Tensor, second: Tensor, redundancy: float) -> Tensor:
    """Return how far the cross-correlation is from the identity.

    ``sum_i (1 - C_ii)^2 + redundancy * sum_{i != j} C_ij^2``; parameters as for
    :func:`cross_correlation`.
    """
    correlation = cross_correlation(first, second)
    diagonal = correlation.diagonal()
    off = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + redundancy * off


class PixelObjective(Pretraining):
    """Two views of each scan, sampled pixels, one projection head."""

    trains: ClassVar[tuple[str, ...]] = ("backbone",)

    def __init__(self, network: GeminiNetwork, settings: TrainSettings, cohort: Cohort) -> None:
        super().__init__(network, settings, cohort)
        width = settings.network.base_width
        self.project = VoxelProjection(width, settings.pixel.projection)
        self.heads["projection"] = self.project.to(cohort.images.device)

    def check(self) -> None:
        """Require enough pixels for every scan of a step."""
        super().check()
        if self.settings.pixel.pixels < 2 * self.settings.pairs_per_step:
            raise StudyError(
                f"{self.settings.pixel.pixels} pixels cannot be shared among "
                f"{self.settings.pairs_per_step} scans; set pixel.pixels to at least twice "
                "pairs_per_step."
            )

    def pretext(self, step: int, generator: torch.Generator) -> Iterator[Update]:
        """Yield one update."""
        first, second, grid = self.draw(generator)
        share = self.settings.pixel.pixels // len(first)
        index, positions = pick_visible(grid, share, generator)
        yield Update("pixels", lambda: self.loss(first, second, index, positions))

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return both views (B, 1, *S) and where the second samples the first, (B, *S, d)."""
        cohort, count = self.cohort, self.settings.pairs_per_step
        images = cohort.images[draw_cases(list(range(len(cohort.ids))), count, generator)]
        draw = draw_pixel_view(generator, self.settings.pixel, cohort.shape, count)
        grid = sampling_grid(draw, cohort.shape, images)
        share = self.settings.pixel.intensity_share
        first = pixel_view(images, generator, share)
        second = pixel_view(resample(images, grid), generator, share)
        return first, second, grid

    def loss(
        self, first: Tensor, second: Tensor, index: Tensor, positions: Tensor
    ) -> dict[str, Tensor]:
        """Return the loss for views (B, 1, *S) and the pixels that :func:`pick_visible` drew."""
        features = self.network.features(torch.cat([first, second])).float()
        one, two = features.chunk(2)
        with torch.autocast(features.device.type, enabled=False):
            sampled = sample_at(one, positions)
            channels = two.shape[1]
            picked = torch.gather(two.flatten(2), 2, index.unsqueeze(1).expand(-1, channels, -1))
            embedded = self.project(torch.cat([_rows(sampled), _rows(picked)]))
            value = self.compare(*embedded.chunk(2))
            alike = F.cosine_similarity(_rows(sampled), _rows(picked), dim=1).mean()
        return {"loss": value, "equivariance": alike}

    @abstractmethod
    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the loss of matching embeddings (M, D)."""


def sample_at(features: Tensor, positions: Tensor) -> Tensor:
    """Sample (B, F, *S) at normalised positions (B, M, d): (B, F, M)."""
    dimension = positions.shape[-1]
    grid = positions.reshape(*positions.shape[:2], *[1] * (dimension - 1), dimension)
    return resample(features, grid).flatten(2)


def _rows(vectors: Tensor) -> Tensor:
    """Turn (B, F, M) into (B M, F)."""
    return vectors.movedim(1, 2).flatten(0, 1)


class Pix2Rep(PixelObjective):
    """Contrast of pixels."""

    name: ClassVar[str] = "pix2rep"

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """Return :func:`info_nce`."""
        return info_nce(first, second, self.settings.pixel.temperature)


class Pix2RepV2(PixelObjective):
    """Decorrelated channels of pixels."""

    name: ClassVar[str] = "pix2rep-v2"

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """Return :func:`barlow_twins`."""
        return barlow_twins(first, second, self.settings.pixel.redundancy)

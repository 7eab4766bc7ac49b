"""What the training loop asks of an objective: a sequence of updates for every step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from napari_gemini.learning.augmentation import (
    change_intensity,
    combine,
    deform_grid,
    draw_affine,
    resample,
    sampling_grid,
)
from napari_gemini.learning.cohort import Cohort
from napari_gemini.learning.sampling import PairSampler, draw_cases
from napari_gemini.networks.gemini import GeminiNetwork
from napari_gemini.settings import TrainSettings


@dataclass(frozen=True)
class Update:
    """One optimiser update: its name and the function that computes its loss terms.

    ``terms()`` returns scalars by name; ``"loss"`` is the one to minimise, the rest is for plots.
    """

    name: str
    terms: Callable[[], dict[str, Tensor]]


class Objective(ABC):
    """A training method.

    Parameters
    ----------
    network
        The network to train.
    settings
        All settings of the run.
    cohort
        The scans, on the network's device.

    Attributes
    ----------
    heads
        Modules that only training needs, on the network's device. They are trained and saved for
        a resume with the network, and are no part of the model that comes out.
    """

    name: ClassVar[str]
    #: Parts of the network that learn something.
    trains: ClassVar[tuple[str, ...]] = ("backbone", "deformer", "head")

    def __init__(self, network: GeminiNetwork, settings: TrainSettings, cohort: Cohort) -> None:
        self.network = network
        self.settings = settings
        self.cohort = cohort
        self.heads = nn.ModuleDict()

    @property
    def learned(self) -> list[str]:
        """Parts of the network that this run teaches something, for the model's card."""
        head = ["head"] if self.settings.use_labels and self.cohort.labels else []
        return [part for part in self.trains if part != "head"] + head

    @abstractmethod
    def updates(self, step: int, generator: torch.Generator) -> Iterator[Update]:
        """Yield the updates of one step, in order.

        Parameters
        ----------
        step
            Step number from 0.
        generator
            The only source of randomness, so that a run can be resumed exactly.
        """

    def check(self) -> None:  # noqa: B027 - most objectives take any cohort
        """Raise a :class:`StudyError` when the cohort cannot serve this objective."""


#: (positions of the drawn cases, generator) -> displacement (B, d, *S) in voxels, or None.
ShapeChange = Callable[[list[int], torch.Generator], Tensor | None]


class LabelledBatches:
    """Augmented batches of labelled scans, for every objective that segments.

    Parameters
    ----------
    cohort, settings
        As for :class:`Objective`.
    change_shape
        Gives displacements that deform the drawn scans and their labels before the affine map.
    """

    def __init__(
        self, cohort: Cohort, settings: TrainSettings, change_shape: ShapeChange | None = None
    ) -> None:
        self.cohort = cohort
        self.settings = settings
        self.change_shape = change_shape

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return images (B, 1, *S) and integer targets, (B, *S) or (B, C, *S)."""
        cohort, settings = self.cohort, self.settings
        count = settings.labelled_per_step
        cases = draw_cases(cohort.labelled, count, generator)
        affine = draw_affine(generator, settings.augmentation, cohort.shape, count)
        images = cohort.images[cases]
        grid = sampling_grid(affine, cohort.shape, images)
        field = self.change_shape(cases, generator) if self.change_shape is not None else None
        if field is not None:
            grid = deform_grid(grid, field)
        target = resample_target(cohort.target(cases), grid)
        images = change_intensity(resample(images, grid), generator, settings.augmentation)
        return images, target


def resample_target(target: Tensor, grid: Tensor) -> Tensor:
    """Sample classes (B, *S) or masks (B, C, *S) at a normalised grid (B, *S, d); int64."""
    exclusive = target.ndim == grid.ndim - 1
    masks = (target.unsqueeze(1) if exclusive else target).float()
    sampled = resample(masks, grid, "nearest").round().long()
    return sampled.squeeze(1) if exclusive else sampled


@dataclass(frozen=True)
class PairBatch:
    """Augmented pairs: images (B, 1, *S) and masks (B, 1, *S) of voxels to ignore, or None.

    ``target_first`` are the labels of the first scans, integer, (B, *S) or (B, C, *S), where those
    were drawn from the labelled ones.
    """

    first: Tensor
    second: Tensor
    ignore_first: Tensor | None = None
    ignore_second: Tensor | None = None
    target_first: Tensor | None = None


class PairBatches:
    """Augmented pairs of different scans of one group; both get the same affine map.

    ``pair_jitter`` adds a smaller affine of its own to the second scan, which the released code
    does not have.

    Parameters
    ----------
    cohort, settings
        As for :class:`Objective`.
    labelled_share
        Share of the batches whose first scans are labelled ones.
    """

    def __init__(
        self, cohort: Cohort, settings: TrainSettings, labelled_share: float = 0.0
    ) -> None:
        self.cohort = cohort
        self.settings = settings
        self.sampler = PairSampler(cohort.groups)
        self.labelled_share = labelled_share if cohort.labels else 0.0

    def draw(self, generator: torch.Generator) -> PairBatch:
        """Return one batch of pairs."""
        cohort, settings = self.cohort, self.settings
        count, augmentation = settings.pairs_per_step, settings.augmentation
        labelled = bool(self.labelled_share) and (
            float(torch.rand((), generator=generator)) < self.labelled_share
        )
        first = cohort.labelled if labelled else None
        pairs = self.sampler.draw(count, generator, first)
        affine = draw_affine(generator, augmentation, cohort.shape, count)
        affines = [affine, affine]
        if augmentation.pair_jitter:
            jitter = draw_affine(
                generator, augmentation, cohort.shape, count, augmentation.pair_jitter
            )
            affines[1] = combine(affine, jitter)
        images, masks = [], []
        target = None
        for side, draw in enumerate(affines):
            cases = [pair[side] for pair in pairs]
            image = cohort.images[cases]
            grid = sampling_grid(draw, cohort.shape, image)
            images.append(change_intensity(resample(image, grid), generator, augmentation))
            ignored = cohort.ignore(cases)
            masks.append(None if ignored is None else resample(ignored, grid, "nearest"))
            if labelled and side == 0:
                target = resample_target(cohort.target(cases), grid)
        return PairBatch(images[0], images[1], masks[0], masks[1], target)

"""What all pre-training objectives share: no labels needed, heads of their own, restoration."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from napari_gemini.errors import InputError, StudyError
from napari_gemini.learning.augmentation import (
    change_intensity,
    draw_affine,
    resample,
    sampling_grid,
)
from napari_gemini.learning.cohort import Cohort
from napari_gemini.learning.objectives.base import Objective, Update
from napari_gemini.learning.objectives.supervised import SegmentationUpdate
from napari_gemini.learning.restoration import damage
from napari_gemini.learning.sampling import draw_cases
from napari_gemini.networks.gemini import GeminiNetwork
from napari_gemini.networks.heads import Head
from napari_gemini.networks.unet import MULTIPLE, UNet
from napari_gemini.settings import TrainSettings


class Pretraining(Objective):
    """An objective that learns from scans alone, and from labels besides where there are some.

    With ``settings.use_labels`` every step ends with a segmentation update, as in GEMINI-Semi.
    """

    #: Whether the objective looks inside the U-Net, at its coarser stages.
    needs_stages: ClassVar[bool] = False

    def __init__(self, network: GeminiNetwork, settings: TrainSettings, cohort: Cohort) -> None:
        super().__init__(network, settings, cohort)
        self.require_backbone()
        self.segmentation = (
            SegmentationUpdate(network, settings, cohort) if settings.use_labels else None
        )

    def require_backbone(self) -> None:
        """Refuse backbones without stages where the objective needs them.

        Raises
        ------
        InputError
            If the backbone is another than the U-Net.
        """
        if self.needs_stages and not isinstance(self.network.backbone, UNet):
            raise InputError(
                f"{self.name} works on the stages of the U-Net, which the backbone "
                f"{self.settings.network.backbone} does not have; set network.backbone=unet or "
                "choose gemini-mip."
            )

    def check(self) -> None:
        """Require labels where they are to be used, and scans that fill the network's depth."""
        if self.settings.use_labels and not self.cohort.labels:
            raise StudyError(
                "No scan of this study is labelled; label at least one (five are recommended), or "
                f"use napari-gemini pretrain --objective {self.name}, which needs no labels."
            )
        thinnest = min(self.cohort.shape)
        if thinnest < MULTIPLE:
            raise StudyError(
                f"The scans are {thinnest} voxels thin on the study grid and the network halves "
                f"them four times, which takes {MULTIPLE}; make the study with a smaller spacing, "
                "or from slices as 2D images."
            )
        uneven = [size for size in self.cohort.shape if size % MULTIPLE]
        if self.needs_stages and uneven:
            raise StudyError(
                f"{self.name} works on grids whose axes are multiples of {MULTIPLE}, and one axis "
                f"has {uneven[0]} voxels; make the study without a grid of your own."
            )

    def updates(self, step: int, generator: torch.Generator) -> Iterator[Update]:
        """Yield the updates of the objective and then, with labels, the segmentation update."""
        yield from self.pretext(step, generator)
        segmentation = self.segmentation
        if segmentation is not None:
            yield Update("segmentation", lambda: segmentation.terms(generator))

    @abstractmethod
    def pretext(self, step: int, generator: torch.Generator) -> Iterator[Update]:
        """Yield the updates that need no labels; arguments as for :meth:`updates`."""


class ScanBatches:
    """Augmented scans, whoever they are of: the same affine ranges as for pairs."""

    def __init__(self, cohort: Cohort, settings: TrainSettings) -> None:
        self.cohort = cohort
        self.settings = settings

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return images (B, 1, *S) in [0, 1], B being ``pairs_per_step``."""
        cohort, augmentation = self.cohort, self.settings.augmentation
        count = self.settings.pairs_per_step
        cases = draw_cases(list(range(len(cohort.ids))), count, generator)
        affine = draw_affine(generator, augmentation, cohort.shape, count)
        images = cohort.images[cases]
        images = resample(images, sampling_grid(affine, cohort.shape, images))
        return change_intensity(images, generator, augmentation)


def restoration_loss(network: GeminiNetwork, head: Head, damaged: Tensor, images: Tensor) -> Tensor:
    """Return the mean squared error of restored scans over all voxels (self-restoration).

    Parameters
    ----------
    network
        Its backbone learns.
    head
        From features to one channel.
    damaged, images
        (B, 1, *S) before and as they should be.
    """
    restored = head(network.features(damaged))
    return torch.mean((restored.float() - images) ** 2)


class RestorationUpdate:
    """The foundation task: put damaged scans right.

    Parameters
    ----------
    network, settings, cohort
        As for :class:`Objective`.
    head
        Restores a scan from features.
    """

    def __init__(
        self, network: GeminiNetwork, settings: TrainSettings, cohort: Cohort, head: Head
    ) -> None:
        self.network = network
        self.settings = settings
        self.head = head
        self.batches = ScanBatches(cohort, settings)

    def terms(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw a batch and return ``loss`` and ``restoration``."""
        images = self.batches.draw(generator)
        damaged = damage(images, generator, self.settings.restoration)
        loss = restoration_loss(self.network, self.head, damaged, images)
        return {"loss": self.settings.weights.restoration * loss, "restoration": loss}

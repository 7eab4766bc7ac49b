"""GEMINI-Semi: deformable homeomorphism learning with few labels (arXiv 2502.05282, Eq. 2-10).

Every step makes two updates of one shared optimiser. The first draws two scans A and B, lets the
deformer predict both fields and minimises

    L = GVS + 0.8 (GSS_blue + 0.1 GSS_red) + 0.4 smooth,

each term summed over A to B and B to A. The second segments a labelled scan, with cross-entropy
plus Dice, weighted 100. The backbone learns from both, so the few labels meet features that already
know which voxels correspond.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from napari_gemini.correspondence.local_ncc import gvs_loss
from napari_gemini.correspondence.similarity import gss_loss
from napari_gemini.correspondence.smoothness import smoothness_loss
from napari_gemini.correspondence.warp import comparison_mask, warp
from napari_gemini.learning.cohort import Cohort
from napari_gemini.learning.objectives.base import Objective, PairBatch, PairBatches, Update
from napari_gemini.learning.objectives.label_transfer import transfer_loss
from napari_gemini.learning.objectives.supervised import SegmentationUpdate, require_labels
from napari_gemini.learning.sampling import PairSampler
from napari_gemini.learning.target_masks import target_masks
from napari_gemini.networks.gemini import GeminiNetwork
from napari_gemini.settings import LossWeights, TrainSettings

DIRECTIONS = 2


def swap_halves(x: Tensor) -> Tensor:
    """Exchange the first and the second half of a batch, so that A meets B and B meets A."""
    first, second = x.chunk(2)
    return torch.cat([second, first])


def ignored_voxels(batch: PairBatch) -> Tensor | None:
    """Return masks (2 B, 1, *S) of voxels to ignore in A and then in B, or None without any."""
    if batch.ignore_first is None and batch.ignore_second is None:
        return None
    empty = torch.zeros_like(batch.first)
    masks = (batch.ignore_first, batch.ignore_second)
    return torch.cat([empty if mask is None else mask for mask in masks])


def gemini_loss(
    network: GeminiNetwork, batch: PairBatch, weights: LossWeights, window: int
) -> dict[str, Tensor]:
    """Return the correspondence loss of GEMINI and its terms (Eq. 4).

    A with B go through the backbone as one batch, and so do both directions through the deformer.
    The features enter the deformer with their gradient (blue path); what the similarity compares
    carries a gradient to the features scaled by ``weights.positive`` (red path).
    """
    images = torch.cat([batch.first, batch.second])
    features = network.features(images)
    fixed_images, fixed_features = swap_halves(images), swap_halves(features)
    displacement = network.displacement(features, fixed_features)
    ignored = ignored_voxels(batch)
    mask = comparison_mask(displacement, ignored, None if ignored is None else swap_halves(ignored))
    gss = gss_loss(features, fixed_features, displacement, mask, red_weight=weights.positive)
    gvs = gvs_loss(warp(images, displacement), fixed_images, mask, window=window)
    smooth = smoothness_loss(displacement)
    # The batch holds both directions and its losses are means, so the sum is twice the mean.
    loss = DIRECTIONS * (weights.gss * gss + weights.gvs * gvs + weights.smooth * smooth)
    terms = {"gss": gss, "gvs": gvs, "smooth": smooth}
    if batch.target_first is not None:
        masks = target_masks(batch.target_first, network.config)
        transfer = transfer_loss(
            network, features, displacement, masks, mask, weights.transfer_to_head
        )
        loss = loss + weights.transfer * transfer
        terms["transfer"] = transfer / DIRECTIONS
    return {"loss": loss, **terms}


class ShapeTransfer:
    """Deforms labelled scans part of the way to the shape of scans of their group, labels along.

    Not in the paper. The deformer knows how the anatomy varies over all scans, labelled or not, so
    its fields make labelled scans of shapes that nobody labelled. Labels stay exact, since image
    and labels are sampled at the same positions, whatever the field is worth; at the start the
    field is the identity and nothing happens.

    Parameters
    ----------
    network, settings, cohort
        As for :class:`Objective`.
    """

    def __init__(self, network: GeminiNetwork, settings: TrainSettings, cohort: Cohort) -> None:
        self.network = network
        self.share = settings.shape_transfer
        self.cohort = cohort
        self.sampler = PairSampler(cohort.groups)

    @torch.no_grad()
    def __call__(self, cases: list[int], generator: torch.Generator) -> Tensor | None:
        """Return displacements (B, d, *S) in voxels, or None where no scan is deformed.

        Parameters
        ----------
        cases
            Positions of the labelled scans in the cohort.
        generator
            Draws who is deformed, towards whom, and how far (uniformly from 0 to all the way).
        """
        chosen = torch.rand(len(cases), generator=generator) < self.share
        others = [self.sampler.partner(case, generator) for case in cases]
        distance = torch.rand(len(cases), generator=generator) * chosen
        if not bool(chosen.any()):
            return None
        features = self.network.features(self.cohort.images[cases + others])
        field = self.network.displacement(*features.chunk(2))
        return field * distance.to(field).reshape(-1, *[1] * (field.ndim - 1))


class GeminiSemi(Objective):
    """The two-step objective of GEMINI-Semi."""

    name: ClassVar[str] = "gemini-semi"

    def __init__(self, network: GeminiNetwork, settings: TrainSettings, cohort: Cohort) -> None:
        super().__init__(network, settings, cohort)
        share = settings.label_transfer if settings.weights.transfer else 0.0
        self.pairs = PairBatches(cohort, settings, share)
        transfer = ShapeTransfer(network, settings, cohort) if settings.shape_transfer else None
        self.segmentation = SegmentationUpdate(network, settings, cohort, transfer)

    def check(self) -> None:
        """Require labels."""
        require_labels(self.cohort)

    def updates(self, step: int, generator: torch.Generator) -> Iterator[Update]:
        """Yield the correspondence update and then the segmentation update."""
        settings = self.settings
        if step % settings.correspondence_every == 0:
            batch = self.pairs.draw(generator)
            yield Update(
                "correspondence",
                lambda: gemini_loss(self.network, batch, settings.weights, settings.ncc_window),
            )
        yield Update("segmentation", lambda: self.segmentation.terms(generator))

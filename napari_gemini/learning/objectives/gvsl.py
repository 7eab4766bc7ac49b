"""GVSL: geometric visual similarity learning (He et al., CVPR 2023), affine and deformable.

One scan B is moved onto another, A: an affine head compares the coarsest features, the deformer the
full-resolution features after that map. Both maps are composed (its appendix D.3), B is sampled
once, and the sum of three terms of weight 1 is minimised in one update:

    L = (1 - NCC(B(psi), A)) + smooth(psi_deformable) + MSE(restored A, A),

where the network sees A damaged and B as it is. Features carry their gradient everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from napari_gemini.correspondence.local_ncc import gvs_loss
from napari_gemini.correspondence.smoothness import smoothness_loss
from napari_gemini.correspondence.warp import comparison_mask, compose, warp
from napari_gemini.learning.cohort import Cohort
from napari_gemini.learning.objectives.base import PairBatch, PairBatches, Update
from napari_gemini.learning.objectives.pretraining import Pretraining
from napari_gemini.learning.restoration import damage
from napari_gemini.networks.affine_head import AffineHead, affine_displacement
from napari_gemini.networks.gemini import GeminiNetwork
from napari_gemini.networks.heads import Head
from napari_gemini.networks.unet import DEPTH, UNet
from napari_gemini.settings import TrainSettings


class Gvsl(Pretraining):
    """Affine and deformable matching by local correlation, with self-restoration."""

    name: ClassVar[str] = "gvsl"
    trains: ClassVar[tuple[str, ...]] = ("backbone", "deformer")
    needs_stages: ClassVar[bool] = True

    def __init__(self, network: GeminiNetwork, settings: TrainSettings, cohort: Cohort) -> None:
        super().__init__(network, settings, cohort)
        dimension, width = settings.network.dimension, settings.network.base_width
        self.affine = AffineHead(dimension, width * 2 ** (DEPTH - 1))
        self.restore = Head(dimension, width, 1, settings.network.head_width)
        self.heads["affine"] = self.affine
        self.heads["restoration"] = self.restore
        self.heads.to(cohort.images.device)
        self.pairs = PairBatches(cohort, settings)

    def pretext(self, step: int, generator: torch.Generator) -> Iterator[Update]:
        """Yield one update of all terms."""
        batch = self.pairs.draw(generator)
        damaged = damage(batch.first, generator, self.settings.restoration)
        yield Update("similarity", lambda: self.loss(batch, damaged))

    def loss(self, batch: PairBatch, damaged: Tensor) -> dict[str, Tensor]:
        """Return the loss and its terms; `damaged` (B, 1, *S) stands in for the first scan."""
        weights = self.settings.weights
        features, field, deformation = self.match(batch.second, damaged)
        mask = comparison_mask(field, batch.ignore_second, batch.ignore_first)
        moved = warp(batch.second, field)
        gvs = gvs_loss(moved, batch.first, mask, window=self.settings.ncc_window)
        smooth = smoothness_loss(deformation)
        restored = torch.mean((self.restore(features).float() - batch.first) ** 2)
        loss = weights.gvs * gvs + weights.smooth * smooth + weights.restoration * restored
        return {"loss": loss, "gvs": gvs, "smooth": smooth, "restoration": restored}

    def match(self, moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map one scan onto another.

        Parameters
        ----------
        moving, fixed
            (B, 1, *S).

        Returns
        -------
        features
            (B, F, *S) of the fixed scan.
        field
            (B, d, *S), affine and deformable map composed, in voxels.
        deformation
            (B, d, *S), the deformable part alone.
        """
        backbone = self.network.backbone
        assert isinstance(backbone, UNet)
        # One batch through the backbone; the first half is the moving scan.
        stages = backbone.stages(torch.cat([moving, fixed]))
        coarse_moving, coarse_fixed = stages[0].chunk(2)
        fine_moving, fine_fixed = stages[-1].chunk(2)
        linear, share = self.affine(coarse_moving, coarse_fixed)
        shape = tuple(moving.shape[2:])
        shift = share * torch.tensor(shape, dtype=share.dtype, device=share.device)
        placed = affine_displacement(linear, shift, shape)
        deformation = self.network.displacement(warp(fine_moving, placed), fine_fixed)
        return fine_fixed, compose(placed, deformation), deformation

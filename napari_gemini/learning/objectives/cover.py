"""COVER: contrast of vectors instead of pixels (arXiv 2506.20850).

A scan is sampled through a known affine map psi: the fixed view. The moving view is the scan
itself with other intensities. From the features of both, vectors are found
(``correspondence/vectors.py``) and compared with psi:

    L = sum |v - psi| mask / sum mask  +  1 - mean cosine(f_fixed, f_moving(psi)) over the mask.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from napari_gemini.correspondence.local_ncc import masked_mean
from napari_gemini.correspondence.similarity import cosine_map
from napari_gemini.correspondence.vectors import VectorPyramid
from napari_gemini.correspondence.warp import field_of_view_mask, warp
from napari_gemini.learning.augmentation import rotation_matrices
from napari_gemini.learning.cohort import Cohort
from napari_gemini.learning.intensities import (
    add_noise,
    blur,
    change_contrast_and_brightness,
    sometimes,
)
from napari_gemini.learning.objectives.base import Update
from napari_gemini.learning.objectives.pretraining import Pretraining
from napari_gemini.learning.restoration import paint
from napari_gemini.learning.sampling import draw_cases
from napari_gemini.networks.affine_head import affine_displacement, shears
from napari_gemini.networks.gemini import GeminiNetwork
from napari_gemini.networks.unet import DEPTH, MULTIPLE, UNet
from napari_gemini.settings import CoverSettings, TrainSettings

#: Published changes of the moving view: largest noise, contrast and brightness, painted blocks.
NOISE, CONTRAST, BRIGHTNESS, BLUR = math.sqrt(0.02), 0.5, 0.1, 1.0
BLOCKS, BLOCK_SHARE = 10, (3 / 30, 4 / 30)


def draw_known_field(
    generator: torch.Generator, settings: CoverSettings, shape: tuple[int, ...], count: int
) -> Tensor:
    """Draw the displacements (B, d, *S) of random affine maps, in voxels, in float32.

    Rotation is the difference of two uniform angles, as published, scale and shear are drawn for
    each axis.
    """
    dimension = len(shape)
    turns = dimension * (dimension - 1) // 2

    def uniform(width: int, limit: float) -> Tensor:
        return (
            torch.rand((count, width), generator=generator, dtype=torch.float64) * 2 - 1
        ) * limit

    half = math.radians(settings.rotation_degrees) / 2
    angles = uniform(turns, half) - uniform(turns, half)
    slant = torch.tan(uniform(2 * turns, math.radians(settings.shear_degrees)))
    scale = 1 + uniform(dimension, settings.scale_range)
    linear = rotation_matrices(angles, dimension) @ shears(slant, dimension) * scale.unsqueeze(1)
    size = torch.tensor(shape, dtype=torch.float64)
    shift = uniform(dimension, settings.translation_fraction) * size
    return affine_displacement(linear, shift, shape).float()


def cropped_shape(shape: tuple[int, ...], share: float) -> tuple[int, ...]:
    """Return the extent that a step looks at: about `share` of each axis, a multiple of 16."""
    return tuple(min(n, max(MULTIPLE, round(n * share / MULTIPLE) * MULTIPLE)) for n in shape)


def change_appearance(images: Tensor, generator: torch.Generator) -> Tensor:
    """Change the intensities of the moving view: noise, blur, contrast, painted blocks."""
    images = sometimes(images, generator, 1.0, _change_intensity).clamp(0, 1)
    shape = tuple(images.shape[2:])
    painted = []
    for image in images[:, 0]:
        for _ in range(int(torch.randint(BLOCKS + 1, (), generator=generator))):
            image = paint(image, _block(shape, generator), generator)
        painted.append(image)
    return torch.stack(painted).unsqueeze(1)


def _change_intensity(image: Tensor, generator: torch.Generator) -> Tensor:
    image = blur(image, generator, BLUR)
    image = change_contrast_and_brightness(image, generator, CONTRAST, BRIGHTNESS)
    return add_noise(image, generator, NOISE)


def _block(shape: tuple[int, ...], generator: torch.Generator) -> tuple[slice, ...]:
    block = []
    for size in shape:
        low = max(1, round(size * BLOCK_SHARE[0]))
        side = int(
            torch.randint(low, max(low, round(size * BLOCK_SHARE[1])) + 1, (), generator=generator)
        )
        start = int(torch.randint(size - side + 1, (), generator=generator))
        block.append(slice(start, start + side))
    return tuple(block)


class Cover(Pretraining):
    """Self-vector regression."""

    name: ClassVar[str] = "cover"
    trains: ClassVar[tuple[str, ...]] = ("backbone",)
    needs_stages: ClassVar[bool] = True

    def __init__(self, network: GeminiNetwork, settings: TrainSettings, cohort: Cohort) -> None:
        super().__init__(network, settings, cohort)
        dimension, width = settings.network.dimension, settings.network.base_width
        channels = [width * 2**level for level in reversed(range(DEPTH))]
        self.vectors = VectorPyramid(
            dimension, channels, settings.cover.groups, settings.cover.neighbourhood
        )
        self.heads["vectors"] = self.vectors.to(cohort.images.device)

    def pretext(self, step: int, generator: torch.Generator) -> Iterator[Update]:
        """Yield one update."""
        moving, fixed, field = self.draw(generator)
        yield Update("vectors", lambda: self.loss(moving, fixed, field))

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return the moving and the fixed view (B, 1, *C) and the true field (B, d, *C).

        The map acts on the whole scan; then one and the same window C is cut out of everything,
        so that the true vectors stay true.
        """
        cohort, count = self.cohort, self.settings.pairs_per_step
        images = cohort.images[draw_cases(list(range(len(cohort.ids))), count, generator)]
        field = draw_known_field(generator, self.settings.cover, cohort.shape, count).to(images)
        fixed = warp(images, field)
        moving = change_appearance(images, generator)
        window = []
        for size, kept in zip(
            cohort.shape, cropped_shape(cohort.shape, self.settings.cover.crop), strict=True
        ):
            start = int(torch.randint(size - kept + 1, (), generator=generator))
            window.append(slice(start, start + kept))
        cut = (slice(None), slice(None), *window)
        return moving[cut], fixed[cut], field[cut]

    def predict(self, moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return vectors (B, d, *S) and the finest features of both views (B, F, *S)."""
        backbone = self.network.backbone
        assert isinstance(backbone, UNet)
        stages = [stage.chunk(2) for stage in backbone.stages(torch.cat([moving, fixed]))]
        vectors = self.vectors([s[0] for s in stages], [s[1] for s in stages])
        return vectors, *stages[-1]

    def loss(self, moving: Tensor, fixed: Tensor, field: Tensor) -> dict[str, Tensor]:
        """Return the loss and its terms for two views and the true field between them."""
        cover = self.settings.cover
        vectors, features_moving, features_fixed = self.predict(moving, fixed)
        mask = field_of_view_mask(field)
        error = masked_mean((vectors - field).abs().sum(1, keepdim=True), mask)
        cosine = cosine_map(warp(features_moving, field), features_fixed)
        consistency = 1 - masked_mean(cosine, mask)
        loss = cover.vectors * error + cover.consistency * consistency
        return {"loss": loss, "vector_error": error, "consistency": consistency}

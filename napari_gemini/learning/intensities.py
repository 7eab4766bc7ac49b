"""Random changes of intensity for views of one scan: noise, blur, gamma, bias field, inversion.

Every function takes scans (B, 1, *S), draws from an explicit generator and changes each scan with
the stated probability.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

#: Control points of a bias field along each axis.
BIAS_NODES = 4

Change = Callable[[Tensor, torch.Generator], Tensor]


def sometimes(
    images: Tensor, generator: torch.Generator, probability: float, change: Change
) -> Tensor:
    """Change each scan of a batch with a probability."""
    chosen = torch.rand(len(images), generator=generator) < probability
    changed = [
        change(image.unsqueeze(0), generator) if pick else image.unsqueeze(0)
        for image, pick in zip(images, chosen.tolist(), strict=True)
    ]
    return torch.cat(changed)


def _between(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def add_noise(image: Tensor, generator: torch.Generator, largest: float) -> Tensor:
    """Add normal noise whose standard deviation is drawn up to `largest`."""
    sigma = _between(0, largest, generator)
    return image + (torch.randn(image.shape, generator=generator) * sigma).to(image)


def blur(image: Tensor, generator: torch.Generator, largest: float) -> Tensor:
    """Smooth with a Gaussian whose width is drawn up to `largest` voxels."""
    sigma = max(_between(0, largest, generator), 1e-3)
    radius = max(1, math.ceil(3 * sigma))
    line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    line = (line / line.sum()).to(image)
    dimension = image.ndim - 2
    convolve = F.conv2d if dimension == 2 else F.conv3d
    for axis in range(dimension):
        if image.shape[2 + axis] <= radius:
            continue
        kernel = line.reshape(1, 1, *[-1 if k == axis else 1 for k in range(dimension)])
        widths = [radius if k == axis else 0 for k in reversed(range(dimension)) for _ in "ab"]
        image = convolve(F.pad(image, widths, mode="replicate"), kernel)
    return image


def change_gamma(image: Tensor, generator: torch.Generator, largest: float) -> Tensor:
    """Raise to a power between ``1 - largest`` and ``1 + largest``."""
    return image.clamp(0, 1) ** _between(1 - largest, 1 + largest, generator)


def add_bias_field(image: Tensor, generator: torch.Generator, largest: float) -> Tensor:
    """Multiply by a smooth field between ``exp(-largest)`` and ``exp(largest)``."""
    dimension = image.ndim - 2
    nodes = torch.rand((1, 1, *[BIAS_NODES] * dimension), generator=generator) * 2 - 1
    mode = "bicubic" if dimension == 2 else "trilinear"
    field = F.interpolate(nodes, size=tuple(image.shape[2:]), mode=mode, align_corners=True)
    return image * torch.exp(largest * field).to(image)


def invert(image: Tensor, generator: torch.Generator) -> Tensor:
    """Turn bright into dark."""
    return 1 - image


def change_contrast_and_brightness(
    image: Tensor, generator: torch.Generator, contrast: float, brightness: float
) -> Tensor:
    """Scale about the mean by ``1 - contrast`` to ``1 + contrast``, add a normal offset."""
    factor = _between(1 - contrast, 1 + contrast, generator)
    offset = float(torch.randn((), generator=generator)) * brightness
    mean = image.mean()
    return (image - mean) * factor + mean + offset


def pixel_view(images: Tensor, generator: torch.Generator, share: float = 1.0) -> Tensor:
    """Apply Pix2Rep's changes of intensity; the result is in [0, 1].

    Parameters
    ----------
    images
        (B, 1, *S) in [0, 1].
    generator
        Draws everything.
    share
        Multiplies the published probabilities.
    """
    images = sometimes(images, generator, 0.75 * share, lambda x, g: add_bias_field(x, g, 0.9))
    images = sometimes(images, generator, 0.9 * share, lambda x, g: change_gamma(x, g, 0.05))
    images = sometimes(images.clamp(0, 1), generator, 0.35 * share, invert)
    images = sometimes(images, generator, 0.5 * share, lambda x, g: blur(x, g, 1.3))
    images = sometimes(images, generator, 0.3 * share, lambda x, g: add_noise(x, g, 0.5))
    return images.clamp(0, 1)

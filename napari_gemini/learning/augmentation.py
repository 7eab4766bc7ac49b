"""Random affine in space and random change of intensity, drawn from an explicit generator.

Rotation and scale act about the true centre of the grid, ``(n - 1) / 2`` on every axis, and in
voxels, so that a rotation stays a rotation on grids that are not cubes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_gemini.settings import AugmentationSettings


@dataclass(frozen=True)
class AffineDraw:
    """One affine map of sampling positions for each sample.

    Attributes
    ----------
    linear
        (B, d, d), in voxels about the grid's centre.
    translation
        (B, d), in voxels.
    """

    linear: Tensor
    translation: Tensor


def _uniform(generator: torch.Generator, shape: tuple[int, ...], limit: float) -> Tensor:
    return (torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1) * limit


def rotation_matrices(angles: Tensor, dimension: int) -> Tensor:
    """Return rotations (B, d, d) from angles in radians: (B, 1) in 2D, (B, 3) by axis in 3D."""
    cosine, sine = angles.cos(), angles.sin()
    planes = [(0, 1)] if dimension == 2 else [(1, 2), (0, 2), (0, 1)]
    total = torch.eye(dimension, dtype=angles.dtype).expand(len(angles), -1, -1)
    for k, (i, j) in enumerate(planes):
        turn = torch.eye(dimension, dtype=angles.dtype).repeat(len(angles), 1, 1)
        turn[:, i, i] = turn[:, j, j] = cosine[:, k]
        turn[:, i, j], turn[:, j, i] = -sine[:, k], sine[:, k]
        total = total @ turn
    return total


def draw_affine(
    generator: torch.Generator,
    settings: AugmentationSettings,
    shape: tuple[int, ...],
    count: int,
    strength: float = 1.0,
) -> AffineDraw:
    """Draw `count` random affine maps for a grid.

    Parameters
    ----------
    generator
        Source of all randomness.
    settings
        Ranges; all are multiplied by `strength`.
    shape
        Grid shape in voxels, for the translation.
    count
        Number of samples B.
    strength
        1 for augmentation, less for the jitter between the two scans of a pair.
    """
    dimension = len(shape)
    limit = math.radians(settings.rotation_degrees) * strength
    rotation = rotation_matrices(
        _uniform(generator, (count, 1 if dimension == 2 else 3), limit), dimension
    )
    axes = 1 if settings.isotropic_scale else dimension
    scale = 1 + _uniform(generator, (count, axes), settings.scale_range * strength)
    linear = rotation * scale.expand(count, dimension).unsqueeze(1)
    size = torch.tensor(shape, dtype=torch.float64)
    shift = _uniform(generator, (count, dimension), settings.translation_fraction * strength) * size
    return AffineDraw(linear, shift)


def combine(first: AffineDraw, second: AffineDraw) -> AffineDraw:
    """Return the map that samples through `second` and then through `first`."""
    shift = (first.linear @ second.translation.unsqueeze(-1)).squeeze(-1) + first.translation
    return AffineDraw(first.linear @ second.linear, shift)


def sampling_grid(draw: AffineDraw, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return normalised sampling positions (B, *S, d) for ``grid_sample(align_corners=True)``."""
    half = torch.tensor([max(n - 1, 1) / 2 for n in shape], dtype=torch.float64)
    theta = draw.linear * (half.unsqueeze(0) / half.unsqueeze(1))
    shift = draw.translation / half
    # grid_sample counts axes from the last one.
    theta = torch.cat([theta.flip(1, 2), shift.flip(1).unsqueeze(-1)], dim=-1)
    size = [len(theta), 1, *shape]
    return F.affine_grid(theta.to(like.device, torch.float32), size, align_corners=True)


def deform_grid(grid: Tensor, displacement: Tensor) -> Tensor:
    """Send sampling positions on through a displacement field, for one interpolation in all.

    Parameters
    ----------
    grid
        (B, *S, d) normalised positions, as :func:`sampling_grid` returns.
    displacement
        (B, d, *S) in voxels; it keeps its border value beyond the grid.
    """
    size = displacement.shape[2:]
    moved = F.grid_sample(
        displacement, grid, mode="bilinear", padding_mode="border", align_corners=True
    )
    half = moved.new_tensor([max(n - 1, 1) / 2 for n in size])
    return grid + (moved.movedim(1, -1) / half).flip(-1)


def resample(image: Tensor, grid: Tensor, mode: str = "bilinear") -> Tensor:
    """Sample (B, C, *S) at a normalised grid; zero outside."""
    return F.grid_sample(image, grid, mode=mode, padding_mode="zeros", align_corners=True)


def change_intensity(
    image: Tensor, generator: torch.Generator, settings: AugmentationSettings
) -> Tensor:
    """Apply a random gamma and noise to images in [0, 1]; nothing where both are off."""
    column = (len(image), *[1] * (image.ndim - 1))
    if settings.gamma:
        exponent = torch.exp(_uniform(generator, column, settings.gamma)).to(image)
        image = image.clamp(0, 1) ** exponent
    if settings.noise:
        sigma = torch.rand(column, generator=generator) * settings.noise
        noise = torch.randn(image.shape, generator=generator) * sigma
        image = (image + noise.to(image)).clamp(0, 1)
    return image

"""Change of resolution: shrinking images, enlarging displacements, smoothing fields.

Shrinking by ``k`` averages blocks of ``k`` voxels, so a coarse voxel's centre lies between voxels:
fine coordinate ``x`` and coarse coordinate ``c`` are bound by ``x = k c + (k - 1) / 2``.
Enlarging a displacement uses the same relation, so both fit to each other exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor

_LINEAR = {2: "bilinear", 3: "trilinear"}


def shrink(image: Tensor, factor: int) -> Tensor:
    """Average blocks of `factor` voxels per axis: (B, C, *S) -> (B, C, *(S // factor))."""
    if factor == 1:
        return image
    pool = functional.avg_pool2d if image.ndim == 4 else functional.avg_pool3d
    return pool(image, factor)


def shrink_mask(mask: Tensor, factor: int) -> Tensor:
    """Mark the blocks of `factor` voxels that hold any marked voxel, float 0 or 1."""
    marked = (mask != 0).float()
    if factor == 1:
        return marked
    pool = functional.max_pool2d if mask.ndim == 4 else functional.max_pool3d
    return pool(marked, factor)


def shrink_pair(
    moving: Tensor,
    fixed: Tensor,
    ignore_moving: Tensor | None,
    ignore_fixed: Tensor | None,
    factor: int,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Shrink two images, and the masks of what does not count in them where there are any."""
    masks = [
        None if mask is None else shrink_mask(mask, factor)
        for mask in (ignore_moving, ignore_fixed)
    ]
    return shrink(moving, factor), shrink(fixed, factor), masks[0], masks[1]


def widen_mask(mask: Tensor, reach: int) -> Tensor:
    """Mark all voxels up to `reach` away from a marked one, along every axis; float 0 or 1."""
    marked = (mask != 0).float()
    pool = functional.max_pool2d if mask.ndim == 4 else functional.max_pool3d
    return pool(marked, 2 * reach + 1, stride=1, padding=reach)


def enlarge_displacement(displacement: Tensor, factor: int) -> Tensor:
    """Bring a displacement onto a grid with `factor` times the voxels per axis.

    Parameters
    ----------
    displacement
        ``(B, d, *S)`` in voxels of its own grid.
    factor
        Whole number.

    Returns
    -------
    Tensor
        ``(B, d, *(factor * S))`` in voxels of the finer grid, linear in between.
    """
    if factor == 1:
        return displacement
    return factor * functional.interpolate(
        displacement,
        scale_factor=float(factor),
        mode=_LINEAR[displacement.ndim - 2],
        align_corners=False,
    )


def shrink_displacement(displacement: Tensor, factor: int) -> Tensor:
    """Bring a displacement onto a grid with a `factor`-th of the voxels per axis, in its voxels."""
    return shrink(displacement, factor) / factor


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Repeat the last plane of every axis until its length is a multiple."""
    padding: list[int] = []
    for size in reversed(image.shape[2:]):
        padding += [0, -size % multiple]
    if not any(padding):
        return image
    return functional.pad(image, padding, mode="replicate")


def gaussian_kernel(sigma: float, device: torch.device | None = None) -> Tensor:
    """Return a normalised one-dimensional Gaussian that reaches three sigma."""
    radius = max(1, math.ceil(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32, device=device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    return kernel / kernel.sum()


def gaussian_smooth(field: Tensor, sigma: float) -> Tensor:
    """Smooth every channel with a Gaussian, border values kept.

    Parameters
    ----------
    field
        ``(B, C, *S)``.
    sigma
        Standard deviation in voxels; 0 returns the field itself.

    Returns
    -------
    Tensor
        ``(B, C, *S)``.
    """
    if sigma <= 0:
        return field
    kernel = gaussian_kernel(sigma, field.device).to(field.dtype)
    radius = len(kernel) // 2
    for axis in range(2, field.ndim):
        field = _smooth_along(field, kernel, radius, axis)
    return field


def _smooth_along(field: Tensor, kernel: Tensor, radius: int, axis: int) -> Tensor:
    # The axis goes last and everything before it into one batch: a one-dimensional convolution.
    lines = field.movedim(axis, -1)
    shape = lines.shape
    padded = functional.pad(lines.reshape(-1, 1, shape[-1]), (radius, radius), mode="replicate")
    smoothed = functional.conv1d(padded, kernel.reshape(1, 1, -1))
    return smoothed.reshape(shape).movedim(-1, axis)


def broadcast_vector(vector: Tensor, dimension: int) -> Tensor:
    """Reshape (d,) to (1, d, 1, ...), to add it to fields of that dimension."""
    return vector.reshape(1, -1, *(1 for _ in range(dimension)))


def coarse_length(shape: Sequence[int], factor: int) -> tuple[int, ...]:
    """Return the shape after shrinking."""
    return tuple(size // factor for size in shape)

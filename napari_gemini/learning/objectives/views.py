"""Two views of one scan whose relation is known: affine maps with flips, and what both show."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from napari_gemini.learning.augmentation import AffineDraw, rotation_matrices
from napari_gemini.settings import PixelSettings


def draw_pixel_view(
    generator: torch.Generator, settings: PixelSettings, shape: tuple[int, ...], count: int
) -> AffineDraw:
    """Draw the affine maps of Pix2Rep's second view: rotation, crop with shift, flips.

    Parameters
    ----------
    generator
        Draws everything.
    settings
        Ranges.
    shape
        Grid shape.
    count
        Number of maps B.

    Returns
    -------
    AffineDraw
        Where the second view samples the first, in voxels about the middle of the grid.
    """
    dimension = len(shape)
    kind = {"generator": generator, "dtype": torch.float64}
    angles = torch.rand((count, 1 if dimension == 2 else 3), **kind) * 2 - 1  # type: ignore[call-overload]
    rotation = rotation_matrices(angles * math.radians(settings.rotation_degrees), dimension)
    span = settings.largest_crop - settings.smallest_crop
    crop = settings.smallest_crop + span * torch.rand((count, 1), **kind)  # type: ignore[call-overload]
    half = (torch.tensor(shape, dtype=torch.float64) - 1) / 2
    # The crop lies anywhere in the scan.
    shift = (torch.rand((count, dimension), **kind) * 2 - 1) * (1 - crop) * half  # type: ignore[call-overload]
    linear = rotation * crop.unsqueeze(-1)
    signs = _flips(generator, settings.flip_probability, count, dimension)
    return AffineDraw(linear * signs.unsqueeze(1), shift)


def _flips(generator: torch.Generator, probability: float, count: int, dimension: int) -> Tensor:
    """Return signs (B, d); with the stated probability at least one axis of a map is flipped."""
    flipped = torch.rand((count, 1), generator=generator) < probability
    # Any combination of axes but none.
    choice = torch.randint(1, 2**dimension, (count, 1), generator=generator)
    bits = (choice >> torch.arange(dimension)) & 1
    return 1.0 - 2.0 * (bits * flipped).double()


def visible(grid: Tensor) -> Tensor:
    """Mark which positions of a normalised sampling grid (B, *S, d) lie in the image: (B, *S)."""
    return (grid.abs() <= 1).all(-1)


def pick_visible(grid: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw voxels of the second view that the first view shows too.

    Parameters
    ----------
    grid
        (B, *S, d) normalised positions where the second view sampled the first.
    count
        Voxels of each scan.
    generator
        Draws them; with repetition only where a scan has fewer.

    Returns
    -------
    index
        (B, count) flat voxel indices of the second view.
    positions
        (B, count, d) normalised positions of the same places in the first view.
    """
    batch, dimension = len(grid), grid.shape[-1]
    mask = visible(grid).reshape(batch, -1).cpu()
    rows = []
    for row in mask:
        candidates = row.nonzero().squeeze(1)
        if len(candidates) == 0:
            # The middle of the grid; a crop always shows something, so this is for safety's sake.
            candidates = torch.tensor([row.numel() // 2])
        order = torch.randperm(len(candidates), generator=generator)[:count]
        if len(order) < count:
            more = torch.randint(len(candidates), (count - len(order),), generator=generator)
            order = torch.cat([order, more])
        rows.append(candidates[order])
    index = torch.stack(rows).to(grid.device)
    flat = grid.reshape(batch, -1, dimension)
    positions = torch.gather(flat, 1, index.unsqueeze(-1).expand(-1, -1, dimension))
    return index, positions

"""Damage for self-restoration: local shuffling, non-linear intensity, in-painting.

A network that puts damaged scans right has to know what the anatomy looks like. The three kinds of
damage follow the released pre-training code; sizes are shares of the axes, at least one voxel, so
that small grids and thin stacks are damaged in proportion and nothing breaks.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_gemini.settings import RestorationSettings

#: Side of a shuffled block as a share of the axis, and the share of all voxels (overlaps counted
#: twice) that blocks cover: 1000 blocks in 2D and 5000 in 3D on a grid of any size.
SHUFFLE_SHARE = {2: 1 / 30, 3: 1 / 20}
SHUFFLE_COVERAGE = {2: 1000 / 30**2, 3: 5000 / 20**3}
#: Smallest and largest side of a painted block as shares of the axis, and the most blocks.
PAINT_SHARE = {2: (1 / 20, 1 / 10), 3: (1 / 10, 1 / 5)}
PAINT_BLOCKS = {2: 10, 3: 30}
#: Painted blocks keep this far from the border, where the axis is long enough.
PAINT_MARGIN = 3
TABLE = 1024


def damage(images: Tensor, generator: torch.Generator, settings: RestorationSettings) -> Tensor:
    """Return damaged copies of scans.

    Parameters
    ----------
    images
        (B, 1, *S) in [0, 1].
    generator
        Draws everything, so that a run can be resumed exactly.
    settings
        How probable each kind of damage is.

    Returns
    -------
    Tensor
        (B, 1, *S) in [0, 1]; every scan gets damage of its own.
    """
    shape = tuple(images.shape[2:])
    damaged = []
    for image in images[:, 0]:
        if _happens(settings.shuffle_probability, generator):
            image = shuffle_locally(image, generator)
        if _happens(settings.intensity_probability, generator):
            image = change_contrast(image, bezier_curve(generator))
        for block in draw_blocks(shape, generator, settings.paint_probability):
            image = paint(image, block, generator)
        damaged.append(image)
    return torch.stack(damaged).unsqueeze(1)


def _happens(probability: float, generator: torch.Generator) -> bool:
    return float(torch.rand((), generator=generator)) < probability


# -- local shuffling -------------------------------------------------------------------------


def shuffle_locally(image: Tensor, generator: torch.Generator) -> Tensor:
    """Permute the voxels within many small blocks; the texture breaks, the anatomy stays.

    Parameters
    ----------
    image
        (*S).
    generator
        Draws the blocks and one permutation that all of them share.
    """
    shape = tuple(image.shape)
    source = shuffled_positions(shape, generator)
    return image.flatten()[torch.from_numpy(source).to(image.device)].reshape(shape)


def shuffled_positions(shape: tuple[int, ...], generator: torch.Generator) -> NDArray[np.int64]:
    """Return which voxel each voxel takes its value from, (prod(S)) flat.

    Blocks read from the undamaged scan, and where two overlap the later one wins.
    """
    dimension = len(shape)
    share = SHUFFLE_SHARE[dimension]
    # Two voxels at least: a block of one voxel would be shuffled to itself.
    sides = [min(size, max(2, int(size * share))) for size in shape]
    within = np.indices(sides).reshape(dimension, -1)
    volume = within.shape[1]
    count = max(1, round(SHUFFLE_COVERAGE[dimension] * math.prod(shape) / volume))
    order = torch.randperm(volume, generator=generator).numpy()
    corners = np.stack(
        [
            torch.randint(size - side + 1, (count,), generator=generator).numpy()
            for size, side in zip(shape, sides, strict=True)
        ]
    )
    first = np.asarray(np.ravel_multi_index(tuple(corners), shape))[:, None]
    # An offset inside the block is the same step in flat positions whatever the corner.
    steps = np.asarray(np.ravel_multi_index(tuple(within), shape))[None, :]
    positions = np.arange(math.prod(shape), dtype=np.int64)
    positions[(first + steps).ravel()] = (first + steps[:, order]).ravel()
    return positions


# -- intensity -------------------------------------------------------------------------------


def bezier_curve(generator: torch.Generator) -> Tensor:
    """Draw an increasing curve from 0 to 1, as values at evenly spaced intensities (TABLE).

    A cubic Bezier curve from (0, 0) to (1, 1) with two random control points; both coordinates
    are sorted, so that it never falls and no contrast is inverted.
    """
    points = torch.rand((2, 2), generator=generator, dtype=torch.float64).numpy()
    t = np.linspace(0, 1, TABLE)[:, None]
    curve = 3 * (1 - t) ** 2 * t * points[0] + 3 * (1 - t) * t**2 * points[1] + t**3
    x, y = np.sort(curve, axis=0).T
    return torch.from_numpy(np.interp(np.linspace(0, 1, TABLE), x, y)).float()


def change_contrast(image: Tensor, curve: Tensor) -> Tensor:
    """Send intensities (*S) in [0, 1] through a curve given at evenly spaced intensities."""
    curve = curve.to(image.device)
    place = image.clamp(0, 1) * (len(curve) - 1)
    below = place.floor().clamp(max=len(curve) - 2)
    left = below.long()
    return torch.lerp(curve[left], curve[left + 1], place - below)


# -- in-painting -----------------------------------------------------------------------------


def draw_blocks(
    shape: tuple[int, ...], generator: torch.Generator, again: float
) -> list[tuple[slice, ...]]:
    """Draw the blocks to paint: one for sure, each further one with probability `again`.

    Parameters
    ----------
    shape
        Grid shape.
    generator
        Draws how many there are, their sizes and places.
    again
        Probability of one more block, up to :data:`PAINT_BLOCKS`.
    """
    dimension = len(shape)
    smallest, largest = PAINT_SHARE[dimension]
    blocks: list[tuple[slice, ...]] = []
    while not blocks or (len(blocks) < PAINT_BLOCKS[dimension] and _happens(again, generator)):
        block = []
        for size in shape:
            low = max(1, int(size * smallest))
            high = min(size, max(low, int(size * largest)))
            side = int(torch.randint(low, high + 1, (), generator=generator))
            margin = min(PAINT_MARGIN, (size - side) // 2)
            start = int(torch.randint(margin, size - side - margin + 1, (), generator=generator))
            block.append(slice(start, start + side))
        blocks.append(tuple(block))
    return blocks


def paint(image: Tensor, block: tuple[slice, ...], generator: torch.Generator) -> Tensor:
    """Return the scan (*S) with uniform noise in one block."""
    image = image.clone()
    size = [part.stop - part.start for part in block]
    image[block] = torch.rand(size, generator=generator).to(image)
    return image

"""Self-similarity of an image: what lies where, whatever grey values a contrast gives it.

A descriptor says of every voxel how much the patches around it differ from each other. Two scans of
one anatomy in unlike contrasts (CT and MR, T1 and T2) have other grey values and much the same
descriptor, so they can be compared by it where a correlation of grey values cannot.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as functional
from torch import Tensor

from napari_gemini.correspondence.local_ncc import masked_mean
from napari_gemini.correspondence.resampling import gaussian_smooth, shrink, widen_mask

Offset = tuple[int, ...]

#: Voxels between neighbours whose patches are compared.
DILATION = 2
#: Of the Gaussian that weighs the voxels of a patch.
PATCH_SIGMA = 1.0
#: How far from a voxel its descriptor looks, but for the rim of its patches.
REACH = DILATION + 1
#: The noise of a voxel lies between the mean noise divided and multiplied by this (as published).
NOISE_RANGE = 1000.0


def neighbour_pairs(dimension: int) -> list[tuple[Offset, Offset]]:
    """Return the pairs of offsets, in units of the dilation, whose patches are compared.

    Neighbours of a voxel that lie across an edge from each other: 12 pairs in 3D, 4 in 2D, where
    the pairs of the voxel itself and each of its neighbours are added.
    """
    neighbours: list[Offset] = [
        tuple(sign if axis == other else 0 for other in range(dimension))
        for axis in range(dimension)
        for sign in (-1, 1)
    ]
    pairs = [
        (first, second)
        for first, second in itertools.combinations(neighbours, 2)
        if any(a + b for a, b in zip(first, second, strict=True))
    ]
    if dimension == 2:
        pairs += [((0, 0), neighbour) for neighbour in neighbours]
    return pairs


def self_similarity(image: Tensor, factor: int = 1, dilation: int = DILATION) -> Tensor:
    """Return the modality independent descriptor of an image (MIND-SSC).

    Parameters
    ----------
    image
        ``(1, 1, *S)``.
    factor
        The descriptor is given for blocks of so many voxels per axis.
    dilation
        Voxels between neighbours.

    Returns
    -------
    Tensor
        ``(1, C, *(S // factor))`` in (0, 1]: 12 channels in 3D, 8 in 2D, one for each of
        :func:`neighbour_pairs`; 1 where two patches are alike, and all over an image of one value.

    Notes
    -----
    ``exp(-(D - min D) / V)`` with the squared differences D of patches and their mean V, the noise.
    Heinrich et al., "MIND: Modality independent neighbourhood descriptor", Medical Image Analysis
    2012, and "Towards realtime multimodal fusion ... using self-similarities", MICCAI 2013.
    """
    with torch.no_grad():
        image = image.float()
        distances = torch.cat(
            [
                # Averaged before anything is kept: twelve full images would be too many.
                shrink(gaussian_smooth(_difference(image, *pair, dilation), PATCH_SIGMA), factor)
                for pair in neighbour_pairs(image.ndim - 2)
            ],
            dim=1,
        )
        distances -= distances.amin(1, keepdim=True)
        noise = distances.mean(1, keepdim=True)
        mean = float(noise.mean())
        noise = noise.clamp(mean / NOISE_RANGE, mean * NOISE_RANGE)
        smallest = torch.finfo(noise.dtype).tiny
        return torch.exp(-distances / noise.clamp_min(smallest))


def hide_ignored(image: Tensor, ignore: Tensor | None, reach: int) -> tuple[Tensor, Tensor | None]:
    """Return an image (1, 1, *S) with its mean where it does not count, and a wider mask of that.

    Descriptors look around themselves: so none knows what lay there, and those that know the false
    edge around it, up to `reach` voxels away, do not count either.
    """
    if ignore is None:
        return image, None
    kept = image[ignore == 0]
    filled = torch.where(ignore == 0, image, kept.mean() if kept.numel() else 0.0)
    return filled, widen_mask(ignore, reach)


def self_similarity_loss(first: Tensor, second: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean squared difference of two descriptors over a mask.

    Parameters
    ----------
    first, second
        ``(B, C, *S)`` on one grid.
    mask
        ``(B or 1, 1, *S)`` of what counts.
    """
    return masked_mean((first - second).square().mean(1, keepdim=True), mask)


def _difference(image: Tensor, first: Offset, second: Offset, dilation: int) -> Tensor:
    """Return the squared difference of an image moved by two offsets."""
    return (_moved(image, first, dilation) - _moved(image, second, dilation)).square()


def _moved(image: Tensor, offset: Offset, dilation: int) -> Tensor:
    padded = functional.pad(image, [dilation] * (2 * len(offset)), mode="replicate")
    for axis, step in enumerate(offset, start=2):
        padded = padded.narrow(axis, dilation * (1 + step), image.shape[axis])
    return padded

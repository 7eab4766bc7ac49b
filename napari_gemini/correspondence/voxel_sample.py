"""Voxels drawn from images with their features: evenly over labels or over space (numpy)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import InputError

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]

#: Blocks per axis that stand for regions where there are no labels.
REGIONS_PER_AXIS = 4
NO_LABEL = -1


@dataclass(frozen=True)
class VoxelSample:
    """Voxels drawn from one or more images, with their features.

    Attributes
    ----------
    image
        ``(n,)``, which image a voxel is of.
    index
        ``(n, d)`` voxel index.
    features
        ``(n, F)`` float32 of length 1, so that distances are those of the cosine.
    label
        ``(n,)``, -1 where the image has no labels.
    """

    image: NDArray[np.int64]
    index: NDArray[np.int64]
    features: NDArray[np.float32]
    label: NDArray[np.int64]


def share_out(sizes: Sequence[int], count: int) -> list[int]:
    """Share a number of draws evenly among strata, none getting more than it has.

    Parameters
    ----------
    sizes
        Members per stratum.
    count
        Draws in all.

    Returns
    -------
    list of int
        Draws per stratum; their sum is the smaller of `count` and all members.
    """
    shares = [0] * len(sizes)
    left = min(count, sum(sizes))
    while left:
        open_strata = [k for k, size in enumerate(sizes) if shares[k] < size]
        portion = max(left // len(open_strata), 1)
        for k in open_strata:
            taken = min(portion, sizes[k] - shares[k], left)
            shares[k] += taken
            left -= taken
    return shares


def regions(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return block numbers of a volume, to draw evenly over space."""
    result = np.zeros(shape, dtype=np.int64)
    for axis, size in enumerate(shape):
        block = np.arange(size) * REGIONS_PER_AXIS // size
        result = result * REGIONS_PER_AXIS + block.reshape(
            [-1 if k == axis else 1 for k in range(len(shape))]
        )
    return result


def sample_voxels(
    features: Sequence[FloatArray],
    count: int,
    labels: Sequence[IntArray | None] | None = None,
    masks: Sequence[NDArray[Any] | None] | None = None,
    seed: int = 0,
) -> VoxelSample:
    """Draw voxels evenly over labels, or over space where there are none.

    Parameters
    ----------
    features
        ``(F, *S)`` of each image.
    count
        Voxels per image.
    labels
        ``S`` per image, or None.
    masks
        ``S`` per image, non-zero where voxels may be drawn, or None.
    seed
        Same seed, same voxels.

    Returns
    -------
    VoxelSample
        Of all images together, in image order.

    Raises
    ------
    InputError
        If shapes do not fit or nothing can be drawn.
    """
    labels = [None] * len(features) if labels is None else labels
    masks = [None] * len(features) if masks is None else masks
    generator = np.random.default_rng(seed)
    parts = [
        _sample_one(number, *one, count, generator)
        for number, one in enumerate(zip(features, labels, masks, strict=True))
    ]
    return VoxelSample(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("image", "index", "features", "label")
        )
    )


def draw(
    shape: tuple[int, ...],
    count: int,
    labels: IntArray | None,
    mask: NDArray[Any] | None,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw voxels of one image evenly over labels, or over space where there are none.

    Parameters
    ----------
    shape
        ``S`` of the image.
    count
        How many at most.
    labels
        ``S``, or None.
    mask
        ``S``, non-zero where voxels may be drawn, or None.
    generator
        Where chance comes from.

    Returns
    -------
    ndarray
        ``(n,)`` flat indices in ascending order.

    Raises
    ------
    InputError
        If shapes do not fit or nothing can be drawn.
    """
    for other in (labels, mask):
        if other is not None and other.shape != shape:
            raise InputError(
                f"An image of shape {shape} and labels or mask of shape {other.shape} do not fit; "
                "bring them onto one grid."
            )
    allowed = np.flatnonzero(np.ones(shape, bool) if mask is None else np.asarray(mask) != 0)
    if not len(allowed) or count < 1:
        raise InputError("There is no voxel to draw; the mask is empty or the number is zero.")
    strata = (regions(shape) if labels is None else labels).ravel()[allowed]
    values, sizes = np.unique(strata, return_counts=True)
    chosen = np.concatenate(
        [
            generator.choice(allowed[strata == value], share, replace=False)
            for value, share in zip(values, share_out(sizes.tolist(), count), strict=True)
        ]
    )
    chosen.sort()
    return chosen.astype(np.int64)


def _sample_one(
    number: int,
    features: FloatArray,
    labels: IntArray | None,
    mask: NDArray[Any] | None,
    count: int,
    generator: np.random.Generator,
) -> VoxelSample:
    shape = features.shape[1:]
    chosen = draw(shape, count, labels, mask, generator)
    drawn = features.reshape(len(features), -1)[:, chosen].T.astype(np.float32)
    return VoxelSample(
        np.full(len(chosen), number, dtype=np.int64),
        np.stack(np.unravel_index(chosen, shape), axis=1).astype(np.int64),
        normalised(drawn),
        np.full(len(chosen), NO_LABEL, dtype=np.int64)
        if labels is None
        else labels.ravel()[chosen].astype(np.int64),
    )


def normalised(features: FloatArray) -> NDArray[np.float32]:
    """Scale feature vectors (n, F) to length 1; vanished ones stay zero."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    result: NDArray[np.float32] = (features / np.maximum(length, 1e-12)).astype(np.float32)
    return result

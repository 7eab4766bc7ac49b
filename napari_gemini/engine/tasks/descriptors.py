"""Local descriptors of an image: what stands in for features where no model serves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: Widths in voxels at which an image is looked at.
SCALES = (0.7, 1.5, 3.0, 6.0)


def local_descriptors(image: NDArray[np.floating]) -> NDArray[np.float32]:
    """Describe every voxel by its surroundings, the same way in every direction.

    For each scale: the smoothed intensity, the gradient's length and the Laplacian, both times the
    scale (its square), which makes them comparable (Lindeberg 1998).

    Parameters
    ----------
    image
        ``S``, in [0, 1].

    Returns
    -------
    ndarray
        ``(3 * len(SCALES), *S)`` float32.
    """
    image = np.asarray(image, dtype=np.float32)
    parts = []
    for scale in SCALES:
        smooth = ndimage.gaussian_filter(image, scale)
        parts.append(smooth)
        parts.append(scale * ndimage.gaussian_gradient_magnitude(image, scale))
        parts.append(scale**2 * ndimage.laplace(smooth))
    return np.stack(parts).astype(np.float32, copy=False)


def standardised_descriptors(
    images: Sequence[NDArray[np.floating]], seen: Sequence[NDArray[np.integer]]
) -> list[NDArray[np.float32]]:
    """Describe images together: every descriptor gets mean 0 and deviation 1 over all of them.

    Cosines between vectors then compare what is unusual about two voxels.

    Parameters
    ----------
    images
        ``S`` each, in [0, 1].
    seen
        ``S`` each, non-zero where an image has voxels.

    Returns
    -------
    list of ndarray
        ``(channels, *S)`` float32 each.
    """
    found = [local_descriptors(image) for image in images]
    inside = [np.asarray(mask) != 0 for mask in seen]
    for channel in range(len(found[0])):
        values = np.concatenate(
            [parts[channel][mask] for parts, mask in zip(found, inside, strict=True)]
        )
        mean, deviation = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
        for parts in found:
            parts[channel] -= mean
            parts[channel] /= max(deviation, 1e-6)
    return found

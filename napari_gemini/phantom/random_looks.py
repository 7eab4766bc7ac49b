"""Random contrasts and artefacts: what one anatomy looks like to many scanners.

Grey values, gamma, bias field, blur, thick slices, ghosts, noise and clipping are all drawn anew,
so that a network trained on the scans cannot come to rely on any of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gemini.phantom.random_anatomy import GROUND, RandomAnatomy
from napari_gemini.phantom.random_shapes import Singles

EXPOSURE = 2.3
"""Attenuation of the densest part of a projection, in nepers."""


@dataclass(frozen=True)
class Contrast:
    """Grey values of an anatomy.

    Attributes
    ----------
    grey : (tissues,) float32
        Grey value of each tissue, 0 to 1; the ground comes first.
    texture : (tissues,) float32
        Strength of the fine pattern in each tissue.
    shadow
        Whether structures attenuate a beam through all of them, as in an X-ray projection,
        instead of covering each other.
    """

    grey: Singles
    texture: Singles
    shadow: bool = False


def random_contrast(
    rng: np.random.Generator, anatomy: RandomAnatomy, *, shadow: bool = False
) -> Contrast:
    """Draw a contrast: grey values spread over the whole scale in a random order."""
    count = anatomy.tissues
    grey = (rng.permutation(count) + rng.uniform(0.1, 0.9, count)) / count
    if anatomy.kind != "interior" and rng.random() < 0.8:
        grey[GROUND] = rng.uniform(0.0, 0.06)  # air
    textured = rng.random() < 0.6
    texture = rng.uniform(0.0, 0.07, count) * textured
    texture[GROUND] *= anatomy.kind == "interior"
    return Contrast(grey.astype(np.float32), texture.astype(np.float32), shadow)


def vary_contrast(rng: np.random.Generator, contrast: Contrast, spread: float) -> Contrast:
    """Return a contrast with every grey value changed by at most `spread`."""
    change = rng.uniform(-spread, spread, len(contrast.grey))
    change[GROUND] *= 0.3
    grey = np.clip(contrast.grey + change, 0.0, 1.0).astype(np.float32)
    return Contrast(grey, contrast.texture, contrast.shadow)


def paint(
    anatomy: RandomAnatomy, u: Singles, values: Singles, contrast: Contrast, softness: float
) -> Singles:
    """Return the noise-free grey value at every point, edges softened.

    Parameters
    ----------
    anatomy, u, values
        The anatomy, points (N, d) of it, and what it evaluates to there.
    contrast
        Its grey values.
    softness
        Width of an edge in half-widths of the view, about half a voxel.

    Returns
    -------
    (N,) float32
        Grey values, about 0 to 1.
    """
    tissues = [structure.tissue for structure in anatomy.structures]
    if contrast.shadow:
        return _shadows(values, contrast.grey[tissues], softness)
    grey = np.full(len(u), contrast.grey[GROUND], np.float32)
    texture = np.full(len(u), contrast.texture[GROUND], np.float32)
    for value, tissue in zip(values, tissues, strict=True):
        share = 1.0 / (1.0 + np.exp(np.clip(value / np.float32(softness), -30, 30)))
        grey += share * (contrast.grey[tissue] - grey)
        texture += share * (contrast.texture[tissue] - texture)
    if contrast.texture.any():
        grey += texture * anatomy.texture(u)
    return grey


def _shadows(values: Singles, density: Singles, softness: float) -> Singles:
    """Return the negative of a projection: where a beam meets more, the picture is brighter."""
    depth = np.zeros(values.shape[1], np.float32)
    for value, dense in zip(values, density, strict=True):
        # The chord through something round grows like the root of the distance from its edge.
        chord = np.sqrt(np.clip(-value, 0.0, None) + np.float32(softness) ** 2)
        depth += (dense - np.float32(0.3)) * (chord - np.float32(softness))
    np.clip(depth, 0.0, None, out=depth)
    # Exposure control: the densest part lets about a tenth of the beam through.
    depth *= EXPOSURE / max(float(np.quantile(depth, 0.98)), 1e-3)
    return np.asarray(1.0 - np.exp(-depth), np.float32)


@dataclass(frozen=True)
class Artefacts:
    """What a scanner does to grey values; see :func:`acquire`.

    Attributes
    ----------
    gamma
        Exponent that bends the grey scale.
    bias, bias_length
        Standard deviation of the log of the multiplicative field, and its smoothness as a share
        of the view.
    blur
        Standard deviation of the point spread in voxels.
    slice_axis, slice_factor
        Axis of thick slices and how many voxels each covers (1: none).
    ghost_axis, ghost_shift, ghost
        Axis, shift (as a share of the view) and strength of a repeated image.
    noise
        Standard deviation of the (Rician) noise.
    speckle
        Standard deviation of noise in proportion to the signal, as in ultrasound.
    window
        Quantiles that become black and white.
    """

    gamma: float
    bias: float
    bias_length: float
    blur: float
    slice_axis: int
    slice_factor: int
    ghost_axis: int
    ghost_shift: float
    ghost: float
    noise: float
    speckle: float
    window: tuple[float, float]


def random_artefacts(rng: np.random.Generator, dimension: int) -> Artefacts:
    """Draw artefacts: some of them in every scan, each strong only in some."""

    def now_and_then(share: float, low: float, high: float) -> float:
        value = rng.uniform(low, high)
        return float(value) if rng.random() < share else 0.0

    return Artefacts(
        gamma=float(np.exp(rng.uniform(-0.5, 0.5))),
        bias=now_and_then(0.8, 0.03, 0.35),
        bias_length=float(rng.uniform(0.15, 0.4)),
        blur=now_and_then(0.5, 0.3, 0.9),
        slice_axis=int(rng.integers(dimension)),
        slice_factor=1 + int(now_and_then(0.3, 1.0, 3.999)),
        ghost_axis=int(rng.integers(dimension)),
        ghost_shift=float(rng.choice([1 / 4, 1 / 3, 1 / 2])),
        ghost=now_and_then(0.2, 0.04, 0.15),
        noise=float(np.exp(rng.uniform(np.log(0.008), np.log(0.09)))),
        speckle=now_and_then(0.12, 0.1, 0.3),
        window=(now_and_then(0.4, 0.0, 0.03), 1.0 - now_and_then(0.4, 0.0, 0.03)),
    )


def acquire(rng: np.random.Generator, grey: Singles, artefacts: Artefacts) -> NDArray[np.float32]:
    """Turn grey values into a scan.

    Parameters
    ----------
    rng
        Source of the noise and of the bias field.
    grey : (*shape) float
        Noise-free grey values.
    artefacts
        What happens to them, in this order: gamma, bias field, speckle, blur, thick slices,
        ghost, noise, window.

    Returns
    -------
    (*shape) float32
        The scan, 0 to 1.
    """
    a = artefacts
    scan = np.clip(grey, 0.0, None) ** np.float32(a.gamma)
    scan *= np.exp(a.bias * _smooth_noise(rng, scan.shape, a.bias_length))
    # Gain control: noise counts in proportion to what there is to see.
    scan /= max(float(np.quantile(scan, 0.98)), 1e-3)
    if a.speckle:
        scan *= 1.0 + a.speckle * rng.standard_normal(scan.shape, np.float32)
    if a.blur:
        scan = ndimage.gaussian_filter(scan, a.blur, mode="nearest")
    if a.slice_factor > 1:
        scan = _thick_slices(scan, a.slice_axis, a.slice_factor)
    if a.ghost:
        shift = round(a.ghost_shift * scan.shape[a.ghost_axis])
        scan = (1.0 - a.ghost) * scan + a.ghost * np.roll(scan, shift, a.ghost_axis)
    real = scan + a.noise * rng.standard_normal(scan.shape, np.float32)
    scan = np.hypot(real, a.noise * rng.standard_normal(scan.shape, np.float32))
    low, high = np.quantile(scan, a.window)
    return np.clip((scan - low) / max(float(high - low), 1e-6), 0.0, 1.0).astype(np.float32)


def _smooth_noise(
    rng: np.random.Generator, shape: tuple[int, ...], length: float
) -> NDArray[np.float32]:
    """Draw a field of deviation 1, smooth over `length` (a share of the view)."""
    # So smooth a field is known from few nodes.
    nodes = rng.standard_normal((12,) * len(shape)).astype(np.float32)
    coarse = ndimage.gaussian_filter(nodes, 12 * length, mode="reflect")
    coarse /= max(float(coarse.std()), 1e-6)
    zoom = [n / 12 for n in shape]
    field: NDArray[np.float32] = ndimage.zoom(coarse, zoom, order=1, mode="nearest")
    return np.clip(field, -2.5, 2.5)


def _thick_slices(scan: NDArray[np.float32], axis: int, factor: int) -> NDArray[np.float32]:
    """Average `factor` voxels along an axis and interpolate back to as many as there were."""
    mean = ndimage.uniform_filter1d(scan, factor, axis=axis, mode="nearest")
    size = scan.shape[axis]
    kept = np.arange(factor // 2, size, factor)
    place = np.clip(np.interp(np.arange(size), kept, np.arange(len(kept))), 0, len(kept) - 1)
    low = place.astype(int)
    high = np.minimum(low + 1, len(kept) - 1)
    weight = (place - low).astype(np.float32)
    weight = weight.reshape([-1 if k == axis else 1 for k in range(scan.ndim)])
    thick = mean.take(kept, axis)
    result: NDArray[np.float32] = (1 - weight) * thick.take(low, axis)
    result += weight * thick.take(high, axis)
    return result

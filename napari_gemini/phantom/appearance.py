"""How the phantom looks to a scanner: grey values, bias field, noise and lesions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gemini.phantom.shapes import CAPSULE_THICKNESS, Anatomy

Floats = NDArray[np.float64]

TISSUES: dict[str, float] = {
    "air": 0.03,
    "halo": 0.30,
    "capsule": 0.38,
    "grey": 0.56,
    "white": 0.80,
    "ventricle": 0.12,
    "nucleus": 0.60,
    "gland": 0.97,
}
"""Mean grey values, 0 to 1."""


@dataclass(frozen=True)
class Appearance:
    """What makes one scan look different from another.

    Attributes
    ----------
    tissues
        Grey value per tissue, 0 to 1.
    gamma
        Exponent that bends the grey scale.
    bias
        Standard deviation of the log of the multiplicative bias field.
    noise
        Standard deviation of the (Rician) noise.
    """

    tissues: dict[str, float]
    gamma: float
    bias: float
    noise: float


def random_appearance(
    rng: np.random.Generator, *, contrast: float = 1.0, bias: float = 0.18, noise: float = 0.045
) -> Appearance:
    """Draw the looks of one scan.

    Parameters
    ----------
    rng
        Source of randomness.
    contrast
        How much grey values differ between scans; 0 gives every scan the same.
    bias, noise
        Typical strengths, see :class:`Appearance`.

    Returns
    -------
    Appearance
        The looks.
    """
    tissues = {
        name: float(np.clip(value + contrast * rng.uniform(-0.07, 0.07), 0.0, 1.0))
        for name, value in TISSUES.items()
        if name != "air"
    }
    tissues["air"] = TISSUES["air"]
    return Appearance(
        tissues=tissues,
        gamma=float(np.exp(contrast * rng.uniform(-0.35, 0.35))),
        bias=float(bias * rng.uniform(0.5, 1.3)),
        noise=float(noise * rng.uniform(0.6, 1.4)),
    )


def paint(structures: Anatomy, tissues: dict[str, float], softness: float) -> Floats:
    """Return the noise-free grey value at every point, edges softened.

    Parameters
    ----------
    structures
        The organ at N points.
    tissues
        Grey value per tissue.
    softness
        Width of an edge in half-widths of the view, about half a voxel.

    Returns
    -------
    (N,) float64
        Grey values, 0 to 1.
    """

    def over(below: Floats, inside: Floats, tissue: str) -> Floats:
        share = 1.0 / (1.0 + np.exp(np.clip(inside / softness, -30, 30)))
        return below + share * (tissues[tissue] - below)

    body = structures.body
    grey = np.full(body.shape, tissues["air"])
    grey = over(grey, structures.halo, "halo")
    grey = over(grey, body, "capsule")
    inner = body + CAPSULE_THICKNESS
    lobes = over(np.full(body.shape, tissues["grey"]), structures.folds, "white")
    # The fissure is a dark cleft that is deep at the surface and fades towards the middle.
    cleft = np.exp(-((structures.fissure / 0.03) ** 2)) * np.clip(1.0 + 3.0 * inner, 0.0, 1.0)
    lobes = lobes * (1.0 - 0.6 * cleft)
    # One lobe is a shade brighter, less than the noise: a hint, not an answer.
    lobes = lobes + 0.03 * np.tanh(structures.fissure / 0.05)
    lobes = over(lobes, structures.nucleus, "nucleus")
    lobes = over(lobes, structures.ventricle, "ventricle")
    lobes = over(lobes, structures.gland, "gland")
    share = 1.0 / (1.0 + np.exp(np.clip(inner / softness, -30, 30)))
    return grey + share * (lobes - grey)


def acquire(
    rng: np.random.Generator, grey: Floats, appearance: Appearance, wavelength: float
) -> NDArray[np.float32]:
    """Turn grey values into a scan: gamma, bias field and noise.

    Parameters
    ----------
    rng
        Source of randomness.
    grey : (*shape) float
        Noise-free grey values, 0 to 1.
    appearance
        Gamma, bias and noise.
    wavelength
        Smoothness of the bias field in voxels.

    Returns
    -------
    (*shape) float32
        The scan, 0 to about 1.
    """
    clean = np.clip(grey, 0.0, 1.0) ** appearance.gamma
    field = ndimage.gaussian_filter(rng.standard_normal(grey.shape), wavelength, mode="reflect")
    field /= max(float(field.std()), 1e-12)
    signal = clean * np.exp(appearance.bias * np.clip(field, -2.5, 2.5))
    real = signal + appearance.noise * rng.standard_normal(grey.shape)
    imaginary = appearance.noise * rng.standard_normal(grey.shape)
    return np.hypot(real, imaginary).astype(np.float32)


@dataclass(frozen=True)
class Lesion:
    """A blob that one scan has and the others lack.

    Attributes
    ----------
    center : (d,) float64
        Template position in mm.
    radii : (d,) float64
        Semi-axes in mm.
    grey
        Grey value, 0 to 1.
    """

    center: Floats
    radii: Floats
    grey: float

    def inside(self, points: Floats) -> Floats:
        """Return a function of template points (N, d) that is negative inside the lesion."""
        return np.linalg.norm((points - self.center) / self.radii, axis=1) - 1.0


def random_lesion(rng: np.random.Generator, half_extent: Floats) -> Lesion:
    """Draw a lesion in the lobes, bright or dark, 8 to 14 % of the view wide."""
    half_extent = np.asarray(half_extent, dtype=np.float64)
    direction = rng.standard_normal(len(half_extent))
    direction /= np.linalg.norm(direction)
    return Lesion(
        center=direction * rng.uniform(0.28, 0.42) * half_extent,
        radii=rng.uniform(0.08, 0.14, len(half_extent)) * half_extent,
        grey=float(rng.choice([0.05, 0.97])),
    )

"""Shapes that random anatomies are put together from: functions that are negative inside.

All lengths are in half-widths of the view, and every value is roughly a distance, so that edges
can be softened by a known width. The functions are smooth in the point, so an anatomy can be drawn
at any resolution and under any map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from napari_gemini.phantom.deformation import rotation

Singles = NDArray[np.float32]


class Shape(Protocol):
    """A structure in space."""

    def __call__(self, u: Singles) -> Singles:
        """Return (N,) values at points `u` (N, d), negative inside."""


@dataclass(frozen=True)
class Waves:
    """A smooth random function of mean 0 and variance 1: a sum of plane waves.

    Attributes
    ----------
    directions : (d, K) float32
        Wave vectors in radians per half-width.
    phases : (K,) float32
        Their phases.
    """

    directions: Singles
    phases: Singles

    @property
    def frequency(self) -> float:
        """Root mean square of the wave numbers, about the steepness of the function."""
        return float(np.sqrt((self.directions**2).sum(axis=0).mean()))

    def __call__(self, u: Singles) -> Singles:
        """Return (N,) values at points `u` (N, d)."""
        phase = u @ self.directions
        phase += self.phases
        total: Singles = np.cos(phase, out=phase).sum(axis=1)
        return total * np.float32(np.sqrt(2.0 / len(self.phases)))


def random_waves(
    rng: np.random.Generator, dimension: int, low: float, high: float, count: int = 12
) -> Waves:
    """Draw waves with wave numbers from `low` to `high` radians per half-width."""
    directions = rng.standard_normal((dimension, count))
    directions /= np.linalg.norm(directions, axis=0)
    directions *= rng.uniform(low, high, count)
    phases = rng.uniform(0.0, 2.0 * np.pi, count)
    return Waves(directions.astype(np.float32), phases.astype(np.float32))


@dataclass(frozen=True)
class Blob:
    """A turned ellipsoid with a bumpy surface.

    Attributes
    ----------
    center : (d,) float32
        Its middle.
    to_unit : (d, d) float32
        Brings the ellipsoid to the unit sphere (points as rows).
    radius
        Mean semi-axis.
    bumps
        What moves the surface.
    bump
        Root mean square of that, as a share of the radius.
    """

    center: Singles
    to_unit: Singles
    radius: float
    bumps: Waves
    bump: float

    def __call__(self, u: Singles) -> Singles:
        """Return (N,) values at points `u` (N, d), negative inside."""
        scaled = np.linalg.norm((u - self.center) @ self.to_unit, axis=1)
        shape: Singles = scaled - np.float32(1.0) + np.float32(self.bump) * self.bumps(u)
        return shape * np.float32(self.radius)


def random_blob(
    rng: np.random.Generator, center: Singles, radius: float, *, stretch: float, bump: float
) -> Blob:
    """Draw a blob.

    Parameters
    ----------
    rng
        Source of randomness.
    center
        (d,) middle.
    radius
        Mean semi-axis.
    stretch
        Largest log of the ratio of a semi-axis to `radius`.
    bump
        Largest root mean square of the bumps, as a share of the radius.
    """
    dimension = len(center)
    turn = rotation(rng.uniform(-np.pi, np.pi, 2 * dimension - 3))
    axes = radius * np.exp(rng.uniform(-stretch, stretch, dimension))
    # About one to three bumps across the blob, whatever its size.
    bumps = random_waves(rng, dimension, 1.0 / radius, 3.5 / radius, count=6)
    return Blob(
        center=np.asarray(center, np.float32),
        to_unit=(turn / axes).astype(np.float32),
        radius=float(np.exp(np.log(axes).mean())),
        bumps=bumps,
        bump=float(rng.uniform(0.0, bump)),
    )


@dataclass(frozen=True)
class Tube:
    """A bent tube that tapers.

    Attributes
    ----------
    nodes : (M, d) float32
        Points of the middle line.
    radii : (M,) float32
        Radius at each.
    """

    nodes: Singles
    radii: Singles

    def __call__(self, u: Singles) -> Singles:
        """Return (N,) values at points `u` (N, d), negative inside."""
        best = np.full(len(u), np.inf, np.float32)
        for a, b, start, end in zip(
            self.nodes[:-1], self.nodes[1:], self.radii[:-1], self.radii[1:], strict=True
        ):
            along = b - a
            share = np.clip((u - a) @ along / np.float32(along @ along), 0.0, 1.0)
            gap = np.linalg.norm(u - a - share[:, None] * along, axis=1)
            np.minimum(best, gap - (start + share * (end - start)), out=best)
        return best


def random_tube(rng: np.random.Generator, center: Singles, length: float, radius: float) -> Tube:
    """Draw an arch through `center`: `length` from end to end, `radius` in the middle."""
    dimension = len(center)
    ways = rng.standard_normal((2, dimension))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    s = np.linspace(-1.0, 1.0, 7)
    bow = rng.uniform(-0.7, 0.7)
    nodes = center + length / 2 * (s[:, None] * ways[0] + bow * (1 - s[:, None] ** 2) * ways[1])
    taper = 1.0 + rng.uniform(-0.4, 0.4) * s
    return Tube(nodes.astype(np.float32), (radius * taper).astype(np.float32))


@dataclass(frozen=True)
class Level:
    """Where a smooth function exceeds a threshold: lobes and folded sheets.

    Attributes
    ----------
    waves
        The function.
    threshold
        In its standard deviations.
    sheet
        Instead of the region above the threshold, a sheet of this half-thickness (in standard
        deviations) along it; 0 for the region.
    """

    waves: Waves
    threshold: float
    sheet: float = 0.0

    def __call__(self, u: Singles) -> Singles:
        """Return (N,) values at points `u` (N, d), negative inside."""
        height = np.float32(self.threshold) - self.waves(u)
        if self.sheet:
            height = np.abs(height) - np.float32(self.sheet)
        return height / np.float32(self.waves.frequency)


@dataclass(frozen=True)
class Grown:
    """Another shape, grown (or shrunk) by a length: shells, walls and cavities."""

    shape: Shape
    by: float

    def __call__(self, u: Singles) -> Singles:
        """Return (N,) values at points `u` (N, d), negative inside."""
        return self.shape(u) - np.float32(self.by)


@dataclass(frozen=True)
class Folded:
    """The inside of another shape below a folded border, as white matter lies below a cortex.

    Attributes
    ----------
    shape
        What is folded.
    depth
        Mean depth of the border.
    waves
        Its folds.
    height
        Root mean square of their height.
    """

    shape: Shape
    depth: float
    waves: Waves
    height: float

    def __call__(self, u: Singles) -> Singles:
        """Return (N,) values at points `u` (N, d), negative inside."""
        value = self.shape(u) + np.float32(self.depth) + np.float32(self.height) * self.waves(u)
        # Folds make the function steeper than a distance.
        steepness = np.float32(np.hypot(1.0, self.height * self.waves.frequency))
        return np.asarray(value / steepness, np.float32)

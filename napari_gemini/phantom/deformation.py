"""Smooth one-to-one maps whose inverse is known: flows of random velocity fields.

The flow of a smooth, bounded velocity field is a diffeomorphism (Dupuis, Grenander and Miller,
1998), and following the field backwards in time gives its inverse. Points are followed with
fourth-order Runge-Kutta steps on a field that is twice differentiable, so map and inverse agree
far below a voxel, and nothing is resampled on the way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]

FLOW_STEPS = 6
_SPLINE_POWER = 151.0 / 315.0
"""Mean of the squared cubic B-spline weights along one axis, for a known amplitude."""


@dataclass(frozen=True)
class SplineVelocity:
    """A stationary velocity field: a cubic B-spline over a coarse lattice.

    Attributes
    ----------
    coefficients : (d, *lattice) float64
        Spline coefficients in mm per unit of time; constant beyond the lattice.
    origin : (d,) float64
        Position of the first lattice node in mm.
    step : (d,) float64
        Distance of the nodes in mm.
    """

    coefficients: Floats
    origin: Floats
    step: Floats

    @property
    def ndim(self) -> int:
        """Dimension of space."""
        return int(self.coefficients.shape[0])

    def __call__(self, points: Floats) -> Floats:
        """Return the velocity (N, d) in mm at `points` (N, d) in mm."""
        index = ((points - self.origin) / self.step).T
        return np.stack(
            [
                ndimage.map_coordinates(c, index, order=3, mode="nearest", prefilter=False)
                for c in self.coefficients
            ],
            axis=1,
        )


def random_velocity(
    rng: np.random.Generator,
    half_extent: Floats,
    amplitude: float,
    *,
    nodes: int = 9,
    detail: float = 0.45,
) -> SplineVelocity:
    """Draw a smooth velocity field.

    Parameters
    ----------
    rng
        Source of randomness.
    half_extent : (d,) float
        Half of the field of view in mm; the lattice covers it with a margin.
    amplitude
        Root mean square of each velocity component in mm.
    nodes
        Lattice nodes across the field of view; fewer give smoother maps.
    detail
        Share of the variance in the finer of the two scales (0 to 1).

    Returns
    -------
    SplineVelocity
        The field.
    """
    half_extent = np.asarray(half_extent, dtype=np.float64)
    ndim = len(half_extent)
    step = 2.0 * half_extent / (nodes - 1)
    margin = 3
    lattice = (nodes + 2 * margin,) * ndim
    coefficients = np.zeros((ndim, *lattice))
    for sigma, share in ((2.0, 1.0 - detail), (1.0, detail)):
        for k in range(ndim):
            noise = rng.standard_normal(tuple(n + 16 for n in lattice))
            smooth = ndimage.gaussian_filter(noise, sigma, mode="wrap")[(slice(8, -8),) * ndim]
            # A Gaussian filter of this width leaves this much of white noise's deviation; the
            # spline, smoothing what is smooth already, takes little more.
            deviation = (4.0 * np.pi * (sigma**2 + 1.0 / 6.0)) ** (-ndim / 4.0)
            coefficients[k] += np.sqrt(share) * smooth / deviation
    return SplineVelocity(amplitude * coefficients, -half_extent - margin * step, step)


def flow(
    velocity: SplineVelocity, points: Floats, time: float = 1.0, steps: int = FLOW_STEPS
) -> Floats:
    """Follow points along a velocity field.

    Parameters
    ----------
    velocity
        The field.
    points : (N, d) float
        Starting points in mm.
    time
        1 for the map, -1 for its inverse.
    steps
        Runge-Kutta steps.

    Returns
    -------
    (N, d) float64
        End points in mm.
    """
    x = np.array(points, dtype=np.float64, copy=True)
    h = time / steps
    for _ in range(steps):
        k1 = velocity(x)
        k2 = velocity(x + 0.5 * h * k1)
        k3 = velocity(x + 0.5 * h * k2)
        k4 = velocity(x + h * k3)
        x += (h / 6.0) * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
    return x


@dataclass(frozen=True)
class CaseMap:
    """The known map between the template and one scan, both ways.

    Template point -> flow of the velocity field -> pose (an affine map) -> the scan's own world.

    Attributes
    ----------
    velocity
        Non-linear part.
    matrix : (d + 1, d + 1) float64
        Affine from the deformed template to the scan's world (RAS mm).
    """

    velocity: SplineVelocity
    matrix: Floats

    @property
    def ndim(self) -> int:
        """Dimension of space."""
        return self.velocity.ndim

    def from_template(self, points: Floats) -> Floats:
        """Map template points (N, d) in mm to the scan's world (N, d) in mm."""
        return affine_points(self.matrix, flow(self.velocity, np.asarray(points, np.float64)))

    def to_template(self, points: Floats) -> Floats:
        """Map points (N, d) of the scan's world in mm to the template (N, d) in mm."""
        inverse = np.asarray(np.linalg.inv(self.matrix), np.float64)
        back = affine_points(inverse, np.asarray(points, np.float64))
        return flow(self.velocity, back, time=-1.0)

    def grid_to_template(self, affine: Floats, shape: tuple[int, ...], stride: int = 2) -> Floats:
        """Map every voxel centre of a grid to the template.

        The map is so smooth that it is followed at every `stride`-th voxel and interpolated
        between by cubic splines, which is many times faster and right to a few thousandths of a
        voxel.

        Parameters
        ----------
        affine : (d + 1, d + 1) float
            Voxel index -> the scan's world in mm.
        shape
            Voxels along each axis.
        stride
            1 follows every voxel.

        Returns
        -------
        (prod(shape), d) float64
            Template points in mm, last axis of the grid fastest.
        """
        pad = 3 if stride > 1 else 0
        axes = [np.arange(-pad, (n - 1) // stride + 2 + pad) * float(stride) for n in shape]
        nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        nodes = nodes.reshape(-1, len(shape)).astype(np.float64)
        lattice = tuple(len(a) for a in axes)
        mapped = self.to_template(affine_points(affine, nodes))
        wanted = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).reshape(
            len(shape), -1
        )
        index = wanted / float(stride) + pad
        return np.stack(
            [ndimage.map_coordinates(c.reshape(lattice), index, order=3) for c in mapped.T], axis=1
        )


def affine_points(matrix: Floats, points: Floats) -> Floats:
    """Apply a (d + 1, d + 1) matrix to points (N, d)."""
    d = matrix.shape[0] - 1
    return points @ matrix[:d, :d].T + matrix[:d, d]


def random_pose(
    rng: np.random.Generator,
    half_extent: Floats,
    *,
    degrees: float = 6.0,
    shift: float = 0.04,
    scale: float = 0.05,
) -> Floats:
    """Draw a small affine map: rotation, shift and a scale per axis.

    Parameters
    ----------
    rng
        Source of randomness.
    half_extent : (d,) float
        Half of the field of view in mm.
    degrees
        Largest rotation about each axis.
    shift
        Largest shift as a share of the half extent.
    scale
        Largest log of the scale along an axis.

    Returns
    -------
    (d + 1, d + 1) float64
        The matrix, determinant positive.
    """
    half_extent = np.asarray(half_extent, dtype=np.float64)
    ndim = len(half_extent)
    matrix = np.eye(ndim + 1)
    matrix[:ndim, :ndim] = rotation(np.deg2rad(rng.uniform(-degrees, degrees, 2 * ndim - 3)))
    matrix[:ndim, :ndim] *= np.exp(rng.uniform(-scale, scale, ndim))
    matrix[:ndim, ndim] = rng.uniform(-shift, shift, ndim) * half_extent
    return matrix


def rotation(angles: Floats) -> Floats:
    """Return the rotation matrix for one angle (2D) or three (3D, about x, y, z), in radians."""
    if len(angles) == 1:
        c, s = np.cos(angles[0]), np.sin(angles[0])
        return np.array([[c, -s], [s, c]])
    result = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = (k for k in range(3) if k != axis)
        turn = np.eye(3)
        turn[[i, i, j, j], [i, j, i, j]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
        result = turn @ result
    return result

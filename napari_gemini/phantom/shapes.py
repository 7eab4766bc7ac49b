"""The anatomy of the phantom: nested, named structures as functions of a point in space.

Every structure is a function that is negative inside and roughly a distance, so labels are exact
at any point and any resolution, and pictures can be drawn without jagged edges. The 2D phantom is
a sagittal cut through the 3D one, so both show the same organ.

The organ looks like a small brain: a thin capsule, an anterior and a posterior lobe parted by a
wavy fissure, a pair of arched ventricles, a pair of nuclei below the arch and one small gland at
the base. The folds inside the lobes are texture without a label, and no label is a grey value:
which lobe a voxel belongs to can only be told from where it lies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CAPSULE, ANTERIOR, POSTERIOR, VENTRICLE, NUCLEUS, GLAND = 1, 2, 3, 4, 5, 6

NAMES: dict[int, str] = {
    CAPSULE: "capsule",
    ANTERIOR: "anterior lobe",
    POSTERIOR: "posterior lobe",
    VENTRICLE: "ventricle",
    NUCLEUS: "nucleus",
    GLAND: "gland",
}

CAPSULE_THICKNESS = 0.09
SAGITTAL_CUT = 0.17
"""Where, left of the middle, the 2D phantom cuts the organ (in half-widths of the view)."""


@dataclass(frozen=True)
class Anatomy:
    """Structures of the organ at N points; each array is negative inside, in half-widths.

    Attributes
    ----------
    body
        The whole organ, capsule included.
    fissure
        Positive in front of the fissure, negative behind.
    ventricle, nucleus, gland
        The inner structures.
    folds
        White matter within the lobes (texture, no label of its own).
    halo
        Soft tissue around the organ (no label).
    """

    body: Floats
    fissure: Floats
    ventricle: Floats
    nucleus: Floats
    gland: Floats
    folds: Floats
    halo: Floats


def _ellipsoid(u: Floats, center: tuple[float, ...], radii: tuple[float, ...]) -> Floats:
    """Approximate distance to an ellipsoid at `u` (N, 3)."""
    scaled = (u - np.array(center)) / np.array(radii)
    return (np.linalg.norm(scaled, axis=1) - 1.0) * min(radii)


def _arch(u: Floats, side: float) -> Floats:
    """Distance to an arched, tapering tube right (`side` +1) or left (-1) of the middle."""
    x = u[:, 0] - side * (0.17 + 0.10 * (u[:, 1] + 0.1) ** 2)
    y, z = u[:, 1] + 0.04, u[:, 2] + 0.04
    # The angle runs from the front horn over the top to the back horn.
    angle = np.arctan2(z, y)
    nearest = np.clip(np.where(angle < -np.pi / 2, angle + 2 * np.pi, angle), -0.15, 3.7)
    radius = 0.30
    distance = np.sqrt(
        x**2 + (y - radius * 1.2 * np.cos(nearest)) ** 2 + (z - radius * np.sin(nearest)) ** 2
    )
    thickness = 0.115 + 0.03 * np.cos(nearest - 0.3) - 0.012 * side
    return distance - thickness


def _body(u: Floats) -> Floats:
    """Return the outer surface: a bumpy ellipsoid, flat at the base."""
    x, y, z = (u / np.array([0.70, 0.78, 0.72])).T
    radius = np.sqrt(x**2 + y**2 + z**2)
    dx, dy, dz = (c / np.maximum(radius, 0.2) for c in (x, y, z))
    bumps = 0.05 * np.cos(3.1 * dy + 1.2 * dx) + 0.035 * np.sin(5.0 * dz + 2.0 * dy)
    base = 0.16 * np.clip(-dz - 0.35, 0, None) * (1 - 0.5 * dy)
    return (radius - (1.0 + bumps - base)) * 0.70


def anatomy(points: Floats, half_extent: Floats) -> Anatomy:
    """Evaluate the organ at points of the template.

    Parameters
    ----------
    points : (N, d) float
        Points in mm, in RAS axes for d = 3 and (anterior, superior) for d = 2, 0 in the middle.
    half_extent : (d,) float
        Half of the full field of view in mm, which the organ fills to about 70 %.

    Returns
    -------
    Anatomy
        One value per point and structure.
    """
    u = np.asarray(points, dtype=np.float64) / np.asarray(half_extent, dtype=np.float64)
    if u.shape[1] == 2:
        u = np.column_stack([np.full(len(u), SAGITTAL_CUT), u])
    x, y, z = u.T
    body = _body(u)
    fissure = 0.9 * y + 0.42 * z + 0.05 * np.sin(6.0 * z + 3.0 * x) + 0.05
    nucleus = np.minimum(
        _ellipsoid(u, (0.20, -0.05, -0.05), (0.13, 0.18, 0.125)),
        _ellipsoid(u, (-0.20, -0.04, -0.06), (0.125, 0.185, 0.13)),
    )
    waves = np.sin(9.5 * y + 2.5 * z + 1.0) + np.sin(9.0 * z - 3.0 * y) + np.sin(8.5 * x + 2.0 * z)
    return Anatomy(
        body=body,
        fissure=fissure,
        ventricle=np.minimum(_arch(u, 1.0), _arch(u, -1.0)),
        nucleus=nucleus,
        gland=_ellipsoid(u, (0.08, 0.16, -0.40), (0.15, 0.15, 0.11)),
        folds=body + CAPSULE_THICKNESS + 0.12 + 0.06 * waves,
        halo=np.maximum(body - 0.125, 0.05 - body),
    )


def labels_of(structures: Anatomy) -> NDArray[np.uint8]:
    """Return the label of every point: (N,) uint8, 0 outside the organ."""
    labels = np.zeros(structures.body.shape, dtype=np.uint8)
    inside = structures.body < 0
    labels[inside] = np.where(structures.fissure[inside] >= 0, ANTERIOR, POSTERIOR)
    labels[inside & (structures.nucleus < 0)] = NUCLEUS
    labels[inside & (structures.ventricle < 0)] = VENTRICLE
    labels[inside & (structures.gland < 0)] = GLAND
    labels[inside & (structures.body > -CAPSULE_THICKNESS)] = CAPSULE
    return labels

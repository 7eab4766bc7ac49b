"""Cohorts of phantom scans, each the template warped by its own known map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import InputError
from napari_gemini.phantom.appearance import (
    Appearance,
    Lesion,
    acquire,
    paint,
    random_appearance,
    random_lesion,
)
from napari_gemini.phantom.deformation import CaseMap, random_pose, random_velocity
from napari_gemini.phantom.headers import CaseGrid, Headers, case_grid
from napari_gemini.phantom.shapes import NAMES, anatomy, labels_of
from napari_gemini.phantom.truth import Truth, template_landmarks
from napari_gemini.volumes.volume import Volume

Floats = NDArray[np.float64]

DEFAULT_SHAPE: dict[int, tuple[int, ...]] = {2: (96, 96), 3: (40, 48, 40)}
DEFAULT_SPACING: dict[int, float] = {2: 1.0, 3: 2.0}

# Independent streams of randomness, so that an option changes what it names and nothing else.
_MAP, _LOOKS, _HEADER, _LESION, _SCAN = range(5)


@dataclass(frozen=True)
class PhantomCase:
    """One scan of a cohort.

    Attributes
    ----------
    id
        Name, for instance ``phantom_003``.
    image
        The scan.
    labels
        True labels on the grid of the scan, see :data:`napari_gemini.phantom.shapes.NAMES`.
    names
        Name of each label.
    map
        Map between the template and the scan's world.
    lesion
        Mask of the lesion, if the scan has one; labels run through it as if it were not there.
    """

    id: str
    image: Volume
    labels: Volume
    names: dict[int, str]
    map: CaseMap
    lesion: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Cohort:
    """Phantom scans with known correspondence.

    Attributes
    ----------
    cases
        The scans.
    names
        Name of each label.
    dimension
        2 or 3.
    seed
        Seed that the cohort was made with.
    truth
        Maps and landmarks, the part of the cohort that :func:`write_cohort` puts under ``truth/``.
    """

    cases: list[PhantomCase]
    names: dict[int, str]
    dimension: int
    seed: int
    truth: Truth

    def __len__(self) -> int:
        """Return the number of scans."""
        return len(self.cases)

    def true_map(self, fixed_index: int, moving_index: int, points_world: Floats) -> Floats:
        """Map points of the fixed scan to where the same anatomy is in the moving scan.

        Parameters
        ----------
        fixed_index, moving_index
            Numbers of the two cases.
        points_world : (N, d) float
            Points in the fixed scan's world (RAS mm).

        Returns
        -------
        (N, d) float64
            Points in the moving scan's world (RAS mm).
        """
        return self.truth.true_map(
            self.cases[fixed_index].id, self.cases[moving_index].id, points_world
        )


def make_cohort(
    count: int = 24,
    dimension: Literal[2, 3] = 3,
    shape: tuple[int, ...] | None = None,
    seed: int = 0,
    *,
    spacing: float | None = None,
    lesions: bool = False,
    crop: bool = True,
    headers: Headers = "plain",
    amplitude: float = 0.046,
    contrast: float = 1.0,
    noise: float = 0.045,
    bias: float = 0.18,
) -> Cohort:
    """Make a cohort of scans of one synthetic organ.

    The same arguments give the same cohort, and a longer cohort begins with the shorter one.

    Parameters
    ----------
    count
        Number of scans.
    dimension
        2 or 3.
    shape
        Voxels of the full field of view along right, anterior, superior (3D) or of the picture
        (2D); (40, 48, 40) and (96, 96) when not given. The organ fills it.
    seed
        Seed of everything random.
    spacing
        Voxel size in mm; 2 in 3D and 1 in 2D when not given.
    lesions
        Whether every second scan has a lesion that no other scan has.
    crop
        Whether some scans lose a margin of their field of view.
    headers
        ``plain``: RAS axes and isotropic voxels; in 2D a picture without known spacing.
        ``varied``: axes permuted and flipped, voxels anisotropic, origin anywhere.
        ``oblique``: that, and the scan plane tilted.
    amplitude
        Strength of the deformation as a share of half the field of view. The default leaves two
        scans with a mean Dice of about 0.5 before registration.
    contrast, noise, bias
        Strength of what differs between scanners, see
        :func:`napari_gemini.phantom.appearance.random_appearance`.

    Returns
    -------
    Cohort
        The scans and their true maps.

    Raises
    ------
    InputError
        If the options do not fit together.
    """
    if dimension not in (2, 3):
        raise InputError(f"A phantom has 2 or 3 dimensions, not {dimension}.")
    full = DEFAULT_SHAPE[dimension] if shape is None else tuple(int(n) for n in shape)
    if len(full) != dimension or min(full) < 16:
        raise InputError(
            f"A {dimension}D phantom needs {dimension} sizes of at least 16 voxels, not {full}."
        )
    if count < 1:
        raise InputError("A cohort needs at least one scan: raise the count.")
    step = DEFAULT_SPACING[dimension] if spacing is None else float(spacing)
    half_extent = np.array(full, dtype=np.float64) * step / 2.0
    cases = []
    for index in range(count):
        grid = case_grid(
            np.random.default_rng([seed, index, _HEADER]), full, step, headers=headers, crop=crop
        )
        rng = np.random.default_rng([seed, index, _MAP])
        velocity = random_velocity(rng, half_extent, amplitude * float(half_extent.mean()))
        case_map = CaseMap(velocity, grid.frame @ random_pose(rng, half_extent))
        appearance = random_appearance(
            np.random.default_rng([seed, index, _LOOKS]), contrast=contrast, bias=bias, noise=noise
        )
        lesion = None
        if lesions and index % 2 == 1:
            lesion = random_lesion(np.random.default_rng([seed, index, _LESION]), half_extent)
        scanner = np.random.default_rng([seed, index, _SCAN])
        name = f"phantom_{index + 1:03d}"
        cases.append(_scan(name, grid, case_map, half_extent, appearance, lesion, scanner))
    truth = Truth(
        names=dict(NAMES),
        maps={case.id: case.map for case in cases},
        grids={case.id: (case.image.affine, tuple(case.image.shape)) for case in cases},
        template=template_landmarks(half_extent),
    )
    return Cohort(cases, dict(NAMES), dimension, seed, truth)


def _scan(
    name: str,
    grid: CaseGrid,
    case_map: CaseMap,
    half_extent: Floats,
    appearance: Appearance,
    lesion: Lesion | None,
    scanner: np.random.Generator,
) -> PhantomCase:
    """Draw one scan on its grid."""
    points = case_map.grid_to_template(grid.square_affine, grid.shape)
    structures = anatomy(points, half_extent)
    softness = 0.4 * float(np.min(grid.spacing) / half_extent.min())
    grey = paint(structures, appearance.tissues, softness)
    mask = None
    if lesion is not None:
        mask = (lesion.inside(points) < 0) & (structures.body < 0)
        grey = np.where(mask, lesion.grey, grey)
        mask = mask.reshape(grid.shape)
    scan = acquire(scanner, grey.reshape(grid.shape), appearance, 0.25 * min(grid.shape))
    if grid.spacing_known:
        data = np.clip(np.rint(scan * 1000.0), 0, 4095).astype(np.int16)
    else:
        data = np.clip(np.rint(scan * 220.0), 0, 255).astype(np.uint8)
    labels = labels_of(structures).reshape(grid.shape)
    return PhantomCase(
        id=name,
        image=Volume(data, grid.affine, spacing_known=grid.spacing_known),
        labels=Volume(labels, grid.affine, spacing_known=grid.spacing_known),
        names=dict(NAMES),
        map=case_map,
        lesion=mask,
    )

"""Randomised cohorts: groups of scans, each group another anatomy.

Scans of one group show one random anatomy, each warped by its own known one-to-one map and taken
by its own random scanner, so pairs within a group correspond voxel by voxel. Groups share nothing.
A network that learns correspondence from many groups has no organ and no contrast to rely on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import InputError
from napari_gemini.phantom.appearance import random_lesion
from napari_gemini.phantom.cohort import PhantomCase
from napari_gemini.phantom.deformation import CaseMap, random_pose, random_velocity
from napari_gemini.phantom.headers import case_grid
from napari_gemini.phantom.random_anatomy import RandomAnatomy, labels_of, random_anatomy
from napari_gemini.phantom.random_looks import (
    Contrast,
    acquire,
    paint,
    random_artefacts,
    random_contrast,
    vary_contrast,
)
from napari_gemini.phantom.truth import LANDMARKS_PER_LABEL, Landmarks, Truth
from napari_gemini.volumes.volume import Volume

Floats = NDArray[np.float64]

DEFAULT_SIZE: dict[int, int] = {2: 128, 3: 64}
SMALLEST_SIZE = 32
SPACING_MM = 1.0

MIXED = 0.3
"""Share of groups, projections left out, whose scans were taken in two unlike contrasts."""
LESIONED = 0.12
"""Share of scans that have a lesion the others lack."""
SHADOWS = 0.2
"""Share of 2D groups with an outside that are projections, like X-ray pictures."""

# Independent streams of randomness, so that a longer cohort begins with the shorter one.
_GROUP, _CASE = range(2)


@dataclass(frozen=True)
class RandomGroup:
    """Scans of one random anatomy.

    Attributes
    ----------
    name
        Name, for instance ``g004``.
    anatomy
        What they show.
    cases
        The scans; labels number the structures of this anatomy and mean nothing in other groups.
    truth
        Their maps and landmarks.
    contrasts
        Number of the contrast that each scan was taken in, by its id.
    """

    name: str
    anatomy: RandomAnatomy
    cases: list[PhantomCase]
    truth: Truth
    contrasts: dict[str, int]


@dataclass(frozen=True)
class _Plan:
    """What all scans of a group have in common."""

    name: str
    anatomy: RandomAnatomy
    contrasts: tuple[Contrast, ...]
    full: tuple[int, ...]
    amplitude: float
    detail: float
    degrees: float
    spread: float

    @property
    def half_extent(self) -> Floats:
        """Half of the full field of view in mm."""
        return np.array(self.full, dtype=np.float64) * SPACING_MM / 2.0

    @property
    def names(self) -> dict[int, str]:
        """Name of each label."""
        return {k + 1: f"structure {k + 1}" for k in range(len(self.anatomy.structures))}


def random_groups(
    groups: int,
    per_group: int,
    dimension: Literal[2, 3] = 3,
    size: int | None = None,
    seed: int = 0,
) -> Iterator[RandomGroup]:
    """Make groups of scans, one after the other.

    The same arguments give the same groups, and more groups, or more scans in each, begin with the
    fewer ones.

    Parameters
    ----------
    groups
        Number of anatomies.
    per_group
        Scans of each; at least two, so that there are pairs.
    dimension
        2 (pictures without pixel size) or 3.
    size
        Voxels along the longest axis; 128 in 2D and 64 in 3D when not given. The other axes are
        drawn between 70 and 100 % of it.
    seed
        Seed of everything random.

    Raises
    ------
    InputError
        If an option cannot be met.
    """
    if dimension not in (2, 3):
        raise InputError(f"A phantom has 2 or 3 dimensions, not {dimension}.")
    size = DEFAULT_SIZE[dimension] if size is None else size
    if size < SMALLEST_SIZE:
        raise InputError(f"A phantom needs at least {SMALLEST_SIZE} voxels along its longest axis.")
    if groups < 1 or per_group < 2:
        raise InputError("There must be at least one group, and two scans in each to make pairs.")
    return (_group(k, per_group, dimension, size, seed) for k in range(groups))


def _plan(index: int, dimension: int, size: int, seed: int) -> _Plan:
    rng = np.random.default_rng([seed, index, _GROUP])
    anatomy = random_anatomy(rng, dimension)
    shadow = dimension == 2 and anatomy.kind != "interior" and rng.random() < SHADOWS
    contrasts = [random_contrast(rng, anatomy, shadow=shadow)]
    if not shadow and rng.random() < MIXED:
        contrasts.append(random_contrast(rng, anatomy))
    full = np.rint(size * rng.uniform(0.7, 1.0, dimension)).astype(int)
    full[rng.integers(dimension)] = size
    return _Plan(
        name=f"g{index + 1:03d}",
        anatomy=anatomy,
        contrasts=tuple(contrasts),
        full=tuple(map(int, full)),
        amplitude=float(rng.uniform(0.015, 0.05)),
        detail=float(rng.uniform(0.2, 0.6)),
        degrees=float(rng.uniform(2.0, 14.0)),
        spread=float(rng.uniform(0.02, 0.12)),
    )


def _group(index: int, per_group: int, dimension: int, size: int, seed: int) -> RandomGroup:
    plan = _plan(index, dimension, size, seed)
    made = [
        _case(f"{plan.name}-{k + 1:02d}", plan, np.random.default_rng([seed, index, _CASE, k]))
        for k in range(per_group)
    ]
    cases = [case for case, _ in made]
    truth = Truth(
        names=plan.names,
        maps={case.id: case.map for case in cases},
        grids={case.id: (case.image.affine, tuple(case.image.shape)) for case in cases},
        template=_landmarks(plan),
    )
    contrasts = {case.id: contrast for case, contrast in made}
    return RandomGroup(plan.name, plan.anatomy, cases, truth, contrasts)


def _case(name: str, plan: _Plan, rng: np.random.Generator) -> tuple[PhantomCase, int]:
    """Draw one scan and the number of its contrast."""
    half = plan.half_extent
    grid = case_grid(rng, plan.full, SPACING_MM, headers="plain", crop=bool(rng.random() < 0.5))
    velocity = random_velocity(
        rng, half, plan.amplitude * float(half.mean()), detail=plan.detail, nodes=9
    )
    pose = random_pose(rng, half, degrees=plan.degrees, shift=0.06, scale=0.08)
    case_map = CaseMap(velocity, grid.frame @ pose)
    points = case_map.grid_to_template(grid.square_affine, grid.shape, stride=4)
    u = plan.anatomy.bent(points, half)
    values = plan.anatomy.evaluate(u)
    number = int(rng.integers(len(plan.contrasts)))
    contrast = vary_contrast(rng, plan.contrasts[number], plan.spread)
    softness = 0.4 * float(np.min(grid.spacing) / half.min())
    grey = paint(plan.anatomy, u, values, contrast, softness)
    mask = None
    if rng.random() < LESIONED:
        lesion = random_lesion(rng, half)
        inside = lesion.inside(points) < 0
        grey = np.where(inside, np.float32(lesion.grey), grey)
        mask = inside.reshape(grid.shape)
    artefacts = random_artefacts(rng, len(plan.full))
    scan = acquire(rng, grey.reshape(grid.shape), artefacts)
    if grid.spacing_known:
        data = np.rint(scan * 1000.0).astype(np.int16)
    else:
        data = np.rint(scan * 255.0).astype(np.uint8)
    labels = labels_of(values).reshape(grid.shape)
    case = PhantomCase(
        id=name,
        image=Volume(data, grid.affine, spacing_known=grid.spacing_known),
        labels=Volume(labels, grid.affine, spacing_known=grid.spacing_known),
        names=plan.names,
        map=case_map,
        lesion=mask,
    )
    return case, number


def _landmarks(plan: _Plan) -> Landmarks:
    """Choose a few points of the template in each structure that can be seen."""
    half = plan.half_extent
    rng = np.random.default_rng(20250205)
    points = rng.uniform(-0.9, 0.9, (20_000, len(half))) * half
    labels = labels_of(plan.anatomy.evaluate(plan.anatomy.bent(points, half)))
    chosen: list[int] = []
    names: list[str] = []
    for label, name in plan.names.items():
        found = np.flatnonzero(labels == label)[:LANDMARKS_PER_LABEL]
        chosen.extend(found.tolist())
        names.extend(f"{name} {k + 1}" for k in range(len(found)))
    return Landmarks(
        tuple(names),
        labels[chosen].astype(int),
        points[chosen],
        np.ones(len(chosen), dtype=bool),
    )

"""Random anatomies: nested structures of random number, shape and place.

A general model must not know one organ but what organs are like, so each anatomy is drawn anew:
whole organs on a dark ground with shells, lobes and folds; trunks with paired organs and vessels;
and views into the middle of tissue, without any ground. The shapes are synthesised as for
SynthMorph (Hoffmann et al. 2022), with closed, nested structures in place of its level sets alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_gemini.phantom.random_shapes import (
    Folded,
    Grown,
    Level,
    Shape,
    Singles,
    Waves,
    random_blob,
    random_tube,
    random_waves,
)

Floats = NDArray[np.float64]
Kind = Literal["organ", "trunk", "interior"]

KINDS: dict[Kind, float] = {"organ": 0.45, "trunk": 0.2, "interior": 0.35}
"""How often each kind of anatomy is drawn."""

GROUND = 0
"""Tissue around the body."""


@dataclass(frozen=True)
class Structure:
    """One structure of an anatomy.

    Attributes
    ----------
    shape
        Where it is.
    tissue
        Number of its tissue; several structures may share one.
    within
        Position of the structure that it lies in, or None for the whole view.
    mirrored
        Whether it is there on both sides of the anatomy's plane of symmetry.
    """

    shape: Shape
    tissue: int
    within: int | None = None
    mirrored: bool = False


@dataclass(frozen=True)
class RandomAnatomy:
    """Structures in the order they are painted; later ones cover earlier ones.

    Attributes
    ----------
    kind
        What it resembles.
    structures
        The structures; their label is their position plus one.
    tissues
        Number of tissues, the ground included.
    bend
        One smooth function for each axis that bends the whole anatomy, so that nothing is quite
        symmetric or elliptic.
    bending
        Its root mean square in half-widths.
    middle
        Where the plane of symmetry cuts the first axis, in half-widths.
    texture
        Fine pattern that belongs to the anatomy and moves with it.
    """

    kind: Kind
    structures: tuple[Structure, ...]
    tissues: int
    bend: tuple[Waves, ...]
    bending: float
    middle: float
    texture: Waves

    def bent(self, points: Floats, half_extent: Floats) -> Singles:
        """Return points (N, d) of the template in mm as points of the bent anatomy."""
        u = (np.asarray(points) / np.asarray(half_extent)).astype(np.float32)
        moved = np.stack([wave(u) for wave in self.bend], axis=1)
        return u + np.float32(self.bending) * moved

    def evaluate(self, u: Singles) -> Singles:
        """Evaluate every structure at points `u` (N, d) of the bent anatomy.

        Returns
        -------
        (M, N) float32
            Negative inside, about a distance in half-widths. A structure never leaves the one
            that it lies in.
        """
        folded = u.copy()
        # A rounded fold, so that structures on the plane of symmetry have no crease.
        folded[:, 0] = np.sqrt((u[:, 0] - np.float32(self.middle)) ** 2 + np.float32(1e-3))
        values = np.empty((len(self.structures), len(u)), np.float32)
        for k, structure in enumerate(self.structures):
            values[k] = structure.shape(folded if structure.mirrored else u)
            if structure.within is not None:
                np.maximum(values[k], values[structure.within], out=values[k])
        return values


def labels_of(values: Singles) -> NDArray[np.uint8]:
    """Return the label (N,) of every point from what :meth:`RandomAnatomy.evaluate` returned."""
    labels = np.zeros(values.shape[1], np.uint8)
    for k, value in enumerate(values):
        labels[value < 0] = k + 1
    return labels


class _Drawing:
    """Collects the structures of one anatomy while they are drawn."""

    def __init__(self, rng: np.random.Generator, dimension: int, symmetric: bool) -> None:
        self.rng = rng
        self.dimension = dimension
        self.symmetric = symmetric
        self.tissues = int(rng.integers(4, 9))
        self.structures: list[Structure] = []

    def tissue_unlike(self, *others: int) -> int:
        """Draw a tissue other than the ground and the ones given."""
        free = [t for t in range(1, self.tissues) if t not in others]
        return int(self.rng.choice(free))

    def add(self, shape: Shape, within: int | None, *, alone: bool = False) -> int:
        """Add a structure of another tissue than the one it lies in; return its position."""
        around = GROUND if within is None else self.structures[within].tissue
        mirrored = self.symmetric and not alone and bool(self.rng.random() < 0.7)
        self.structures.append(Structure(shape, self.tissue_unlike(around), within, mirrored))
        return len(self.structures) - 1

    def place(self, reach: float) -> Singles:
        """Draw a point within `reach` half-widths of the middle, uniformly."""
        way = self.rng.standard_normal(self.dimension)
        far = reach * self.rng.random() ** (1.0 / self.dimension)
        return (way / np.linalg.norm(way) * far).astype(np.float32)

    def shells(self, body: int) -> int:
        """Add up to three shells inside the body, as fat, bone and fluid are; return the inmost."""
        depth, inmost = 0.0, body
        for _ in range(self.rng.integers(0, 4)):
            depth += float(self.rng.uniform(0.03, 0.1))
            outer = self.structures[body]
            tissue = self.tissue_unlike(self.structures[inmost].tissue)
            shell = Structure(Grown(outer.shape, -depth), tissue, None, outer.mirrored)
            self.structures.append(shell)
            inmost = len(self.structures) - 1
        return inmost

    def lobes(self, within: int | None, count: int, low: float, high: float) -> None:
        """Add large regions with smooth borders."""
        for _ in range(count):
            waves = random_waves(self.rng, self.dimension, low, high, count=8)
            self.add(Level(waves, float(self.rng.uniform(-0.2, 0.9))), within)

    def folds(self, within: int) -> None:
        """Add sheets that wind through a structure, as a cortex or a septum does."""
        high = float(self.rng.uniform(6.0, 11.0))
        waves = random_waves(self.rng, self.dimension, 0.6 * high, high, count=10)
        self.add(Level(waves, 0.0, float(self.rng.uniform(0.25, 0.5))), within)

    def cortex(self, within: int) -> int:
        """Add what lies below a folded cortex; return its position."""
        rng, outer = self.rng, self.structures[within]
        frequency = float(rng.uniform(8.0, 18.0))
        waves = random_waves(rng, self.dimension, 0.6 * frequency, frequency, count=12)
        height = float(rng.uniform(0.4, 0.9)) / frequency
        shape = Folded(outer.shape, float(rng.uniform(1.0, 2.0)) * height, waves, height)
        tissue = self.tissue_unlike(outer.tissue)
        self.structures.append(Structure(shape, tissue, within, outer.mirrored))
        return len(self.structures) - 1

    def organ(self, within: int | None, reach: float, low: float, high: float) -> None:
        """Add a blob or a tube, often with a wall or a core of another tissue."""
        rng = self.rng
        center = self.place(reach)
        radius = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        shape: Shape
        if rng.random() < 0.3:
            shape = random_tube(rng, center, radius * rng.uniform(4.0, 8.0), 0.7 * radius)
        else:
            shape = random_blob(rng, center, radius, stretch=0.5, bump=0.12)
        outside = self.add(shape, within)
        if rng.random() < 0.45:
            core = Grown(shape, -radius * float(rng.uniform(0.25, 0.55)))
            around = self.structures[outside]
            tissue = self.tissue_unlike(around.tissue)
            self.structures.append(Structure(core, tissue, outside, around.mirrored))


def random_anatomy(rng: np.random.Generator, dimension: int) -> RandomAnatomy:
    """Draw an anatomy.

    Parameters
    ----------
    rng
        Source of randomness.
    dimension
        2 or 3.

    Returns
    -------
    RandomAnatomy
        Between about 4 and 25 structures.
    """
    kind: Kind = rng.choice(np.array(list(KINDS)), p=list(KINDS.values()))
    symmetric = bool(rng.random() < {"organ": 0.5, "trunk": 0.8, "interior": 0.15}[kind])
    drawing = _Drawing(rng, dimension, symmetric)
    if kind == "interior":
        drawing.lobes(None, int(rng.integers(2, 6)), 1.5, 5.0)
        if rng.random() < 0.3:
            drawing.folds(int(rng.integers(len(drawing.structures))))
        for _ in range(rng.integers(4, 14)):
            drawing.organ(None, 1.0, 0.07, 0.4)
    else:
        _fill_body(drawing, kind)
    return RandomAnatomy(
        kind=kind,
        structures=tuple(drawing.structures),
        tissues=drawing.tissues,
        bend=tuple(random_waves(rng, dimension, 1.0, 4.0, count=8) for _ in range(dimension)),
        bending=float(rng.uniform(0.02, 0.08)),
        middle=float(rng.uniform(-0.08, 0.08)),
        texture=random_waves(rng, dimension, 10.0, float(rng.uniform(20.0, 45.0)), count=20),
    )


def _fill_body(drawing: _Drawing, kind: Kind) -> None:
    """Draw the body and everything in it, and now and then something beside it."""
    rng = drawing.rng
    large = kind == "trunk"
    radius = float(rng.uniform(0.82, 0.98) if large else rng.uniform(0.58, 0.82))
    outline = random_blob(rng, drawing.place(0.08), radius, stretch=0.15, bump=0.07)
    body = drawing.add(outline, None, alone=True)
    if rng.random() < 0.15:  # a table, a coil, an arm
        beside = drawing.place(1.0)
        beside *= np.float32(0.95 / max(float(np.linalg.norm(beside)), 1e-3))
        drawing.add(random_blob(rng, beside, 0.12, stretch=0.6, bump=0.05), None)
    inside = drawing.shells(body)
    if large:
        for _ in range(rng.integers(2, 5)):
            drawing.organ(inside, 0.6, 0.22, 0.45)
        for _ in range(rng.integers(3, 10)):
            drawing.organ(inside, 0.75, 0.06, 0.2)
        return
    if rng.random() < 0.5:
        inside = drawing.cortex(inside)
    drawing.lobes(inside, int(rng.integers(0, 4)), 1.5, 4.0)
    if rng.random() < 0.35:
        drawing.folds(inside)
    for _ in range(rng.integers(3, 12)):
        drawing.organ(inside, 0.5, 0.07, 0.3)

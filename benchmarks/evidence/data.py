"""The scans of the experiments on one small grid each, with every label of pool and test."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_gemini.learning.cohort import Cohort, assemble
from napari_gemini.learning.study_cohort import scan_on_grid
from napari_gemini.phantom.cohort import make_cohort
from napari_gemini.volumes.grid import StudyGrid, labels_to_grid, place_by_center_of_mass
from napari_gemini.volumes.reading import read_labels, read_volume
from napari_gemini.volumes.study_grid import Placement
from napari_gemini.volumes.volume import Volume

Arrays = dict[str, NDArray[Any]]

#: Folder, grid shape and spacing, and whether scans are placed by their middle (hearts lie in the
#: middle of their pictures; their centre of mass is that of the chest).
FILES: dict[str, tuple[str, tuple[int, ...], float, bool]] = {
    "hearts": ("heart2d", (48, 48), 8 / 3, True),
    "hippocampus": ("hippocampus", (32, 32, 32), 2.0, False),
    "brains": ("brain", (32, 48, 32), 5.0, False),
    "brains-2mm": ("brain", (80, 96, 80), 2.0, False),
}
NAMES = ("phantom", *FILES)
FIVE = 5
PHANTOM_POOL, PHANTOM_TEST, PHANTOM_PIXELS = 40, 24, 48


@dataclass(frozen=True)
class Data:
    """Scans and labels of one data set.

    Attributes
    ----------
    name
        One of :data:`NAMES`.
    images, labels
        Scans (*S) in [0, 1] and class indices (*S) by id, pool and test alike.
    pool, test
        Ids. Only ids of the pool may be learned from.
    five
        The five labelled ids of each seed.
    classes
        Number of classes, background included.
    person
        Who each scan is of, where one person has several.
    """

    name: str
    images: Arrays
    labels: Arrays
    pool: list[str]
    test: list[str]
    five: list[list[str]]
    classes: int
    person: dict[str, str] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the grid."""
        return tuple(self.images[self.pool[0]].shape)

    @property
    def dimension(self) -> int:
        """2 or 3."""
        return len(self.shape)

    def part(self, share: float, seed: int) -> list[str]:
        """Return a share of the pool, drawn at random; a larger share contains a smaller one."""
        order = np.random.default_rng([seed, 25]).permutation(len(self.pool))
        return [self.pool[i] for i in sorted(order[: max(2, round(share * len(order)))])]

    def of_others(self, labelled: Sequence[str]) -> list[str]:
        """Return the scans of the pool of people of whom no scan is labelled."""
        known = {self.person.get(case, case) for case in labelled}
        return [case for case in self.pool if self.person.get(case, case) not in known]

    def cohort(self, labelled: Sequence[str], scans: Sequence[str] | None = None) -> Cohort:
        """Return what a training sees: scans of the pool, labels of some of them."""
        ids = list(self.pool if scans is None else scans)
        return assemble(ids, [self.images[i] for i in ids], {i: self.labels[i] for i in labelled})

    def batch(self, ids: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return images (B, 1, *S) and classes (B, *S)."""
        images = np.stack([self.images[i] for i in ids]).astype(np.float32)
        labels = np.stack([self.labels[i] for i in ids]).astype(np.int64)
        return torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels)


def load(name: str, folder: Path | None, *, smoke: bool = False) -> Data:
    """Read a data set.

    Parameters
    ----------
    name
        One of :data:`NAMES`.
    folder
        Holds the folders of the real scans; the phantom needs none.
    smoke
        Few scans, to see that everything runs.
    """
    if name == "phantom":
        return _phantom(smoke=smoke)
    if folder is None:
        raise SystemExit(f"{name} are real scans; say where they are with --data-folder.")
    return _files(name, folder, smoke=smoke)


def _phantom(*, smoke: bool) -> Data:
    pool, test, pixels = (8, 3, 32) if smoke else (PHANTOM_POOL, PHANTOM_TEST, PHANTOM_PIXELS)
    made = make_cohort(pool + test, 2, (pixels, pixels), seed=0, crop=False)
    grid = StudyGrid((pixels, pixels), 1.0)
    images, labels = {}, {}
    for case in made.cases:
        images[case.id], labels[case.id] = _on_grid(case.image, case.labels, grid, middle=True)
    values = {value: index for index, value in enumerate([0, *sorted(made.names)])}
    labels = {name: _indices(array, values) for name, array in labels.items()}
    ids = [case.id for case in made.cases]
    five = [
        [ids[i] for i in sorted(np.random.default_rng([seed, 5]).permutation(pool)[:FIVE])]
        for seed in range(3)
    ]
    return Data("phantom", images, labels, ids[:pool], ids[pool:], five, len(values))


def _files(name: str, folder: Path, *, smoke: bool) -> Data:
    place, shape, spacing, middle = FILES[name]
    root = folder / place
    split = json.loads((root / "split.json").read_text())
    five = [split["labelled"][f"seed{seed}"] for seed in range(3)]
    pool, test = list(split["pool"]), list(split["test"])
    if smoke:
        pool = list(dict.fromkeys([*itertools.chain(*five), *pool[:4]]))
        test = test[:2]
    grid = StudyGrid(shape, spacing)
    images, labels = {}, {}
    for case in [*pool, *test]:
        image = read_volume(_file(root / "images", case))
        images[case], labels[case] = _on_grid(
            image, read_labels(_file(root / "labels", case)), grid, middle=middle
        )
    found = sorted({int(v) for case in pool for v in np.unique(labels[case])} | {0})
    values = {value: index for index, value in enumerate(found)}
    labels = {case: _indices(array, values) for case, array in labels.items()}
    return Data(name, images, labels, pool, test, five, len(values), _people(split, name, pool))


def _people(split: dict[str, Any], name: str, pool: Sequence[str]) -> dict[str, str]:
    """Name the person of every scan of the pool: slices of a heart begin with its patient."""
    people = {case: case.split("-IM")[0] if name == "hearts" else case for case in pool}
    for first, *others in split.get("same_person") or []:
        people |= dict.fromkeys(others, first)
    return people


def _file(folder: Path, case: str) -> Path:
    return next(path for path in folder.iterdir() if path.name.split(".")[0] == case)


def _on_grid(
    image: Volume, labels: Volume, grid: StudyGrid, *, middle: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    placement = _in_the_middle(image) if middle else place_by_center_of_mass(image, grid)
    # Labels lie on the voxels of their scan, whatever their own header says.
    return (
        scan_on_grid(image, grid, placement, "percentile"),
        labels_to_grid(image, grid, placement, labels.data),
    )


def _in_the_middle(image: Volume) -> Placement:
    matrix = np.eye(4)
    d = image.ndim
    matrix[:d, 3] = image.voxel_to_world((np.array(image.shape) - 1) / 2)[:d]
    return Placement(matrix, "center")


def _indices(labels: NDArray[Any], values: dict[int, int]) -> NDArray[np.int16]:
    result = np.zeros(labels.shape, np.int16)
    for value, index in values.items():
        result[labels == value] = index
    return result

"""Draw random anatomies for the documentation: ``python scripts/make_random_picture.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_gemini.phantom.random_cohort import RandomGroup, random_groups

ROOT = Path(__file__).resolve().parents[1]
ROWS = 5
SCANS = 4
TILE = 96
SEED = 7


def tile(values: NDArray[np.generic], largest: float) -> NDArray[np.uint8]:
    """Return a 2D array as a square picture, black around it."""
    scaled = (255.0 * np.asarray(values, dtype=np.float64).T / largest).clip(0, 255)
    ratio = TILE / max(scaled.shape)
    size = [max(1, round(n * ratio)) for n in reversed(scaled.shape)]
    picture = np.asarray(Image.fromarray(scaled.astype(np.uint8)).resize(size))
    result = np.zeros((TILE, TILE), np.uint8)
    result[: picture.shape[0], : picture.shape[1]] = picture
    return result


def middle(data: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return a picture, or the middle axial slice of a volume, the front above."""
    return data if data.ndim == 2 else data[:, ::-1, data.shape[2] // 2]


def row(group: RandomGroup) -> NDArray[np.uint8]:
    """Return the scans of a group beside each other and the structures of the first."""
    scans = [middle(case.image.data) for case in group.cases]
    structures = middle(group.cases[0].labels.data)
    tiles = [tile(scan, float(scan.max())) for scan in scans]
    return np.hstack([*tiles, tile(structures, float(max(structures.max(), 1)))])


def column(dimension: Literal[2, 3]) -> NDArray[np.uint8]:
    """Return the first groups of a dimension below each other."""
    return np.vstack([row(group) for group in random_groups(ROWS, SCANS, dimension, seed=SEED)])


if __name__ == "__main__":
    gap = np.zeros((ROWS * TILE, 12), np.uint8)
    path = ROOT / "docs" / "images" / "random-anatomies.png"
    Image.fromarray(np.hstack([column(2), gap, column(3)])).save(path, optimize=True)
    print(path)

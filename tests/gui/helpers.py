"""Scans with a marker voxel, in every awkward orientation."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from napari_gemini.study.study import Study
from napari_gemini.volumes.geometry import compose


def rotation(degrees: float, axis: int) -> np.ndarray:
    angle = np.deg2rad(degrees)
    first, second = [a for a in range(3) if a != axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


#: name -> affine of a 7 x 9 x 11 scan.
AFFINES: dict[str, np.ndarray] = {
    "ras": compose([-10, 5, 20], [1, 1, 1], np.eye(3)),
    "lps": compose([10, 5, 20], [1, 1, 1], np.diag([-1.0, -1, 1])),
    "anisotropic": compose([3, -4, 8], [0.7, 1.3, 4.0], np.diag([-1.0, 1, -1])),
    "permuted": compose([0, 0, 0], [1, 2, 3], np.array([[0, 0, -1.0], [1, 0, 0], [0, -1, 0]])),
    "oblique": compose([-31, 12, 4], [0.8, 1.1, 2.5], rotation(20, 0) @ rotation(-15, 2)),
    "oblique-flipped": compose(
        [5, 5, 5], [1.2, 0.9, 3], rotation(25, 1) @ np.diag([-1.0, 1, -1]) @ rotation(10, 2)
    ),
}
SHAPE = (7, 9, 11)
MARKER = (5, 2, 8)


def write_marked(folder: Path, name: str, value: float = 100) -> Path:
    """Write a scan of noise with one bright voxel."""
    data = np.random.default_rng(3).uniform(1, 5, SHAPE).astype(np.float32)
    data[MARKER] = value
    path = folder / f"{name}.nii.gz"
    nib.save(nib.Nifti1Image(data, AFFINES[name]), path)
    return path


def make_study(folder: Path, cases: int = 3, labelled: int = 1, size: int = 12) -> Study:
    """Make a study of small scans of blobs; the first `labelled` have labels 1 and 2."""
    images, labels = folder / "images", folder / "given"
    images.mkdir(parents=True)
    labels.mkdir()
    axes = np.indices((size, size + 2, size + 4)) / size - 0.5
    affine = np.diag([-2.0, -2, 2, 1])
    for number in range(cases):
        distance = np.sqrt(sum((axis - 0.02 * number) ** 2 for axis in axes))
        parts = (distance < 0.35).astype(np.uint8) + (distance < 0.2)
        noise = np.random.default_rng(number).normal(0, 5, parts.shape)
        scan = (parts * 100 + noise).astype(np.float32)
        nib.save(nib.Nifti1Image(scan, affine), images / f"case{number}.nii.gz")
        if number < labelled:
            nib.save(nib.Nifti1Image(parts, affine), labels / f"case{number}.nii.gz")
    return Study.create(folder / "study", [images], labels_dir=labels if labelled else None)

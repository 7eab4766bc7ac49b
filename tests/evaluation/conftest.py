"""A folder as ``correspond`` writes it, made from phantoms whose true map is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_gemini.correspondence.jacobian import summarise_folds
from napari_gemini.evaluation.metrics import score_case
from napari_gemini.phantom.cohort import make_cohort
from napari_gemini.volumes.fields import (
    DisplacementField,
    apply_field,
    lattice_for,
    moving_points,
    write_field,
)
from napari_gemini.volumes.geometry import flip_ras_lps, transform_points
from napari_gemini.volumes.writing import write_labels, write_volume


def small_cohort(dimension=3, headers="plain", seed=4):
    shape = (28, 32, 28) if dimension == 3 else (64, 64)
    return make_cohort(2, dimension, shape=shape, seed=seed, headers=headers)


def true_field(cohort, fixed, moving, step, fold=0.0):
    """Return the known map as a displacement field, with a fold in the middle on request."""
    volume = cohort.cases[fixed].image
    shape, affine = lattice_for(volume, step)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    points = transform_points(affine, index).reshape(-1, len(shape))
    vectors = (cohort.true_map(fixed, moving, points) - points).reshape(index.shape)
    if fold:
        middle = tuple(length // 2 for length in shape)
        vectors[middle] += fold
    return DisplacementField(np.moveaxis(flip_ras_lps(vectors), -1, 0).copy(), affine)


def write_pair(folder: Path, *, dimension=3, headers="plain", fold=0.0, seed=4) -> Path:
    cohort = small_cohort(dimension, headers, seed)
    fixed, moving = cohort.cases
    folder.mkdir(parents=True)
    inputs = {}
    suffix = ".nii.gz" if fixed.image.spacing_known else ".png"
    for role, case in (("fixed", fixed), ("moving", moving)):
        inputs[role] = str(folder.parent / f"{role}{suffix}")
        inputs[f"{role}_labels"] = str(folder.parent / f"{role}_labels{suffix}")
        write_volume(inputs[role], case.image.data, case.image)
        write_labels(inputs[f"{role}_labels"], case.labels.data, case.labels)
    field = true_field(cohort, 0, 1, min(fixed.image.spacing), fold)
    warped = apply_field(field, moving.image, fixed.image)
    labels = apply_field(field, moving.labels, fixed.image, labels=True)
    points = moving_points(field, fixed.image)
    where = moving.image.world_to_voxel(np.moveaxis(points, 0, -1))
    mask = ((where >= -0.5) & (where <= np.array(moving.image.shape) - 0.5)).all(axis=-1)
    folds = summarise_folds(points, mask, fixed.image.affine)
    difference = np.abs(gaussian_filter(warped - fixed.image.data.astype(np.float32), 1))
    gvs = np.exp(-4 * difference / difference.max()).astype(np.float32)
    like = fixed.image
    maps = {
        "warped": warped, "log_jacobian": folds.log_jacobian, "folds": folds.folds,
        "gss": gvs**0.2, "gvs": gvs, "mask": mask.astype(np.uint8),
    }  # fmt: skip
    for stem, data in maps.items():
        kind = ".nii.gz" if like.spacing_known else ".tif"
        write_volume(folder / f"{stem}{kind}", data, like)
    write_labels(folder / f"labels{suffix}", labels, like)
    write_field(folder / "field.h5", field)
    unit = "mm" if like.spacing_known else "px"
    scores = score_case(labels, fixed.labels.data, None)
    report = {
        **folds.report(),
        f"inverse_consistency_{unit}": {"mean": 0.31, "p95": 0.88},
        "gss_mean": float(maps["gss"][mask].mean()),
        "gvs_mean": float(gvs[mask].mean()),
        "mask_percent": float(100 * mask.mean()),
        "seconds": 12.3,
        "device": "cpu",
        "peak_memory_mb": 812.0,
        "model": "none",
        "notes": [],
        "dice": {str(label): entry["dice"] for label, entry in scores.items()},
        "inputs": {role: {"path": path, "sha256": "ab" * 32} for role, path in inputs.items()},
        "command": ["napari-gemini", "correspond", inputs["moving"], inputs["fixed"], "--out", "o"],
        "versions": {"napari-gemini": "0.1.0", "torch": "2.13.0"},
        "settings": {"refine": {"steps": 100, "levels": 3}},
    }
    (folder / "report.json").write_text(json.dumps(report))
    return folder


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """A 3D pair with oblique, anisotropic headers and a fold."""
    return write_pair(tmp_path_factory.mktemp("pair") / "out", headers="oblique", fold=9.0)


@pytest.fixture(scope="session")
def picture_pair(tmp_path_factory):
    """A pair of PNG pictures without known spacing."""
    return write_pair(tmp_path_factory.mktemp("pictures") / "out", dimension=2)

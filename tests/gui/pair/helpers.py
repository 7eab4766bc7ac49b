"""Pairs whose map is known in closed form, on scans in awkward orientations."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from napari_gemini.engine.jobs import CorrespondJob
from napari_gemini.phantom.cohort import make_cohort
from napari_gemini.phantom.files import write_cohort
from napari_gemini.volumes.displacement import DisplacementField, lattice_for
from napari_gemini.volumes.field_files import write_field
from napari_gemini.volumes.geometry import compose, flip_ras_lps, transform_points
from napari_gemini.volumes.sampling import slab_positions
from napari_gemini.volumes.volume import Volume
from napari_gemini.volumes.writing import write_labels, write_volume
from napari_gemini.widgets.pair.pair_data import PairData
from tests.gui.helpers import rotation

FIXED_AFFINE = compose(
    [12, -20, 31], [1.5, 1.0, 2.0], rotation(12, 0) @ np.diag([-1.0, 1, -1]) @ rotation(-8, 2)
)
MOVING_AFFINE = compose([-40, 22, 15], [1.2, 1.2, 1.8], rotation(-15, 1)[:, [1, 0, 2]])
FIXED_SHAPE, MOVING_SHAPE = (22, 28, 16), (30, 26, 20)


def centre(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return transform_points(affine, (np.array(shape) - 1) / 2)


def placement() -> np.ndarray:
    """Fixed world to moving world: centre on centre."""
    matrix = np.eye(4)
    matrix[:3, 3] = centre(MOVING_AFFINE, MOVING_SHAPE) - centre(FIXED_AFFINE, FIXED_SHAPE)
    return matrix


def true_map(points: np.ndarray, size: float = 2.0) -> np.ndarray:
    """Send fixed world points to moving world points: two shears after each other."""
    x, y, z = np.moveaxis(points - centre(FIXED_AFFINE, FIXED_SHAPE), -1, 0)
    x = x + size * np.sin(z / 6)
    z = z + size * np.cos(x / 7) - 0.7 * size
    return np.stack([x, y, z], axis=-1) + centre(MOVING_AFFINE, MOVING_SHAPE)


def true_inverse(points: np.ndarray, size: float = 2.0) -> np.ndarray:
    x, y, z = np.moveaxis(points - centre(MOVING_AFFINE, MOVING_SHAPE), -1, 0)
    z = z - size * np.cos(x / 7) + 0.7 * size
    x = x - size * np.sin(z / 6)
    return np.stack([x, y, z], axis=-1) + centre(FIXED_AFFINE, FIXED_SHAPE)


def field_of(volume: Volume, function, spacing: float = 0.8) -> DisplacementField:
    shape, affine = lattice_for(volume, spacing)
    points = np.moveaxis(slab_positions(affine, shape, slice(0, shape[0])), 0, -1)
    shifts = flip_ras_lps(function(points) - points)
    return DisplacementField(np.moveaxis(shifts, -1, 0), affine)


def blob_scan(affine: np.ndarray, shape: tuple[int, ...], seed: int) -> np.ndarray:
    index = np.indices(shape) - (np.array(shape).reshape(-1, 1, 1, 1) - 1) / 2
    distance = np.sqrt((index**2).sum(axis=0))
    noise = np.random.default_rng(seed).uniform(0, 3, shape)
    return (100 / (1 + np.exp(distance - 7)) + noise).astype(np.float32)


def make_pair(back: bool = True, size: float = 2.0) -> PairData:
    """Return an oblique, anisotropic, flipped pair with a map known in closed form."""
    fixed = Volume(blob_scan(FIXED_AFFINE, FIXED_SHAPE, 0), FIXED_AFFINE)
    moving = Volume(blob_scan(MOVING_AFFINE, MOVING_SHAPE, 1), MOVING_AFFINE)
    return PairData(
        fixed=fixed,
        moving=moving,
        there=field_of(fixed, lambda p: true_map(p, size)),
        back=field_of(moving, lambda p: true_inverse(p, size)) if back else None,
        report={"settings": {"initial_placement": placement().tolist()}},
    )


def write_pair(folder: Path, pair: PairData | None = None) -> Path:
    """Write a pair as ``correspond`` would, with maps in which each voxel can be told."""
    pair = make_pair() if pair is None else pair
    scans = folder / "scans"
    scans.mkdir(parents=True)
    for name, volume in (("fixed", pair.fixed), ("moving", pair.moving)):
        write_volume(scans / f"{name}.nii.gz", volume.data, volume)
        write_labels(scans / f"{name}_labels.nii.gz", (volume.data > 50).astype(np.uint8), volume)
    out = folder / "pair"
    for place, this, other, field in (
        (out, "fixed", "moving", pair.there),
        (out / "inverse", "moving", "fixed", pair.back),
    ):
        place.mkdir()
        scan = getattr(pair, this)
        write_field(place / "field.h5", field)
        ramp = np.linspace(-0.4, 0.6, scan.data.size).reshape(scan.shape).astype(np.float32)
        folds = np.zeros(scan.shape, np.uint8)
        folds[3:5, 4:6, 5] = 2
        folds[10, 12, 8] = 1
        maps = {"log_jacobian": ramp, "gvs": ramp + 0.4, "gss": ramp + 0.3}
        maps |= {"inverse_consistency": np.abs(ramp), "warped": scan.data}
        for stem, data in maps.items():
            write_volume(place / f"{stem}.nii.gz", data, scan)
        write_labels(place / "folds.nii.gz", folds, scan)
        write_labels(place / "mask.nii.gz", np.ones(scan.shape, np.uint8), scan)
        write_labels(place / "labels.nii.gz", (scan.data > 50).astype(np.uint8), scan)
        report = {
            "kind": "correspond",
            "model": "none",
            "fold_percent": 0.04,
            "fold_percent_digital": 0.05,
            "sd_log_jacobian": 0.3,
            "sd_log_jacobian_l2r": 0.1,
            "inverse_consistency_mm": {"mean": 0.1, "p95": 0.4},
            "gss_mean": 0.9,
            "gvs_mean": 0.8,
            "mask_percent": 90.0,
            "dice": {"1": 0.83},
            "seconds": 2.0,
            "device": "cpu",
            "peak_memory_mb": 100.0,
            "notes": [],
            "settings": {"initial_placement": (placement() if place is out else
                         np.linalg.inv(placement())).tolist()},
            "inputs": {
                "fixed": {"path": str(scans / f"{this}.nii.gz")},
                "moving": {"path": str(scans / f"{other}.nii.gz")},
                "labels": {"path": str(scans / f"{other}_labels.nii.gz")},
                "fixed_labels": {"path": str(scans / f"{this}_labels.nii.gz")},
            },
        }  # fmt: skip
        (place / "report.json").write_text(json.dumps(report))
    return out


def write_phantoms(folder: Path, dimension: int = 3, size: int = 24) -> Path:
    """Write a phantom cohort whose scans a job can match within a second or two."""
    options = {"spacing": 3.0, "headers": "oblique"} if dimension == 3 else {}
    shape = (size,) * dimension
    cohort = make_cohort(7, dimension, shape, noise=0.02, **options)
    return write_cohort(folder / "cohort", cohort, test=2)


def phantom_job(cohort: Path, out: Path, **options) -> CorrespondJob:
    moving, fixed = sorted((cohort / "images").iterdir())[:2]
    given = {
        "model": "none",
        "labels": cohort / "labels" / moving.name,
        "fixed_labels": cohort / "labels" / fixed.name,
        "refine": 5,
        "device": "cpu",
        "both": True,
    }
    return CorrespondJob(moving=moving, fixed=fixed, out=out, **{**given, **options})


def save_nifti(path: Path, data: np.ndarray, affine: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(data, affine), path)
    return path

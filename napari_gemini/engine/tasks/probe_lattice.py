"""Features of a scan at a lattice on its own voxels, fast to compare with one of them.

The lattice is the voxel grid itself, or every second, third ... voxel of a large scan. It has the
scan's centre and directions, so a map on it lies where the scan lies.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_gemini.engine.tasks.scan_features import FeatureSet
from napari_gemini.progress import Reporter, stop_if_cancelled
from napari_gemini.volumes.geometry import FloatArray, transform_points
from napari_gemini.volumes.volume import Volume

#: Bytes of features of one scan that one probe goes through.
MAX_BYTES = 256 << 20
#: Lattice points of one scan at most.
MAX_POINTS = 2_000_000


@dataclass(frozen=True)
class FeatureLattice:
    """The features of one scan at a lattice.

    Attributes
    ----------
    affine
        (4, 4) lattice index to RAS mm of the scan's world.
    shape
        Of the lattice.
    stride
        Voxels between lattice points.
    features
        ``(F, n)`` float32, each column of length 1.
    """

    affine: FloatArray
    shape: tuple[int, ...]
    stride: int
    features: NDArray[np.float32]

    def at(self, point: ArrayLike) -> NDArray[np.float32] | None:
        """Return the feature (F,) at a point (d,) of the scan's world, interpolated linearly.

        None outside of the scan.
        """
        place = transform_points(np.linalg.inv(self.affine), np.asarray(point, dtype=np.float64))
        high = np.array(self.shape) - 1
        # The outermost lattice points may lie almost a stride within the scan.
        margin = 0.5 if self.stride == 1 else 1.0
        if np.any(~np.isfinite(place)) or np.any(place < -margin) or np.any(place > high + margin):
            return None
        found = np.zeros(len(self.features), dtype=np.float64)
        for weight, index in _corners(np.clip(place, 0, high), self.shape):
            found += weight * self.features[:, index]
        length = float(np.linalg.norm(found))
        return (found / max(length, 1e-12)).astype(np.float32)

    def similarity(self, feature: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the cosine of a feature (F,) with that of every lattice point, (i, j[, k])."""
        return np.clip(feature @ self.features, -1.0, 1.0).reshape(self.shape)

    def world(self, index: ArrayLike) -> FloatArray:
        """Map lattice indices (..., d) to RAS mm (..., d)."""
        return transform_points(self.affine, index)


def _corners(place: FloatArray, shape: tuple[int, ...]) -> Iterator[tuple[float, int]]:
    """Yield weight and flat index of the lattice points around a place."""
    low = np.minimum(place.astype(np.int64), np.maximum(np.array(shape) - 2, 0))
    fraction = place - low
    for corner in np.ndindex(*[min(2, n) for n in shape]):
        step = np.array(corner)
        weight = float(np.prod(np.where(step == 1, fraction, 1 - fraction)))
        if weight > 0:
            yield weight, int(np.ravel_multi_index(tuple(low + step), shape))


def lattice_of(volume: Volume, channels: int) -> tuple[tuple[int, ...], FloatArray, int]:
    """Return shape, affine and stride of the finest lattice that a probe is fast on.

    Parameters
    ----------
    volume
        The scan.
    channels
        Of its features.
    """
    most = min(MAX_POINTS, MAX_BYTES // (4 * channels))
    stride = 1
    while math.prod(_thinned(volume.shape, stride)) > most:
        stride += 1
    shape = _thinned(volume.shape, stride)
    matrix = np.eye(4)
    for axis, (voxels, points) in enumerate(zip(volume.shape, shape, strict=True)):
        matrix[axis, axis] = stride
        # What is left over is shared by both ends.
        matrix[axis, 3] = (voxels - 1 - stride * (points - 1)) / 2
    return shape, volume.affine @ matrix, stride


def _thinned(shape: tuple[int, ...], stride: int) -> tuple[int, ...]:
    return tuple((n - 1) // stride + 1 for n in shape)


def make_lattice(known: FeatureSet, scan: int, reporter: Reporter) -> FeatureLattice:
    """Take the features of a scan to its lattice.

    Parameters
    ----------
    known
        Features on the grid they were computed on.
    scan
        0 or 1.
    reporter
        May stop it.
    """
    volume, channels = known.scans[scan].volume, len(known.scans[scan].features)
    shape, affine, stride = lattice_of(volume, channels)
    features = np.empty((channels, math.prod(shape)), dtype=np.float32)
    chunk = 1 << 17
    for low in range(0, features.shape[1], chunk):
        stop_if_cancelled(reporter)
        flat = np.arange(low, min(low + chunk, features.shape[1]))
        index = np.stack(np.unravel_index(flat, shape), axis=1)
        features[:, flat[0] : flat[-1] + 1] = known.at(scan, transform_points(affine, index)).T
    return FeatureLattice(affine, shape, stride, features)

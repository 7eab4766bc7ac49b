"""Features of the voxels of scans: the network's, or descriptors where no model serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from napari_gemini.correspondence.voxel_sample import normalised
from napari_gemini.engine.memory import check_memory, estimate_pair_bytes
from napari_gemini.engine.tasks.descriptors import standardised_descriptors
from napari_gemini.engine.tasks.feature_cache import cache, file_key, model_key
from napari_gemini.engine.tasks.pair_inputs import check_dimensions, read_scan
from napari_gemini.engine.tasks.pair_matching import autocast_of, grid_of, intensity_mode
from napari_gemini.engine.tasks.serving import Serving, serve
from napari_gemini.progress import Reporter, stop_if_cancelled
from napari_gemini.volumes.grid import (
    Placement,
    StudyGrid,
    image_to_grid,
    labels_to_grid,
    place_by_center_of_mass,
    points_to_grid,
)
from napari_gemini.volumes.intensity import normalise
from napari_gemini.volumes.volume import Volume

#: Points whose features are interpolated at a time.
_CHUNK = 1 << 18
DESCRIPTORS = (
    "No model served: the features are local descriptors of the image (smoothed intensity, "
    "gradient and Laplacian at several scales)."
)


@dataclass(frozen=True)
class ScanFeatures:
    """The features of one scan on the grid they were computed on.

    Attributes
    ----------
    volume
        The scan.
    placement
        How it lies on the grid.
    features
        ``(F, *S)`` float32.
    seen
        ``S``, 1 where the scan has voxels.
    """

    volume: Volume
    placement: Placement
    features: NDArray[np.float32]
    seen: NDArray[np.uint8]


@dataclass(frozen=True)
class FeatureSet:
    """The features of one scan, or of two on one grid.

    Attributes
    ----------
    grid
        Where they were computed.
    scans
        One or two.
    model
        What the report says under ``model``.
    sentence
        Which model served, for the user.
    notes
        What else the user should know.
    by_network
        False where descriptors stood in.
    """

    grid: StudyGrid
    scans: list[ScanFeatures]
    model: str
    sentence: str
    notes: list[str]
    by_network: bool

    @property
    def size(self) -> int:
        """Bytes of the arrays."""
        return sum(s.features.nbytes + s.seen.nbytes + s.volume.data.nbytes for s in self.scans)

    @property
    def kind(self) -> str:
        """What the features are, in words."""
        return "network" if self.by_network else "local descriptors"

    def at(self, scan: int, points: ArrayLike) -> NDArray[np.float32]:
        """Return the features at points of a scan's world.

        Parameters
        ----------
        scan
            0 or 1.
        points
            ``(n, d)`` RAS mm.

        Returns
        -------
        ndarray
            ``(n, F)``, interpolated linearly between grid voxels and scaled to length 1.
        """
        own = self.scans[scan]
        places = points_to_grid(points, self.grid, own.placement)
        parts = [
            interpolate(own.features, places[low : low + _CHUNK])
            for low in range(0, len(places), _CHUNK)
        ]
        return normalised(np.concatenate(parts, axis=1).T)


@torch.inference_mode()
def interpolate(features: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Interpolate features (F, *S) linearly at voxel positions (n, d); the edge is kept.

    Returns
    -------
    ndarray
        ``(F, n)`` float32.
    """
    shape = features.shape[1:]
    scaled = 2 * places / np.maximum(np.array(shape) - 1, 1) - 1
    # grid_sample wants the last axis first.
    sites = torch.from_numpy(np.ascontiguousarray(scaled[:, ::-1], dtype=np.float32))
    sites = sites.reshape(1, *[1] * (len(shape) - 1), len(places), len(shape))
    found = torch.nn.functional.grid_sample(
        torch.from_numpy(features)[None], sites, padding_mode="border", align_corners=True
    )
    result: NDArray[np.float32] = found.reshape(len(features), -1).numpy()
    return result


def place_scans(
    volumes: Sequence[Volume],
    serving: Serving,
    grid: StudyGrid,
    device: torch.device,
    reporter: Reporter,
) -> list[ScanFeatures]:
    """Bring scans onto a grid and compute their features.

    Parameters
    ----------
    volumes
        One scan or two.
    serving
        The model, or none.
    grid
        Where to compute.
    device
        With what.
    reporter
        Hears about it and may stop it.
    """
    images, places, seen = [], [], []
    for volume in volumes:
        place = place_by_center_of_mass(volume, grid)
        values = normalise(volume.data, intensity_mode(volume, serving))
        images.append(image_to_grid(volume, grid, place, values))
        places.append(place)
        seen.append(labels_to_grid(volume, grid, place, np.ones(volume.shape, np.uint8)))
    features = _features(images, seen, serving, device, reporter)
    return [ScanFeatures(*parts) for parts in zip(volumes, places, features, seen, strict=True)]


@torch.inference_mode()
def _features(
    images: list[NDArray[np.float32]],
    seen: list[NDArray[np.uint8]],
    serving: Serving,
    device: torch.device,
    reporter: Reporter,
) -> list[NDArray[np.float32]]:
    """Return features (F, *S) of each image."""
    if serving.network is None:
        return standardised_descriptors(images, seen)
    lower = autocast_of(serving, device)
    found = []
    for number, image in enumerate(images):
        stop_if_cancelled(reporter)
        reporter.progress(number, len(images), "Computing features")
        tensor = torch.from_numpy(image)[None, None].to(device)
        with torch.autocast(device.type, lower, enabled=lower is not None):
            found.append(serving.network.features(tensor)[0].float().cpu().numpy())
    return found


def compute_features(
    volumes: Sequence[Volume],
    model: str | None,
    spacing: float | None,
    device: torch.device,
    reporter: Reporter,
    advice: str,
) -> FeatureSet:
    """Compute the features of one scan, or of two on one grid.

    Parameters
    ----------
    volumes
        One scan or two.
    model, spacing
        As in the jobs.
    device
        Where to compute.
    reporter
        Hears about it and may stop it.
    advice
        What to lower when memory is too small.

    Raises
    ------
    ModelError
        If the model cannot be used.
    DeviceError
        If the memory cannot suffice.
    Cancelled
        If the reporter asked to stop.
    """
    serving = serve(model, volumes[0].ndim, device)
    reporter.log(serving.sentence)
    notes = notes_of(serving, volumes)
    for note in notes:
        reporter.log(note)
    grid = grid_of(volumes, serving, spacing)
    config = None if serving.card is None else serving.card.network
    check_memory(estimate_pair_bytes(config, grid.shape), device, advice)
    scans = place_scans(volumes, serving, grid, device, reporter)
    stop_if_cancelled(reporter)
    by_network = serving.network is not None
    return FeatureSet(grid, scans, serving.name, serving.sentence, notes, by_network)


def notes_of(serving: Serving, volumes: Sequence[Volume]) -> list[str]:
    """Return what a user should know about the features."""
    notes = [] if serving.network is not None else [DESCRIPTORS]
    if not all(volume.spacing_known for volume in volumes):
        notes.append("The pixel spacing is unknown, so positions are in pixels.")
    return notes


def read_scans(paths: Sequence[Path]) -> list[Volume]:
    """Read one scan, or two of one dimension.

    Raises
    ------
    InputError
        If a file cannot be used.
    """
    volumes = [read_scan(path) for path in paths]
    for other in volumes[1:]:
        check_dimensions(volumes[0], other)
    return volumes


def cached_features(
    volumes: Sequence[Volume],
    model: str | None,
    spacing: float | None,
    device: torch.device,
    reporter: Reporter,
    advice: str,
) -> FeatureSet:
    """Return the features of scans as :func:`compute_features` does, kept from an earlier job."""
    files = tuple(file_key(volume.path) for volume in volumes if volume.path is not None)
    key = ("features", model_key(model), files, spacing, str(device))
    known = cache().get(key)
    if known is None or len(files) < len(volumes):
        known = compute_features(volumes, model, spacing, device, reporter, advice)
        cache().put(key, known, known.size)
    assert isinstance(known, FeatureSet)
    return known

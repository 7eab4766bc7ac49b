"""The job ``cluster-map``: every voxel gets the cluster of the drawn voxel most like it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_gemini.engine.arrays import exchange
from napari_gemini.engine.device import select_device
from napari_gemini.engine.jobs import ClusterMapJob
from napari_gemini.engine.tasks.scan_features import FeatureSet, cached_features, read_scans
from napari_gemini.errors import InputError
from napari_gemini.progress import Reporter, stop_if_cancelled
from napari_gemini.volumes.grid import labels_from_grid

#: Grid voxels compared at a time.
_CHUNK = 1 << 14


def run(job: ClusterMapJob, reporter: Reporter) -> dict[str, Any]:
    """Spread clusters over whole scans.

    Parameters
    ----------
    job
        The scans, and the voxels that were drawn with their clusters.
    reporter
        Hears about progress and may stop it.

    Returns
    -------
    dict
        ``maps``: one array of labels for each scan, on its own grid; ``model``.

    Raises
    ------
    GeminiError
        With one sentence for bad input.
    """
    image, index, cluster = (
        np.asarray(exchange().open(ref)) for ref in (job.image_number, job.index, job.cluster)
    )
    volumes = read_scans([job.image] if job.image2 is None else [job.image, job.image2])
    if not (cluster > 0).any():
        raise InputError("There is no cluster to spread; find clusters first.")
    device = select_device(job.device)
    known = cached_features(volumes, job.model, job.spacing, device, reporter, job.memory_advice)
    parts, numbers = [], []
    for number, volume in enumerate(volumes):
        chosen = (image == number) & (cluster > 0)
        if chosen.any():
            parts.append(known.at(number, volume.voxel_to_world(index[chosen])))
            numbers.append(cluster[chosen])
    features, values = np.concatenate(parts), np.concatenate(numbers)
    maps = []
    for number, volume in enumerate(volumes):
        found = nearest(known, number, features, values, device, reporter)
        on_scan = labels_from_grid(found, known.grid, known.scans[number].placement, volume)
        maps.append(exchange().put(on_scan).model_dump())
    return {"maps": maps, "model": known.model}


@torch.inference_mode()
def nearest(
    known: FeatureSet,
    scan: int,
    features: NDArray[np.float32],
    clusters: NDArray[np.int64],
    device: torch.device,
    reporter: Reporter,
) -> NDArray[np.uint16]:
    """Give every grid voxel of a scan the cluster of the feature with the largest cosine.

    Parameters
    ----------
    known
        Features on the grid.
    scan
        0 or 1.
    features
        ``(n, F)`` of length 1.
    clusters
        ``(n,)`` of them.
    device
        Where to compute.
    reporter
        Hears about progress and may stop it.

    Returns
    -------
    ndarray
        ``S`` of the grid.
    """
    # A grid voxel's own length does not change which feature is nearest.
    flat = known.scans[scan].features.reshape(features.shape[1], -1)
    drawn = torch.from_numpy(features).to(device)
    result = np.empty(flat.shape[1], dtype=np.uint16)
    for low in range(0, len(result), _CHUNK):
        stop_if_cancelled(reporter)
        reporter.progress(low, len(result), "Giving every voxel a cluster")
        part = torch.from_numpy(flat[:, low : low + _CHUNK]).to(device)
        result[low : low + _CHUNK] = clusters[(drawn @ part).argmax(dim=0).cpu().numpy()]
    return result.reshape(known.grid.shape)

"""The job ``embed``: voxel features of one scan, or of two together, as a t-SNE with clusters."""

from __future__ import annotations

import csv
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_gemini.correspondence.embedding import (
    NO_LABEL,
    Embedding,
    assign_clusters,
    embed_features,
)
from napari_gemini.engine.device import peak_memory_mb, select_device
from napari_gemini.engine.jobs import EmbedJob
from napari_gemini.engine.memory import check_memory, estimate_pair_bytes
from napari_gemini.engine.plain import to_plain
from napari_gemini.engine.provenance import library_versions, sha256_of
from napari_gemini.engine.tasks.descriptors import standardised_descriptors
from napari_gemini.engine.tasks.pair_inputs import check_dimensions, read_labels_of, read_scan
from napari_gemini.engine.tasks.pair_matching import autocast_of, grid_of, intensity_mode
from napari_gemini.engine.tasks.pair_results import write_label_files
from napari_gemini.engine.tasks.result_folder import check_result_folder, result_folder
from napari_gemini.engine.tasks.serving import Serving, serve
from napari_gemini.progress import Reporter, stop_if_cancelled
from napari_gemini.volumes.atomic import write_json_atomic
from napari_gemini.volumes.grid import (
    Placement,
    StudyGrid,
    image_to_grid,
    labels_from_grid,
    labels_to_grid,
    place_by_center_of_mass,
    points_from_grid,
)
from napari_gemini.volumes.intensity import normalise
from napari_gemini.volumes.volume import Volume

CLUSTERS = ("clusters", "clusters2")
RESULT_NAMES = frozenset(
    [f"{stem}{suffix}" for stem in CLUSTERS for suffix in (".nii.gz", ".png")]
    + ["embedding.csv", "report.json"]
)


@dataclass(frozen=True)
class _Scan:
    volume: Volume
    placement: Placement
    features: NDArray[np.float32]
    seen: NDArray[np.uint8]
    labels: NDArray[Any] | None


def run(job: EmbedJob, reporter: Reporter) -> dict[str, Any]:
    """Embed the voxels of one scan, or of two together.

    Parameters
    ----------
    job
        What the user asked for.
    reporter
        Hears about progress and may stop it.

    Returns
    -------
    dict
        The content of ``report.json`` and ``out``.

    Raises
    ------
    GeminiError
        With one sentence for bad input; nothing is written then.
    """
    started = time.monotonic()
    check_result_folder(job.out, RESULT_NAMES)
    volumes, labels = _read(job)
    device = select_device(job.device)
    serving = serve(job.model, volumes[0].ndim, device)
    reporter.log(serving.sentence)
    notes = _notes(serving, volumes)
    for note in notes:
        reporter.log(note)
    grid = grid_of(volumes, serving, job.spacing)
    config = None if serving.card is None else serving.card.network
    check_memory(estimate_pair_bytes(config, grid.shape), device, job.memory_advice)
    scans = _scans(volumes, labels, serving, grid, device, reporter)
    found = embed_features(
        [scan.features for scan in scans],
        count=job.samples,
        labels=[scan.labels for scan in scans],
        masks=[scan.seen for scan in scans],
        perplexity=job.perplexity,
        seed=job.seed,
        reporter=reporter,
    )
    stop_if_cancelled(reporter)
    with result_folder(job.out, RESULT_NAMES) as folder:
        write_table(folder / "embedding.csv", found, scans, grid)
        _write_clusters(folder, found, scans, grid)
        report = to_plain(
            {
                "schema_version": 1,
                "kind": "embed",
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "seed": job.seed,
                "voxels": len(found.coordinates),
                "clusters": int(found.kmeans.max(initial=0)),
                "scores": found.scores,
                "model": serving.name,
                "features": "local descriptors" if serving.network is None else "network",
                "perplexity": job.perplexity,
                "seconds": round(time.monotonic() - started, 2),
                "device": str(device),
                "peak_memory_mb": peak_memory_mb(device),
                "notes": notes,
                "grid": {"shape": grid.shape, "spacing": grid.spacings},
                "inputs": _inputs(job),
                "versions": library_versions(),
                "files": sorted({path.name for path in folder.iterdir()} | {"report.json"}),
            }
        )
        write_json_atomic(folder / "report.json", report)
    return {**report, "out": str(job.out)}


def write_table(path: Path, found: Embedding, scans: list[_Scan], grid: StudyGrid) -> None:
    """Write one row per voxel.

    Columns: ``image`` (1 or 2), ``i``, ``j``[, ``k``] (voxel of the scan's file), ``x``, ``y``[,
    ``z``] (where the feature was taken, in the scan's world, RAS mm or pixels), ``tsne_1``,
    ``tsne_2``, ``cluster`` (k-means), ``density_cluster`` (0: none), ``label`` (empty: unknown).
    """
    sample, d = found.sample, grid.ndim
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        tail = ["tsne_1", "tsne_2", "cluster", "density_cluster", "label"]
        writer.writerow(["image", *"ijk"[:d], *"xyz"[:d], *tail])
        for number, scan in enumerate(scans):
            volume = scan.volume
            chosen = np.flatnonzero(sample.image == number)
            world = points_from_grid(sample.index[chosen], grid, scan.placement)
            limit = np.array(volume.shape) - 1
            voxels = np.clip(np.rint(volume.world_to_voxel(world)), 0, limit).astype(int)
            for row, place, voxel in zip(chosen, world, voxels, strict=True):
                label = int(sample.label[row])
                writer.writerow(
                    [
                        number + 1,
                        *voxel.tolist(),
                        *(f"{value:.4f}" for value in place),
                        *(f"{value:.5f}" for value in found.coordinates[row]),
                        int(found.kmeans[row]),
                        int(found.hdbscan[row]),
                        "" if label == NO_LABEL else label,
                    ]
                )


def _read(job: EmbedJob) -> tuple[list[Volume], list[Volume | None]]:
    first = read_scan(job.image)
    volumes = [first]
    labels = [read_labels_of(job.labels, first)]
    if job.image2 is not None:
        second = read_scan(job.image2)
        check_dimensions(first, second)
        volumes.append(second)
        labels.append(None)
    return volumes, labels


def _notes(serving: Serving, volumes: list[Volume]) -> list[str]:
    notes = []
    if serving.network is None:
        notes.append(
            "No model served: the features are local descriptors of the image (smoothed intensity, "
            "gradient and Laplacian at several scales)."
        )
    if not all(volume.spacing_known for volume in volumes):
        notes.append("The pixel spacing is unknown, so positions are in pixels.")
    return notes


def _scans(
    volumes: list[Volume],
    labels: list[Volume | None],
    serving: Serving,
    grid: StudyGrid,
    device: torch.device,
    reporter: Reporter,
) -> list[_Scan]:
    """Bring scans, labels and features onto the grid."""
    images, places, seen = [], [], []
    for volume in volumes:
        place = place_by_center_of_mass(volume, grid)
        values = normalise(volume.data, intensity_mode(volume, serving))
        images.append(image_to_grid(volume, grid, place, values))
        places.append(place)
        ones = np.ones(volume.shape, np.uint8)
        seen.append(labels_to_grid(volume, grid, place, ones))
    features = _features(images, seen, serving, device, reporter)
    on_grid = [
        None if own is None else labels_to_grid(own, grid, place)
        for own, place in zip(labels, places, strict=True)
    ]
    return [_Scan(*parts) for parts in zip(volumes, places, features, seen, on_grid, strict=True)]


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


def _write_clusters(folder: Path, found: Embedding, scans: list[_Scan], grid: StudyGrid) -> None:
    """Give every voxel of every scan its nearest cluster, on the scan's own grid."""
    for stem, scan in zip(CLUSTERS, scans, strict=False):
        on_grid = assign_clusters(scan.features, found.sample, found.kmeans)
        clusters = labels_from_grid(on_grid, grid, scan.placement, scan.volume)
        write_label_files(folder, stem, clusters, scan.volume)


def _inputs(job: EmbedJob) -> dict[str, Any]:
    paths = {"image": job.image, "image2": job.image2, "labels": job.labels}
    return {
        role: {"path": str(path), "sha256": sha256_of(path)}
        for role, path in paths.items()
        if path is not None
    }

"""The job ``embed``: voxel features of one scan, or of two together, as a t-SNE with clusters."""

from __future__ import annotations

import csv
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.correspondence.clusters import assign_clusters
from napari_gemini.correspondence.embedding import Embedding, embed_features
from napari_gemini.correspondence.voxel_sample import NO_LABEL
from napari_gemini.engine.device import peak_memory_mb, select_device
from napari_gemini.engine.jobs import EmbedJob
from napari_gemini.engine.plain import to_plain
from napari_gemini.engine.provenance import library_versions, sha256_of
from napari_gemini.engine.tasks.pair_inputs import check_dimensions, read_labels_of, read_scan
from napari_gemini.engine.tasks.pair_results import write_label_files
from napari_gemini.engine.tasks.result_folder import check_result_folder, result_folder
from napari_gemini.engine.tasks.scan_features import FeatureSet, compute_features
from napari_gemini.errors import InputError
from napari_gemini.progress import Reporter, stop_if_cancelled
from napari_gemini.volumes.atomic import write_json_atomic
from napari_gemini.volumes.grid import labels_from_grid, labels_to_grid, points_from_grid
from napari_gemini.volumes.volume import Volume

CLUSTERS = ("clusters", "clusters2")
RESULT_NAMES = frozenset(
    [f"{stem}{suffix}" for stem in CLUSTERS for suffix in (".nii.gz", ".png")]
    + ["embedding.csv", "report.json"]
)


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
    known = compute_features(volumes, job.model, job.spacing, device, reporter, job.memory_advice)
    found = embed_features(
        [scan.features for scan in known.scans],
        count=job.samples,
        labels=_on_grid(labels, known),
        masks=[scan.seen for scan in known.scans],
        clusters=job.clusters,
        perplexity=job.perplexity,
        seed=job.seed,
        reporter=reporter,
    )
    stop_if_cancelled(reporter)
    with result_folder(job.out, RESULT_NAMES) as folder:
        write_table(folder / "embedding.csv", found, known)
        _write_clusters(folder, found, known)
        report = to_plain(
            {
                "schema_version": 1,
                "kind": "embed",
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "seed": job.seed,
                "voxels": len(found.coordinates),
                "clusters": int(found.kmeans.max(initial=0)),
                "scores": found.scores,
                "model": known.model,
                "features": known.kind,
                "perplexity": job.perplexity,
                "seconds": round(time.monotonic() - started, 2),
                "device": str(device),
                "peak_memory_mb": peak_memory_mb(device),
                "notes": known.notes,
                "grid": {"shape": known.grid.shape, "spacing": known.grid.spacings},
                "inputs": _inputs(job),
                "versions": library_versions(),
                "files": sorted({path.name for path in folder.iterdir()} | {"report.json"}),
            }
        )
        write_json_atomic(folder / "report.json", report)
    return {**report, "out": str(job.out)}


def write_table(path: Path, found: Embedding, known: FeatureSet) -> None:
    """Write one row per voxel.

    Columns: ``image`` (1 or 2), ``i``, ``j``[, ``k``] (voxel of the scan's file), ``x``, ``y``[,
    ``z``] (where the feature was taken, in the scan's world, RAS mm or pixels), ``tsne_1``,
    ``tsne_2``, ``cluster`` (k-means), ``density_cluster`` (0: none), ``label`` (empty: unknown).
    """
    sample, grid = found.sample, known.grid
    d = grid.ndim
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        tail = ["tsne_1", "tsne_2", "cluster", "density_cluster", "label"]
        writer.writerow(["image", *"ijk"[:d], *"xyz"[:d], *tail])
        for number, scan in enumerate(known.scans):
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
        labels.append(read_labels_of(job.labels2, second))
    elif job.labels2 is not None:
        raise InputError("There are labels of a second scan but no second scan; give IMAGE2 too.")
    return volumes, labels


def _on_grid(labels: list[Volume | None], known: FeatureSet) -> list[NDArray[Any] | None]:
    return [
        None if own is None else labels_to_grid(own, known.grid, scan.placement)
        for own, scan in zip(labels, known.scans, strict=True)
    ]


def _write_clusters(folder: Path, found: Embedding, known: FeatureSet) -> None:
    """Give every voxel of every scan its nearest cluster, on the scan's own grid."""
    for stem, scan in zip(CLUSTERS, known.scans, strict=False):
        on_grid = assign_clusters(scan.features, found.sample, found.kmeans)
        clusters = labels_from_grid(on_grid, known.grid, scan.placement, scan.volume)
        write_label_files(folder, stem, clusters, scan.volume)


def _inputs(job: EmbedJob) -> dict[str, Any]:
    paths = {"image": job.image, "image2": job.image2, "labels": job.labels}
    paths["labels2"] = job.labels2
    return {
        role: {"path": str(path), "sha256": sha256_of(path)}
        for role, path in paths.items()
        if path is not None
    }

"""The job ``explore``: a t-SNE of voxel features for a window, told while it takes shape."""

from __future__ import annotations

import importlib
import importlib.util
import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.correspondence.embedding import analyse_layout
from napari_gemini.correspondence.tsne import tsne
from napari_gemini.correspondence.voxel_sample import NO_LABEL, VoxelSample, draw
from napari_gemini.engine.arrays import exchange
from napari_gemini.engine.device import select_device
from napari_gemini.engine.jobs import ExploreJob
from napari_gemini.engine.tasks.pair_inputs import read_labels_of
from napari_gemini.engine.tasks.scan_features import FeatureSet, cached_features, read_scans
from napari_gemini.errors import EngineError, InputError
from napari_gemini.progress import Reporter, stop_if_cancelled
from napari_gemini.volumes.intensity import choose_intensity_mode, normalise
from napari_gemini.volumes.volume import Volume

#: Of the intensity range: what is darker counts as background where there are no labels.
_DARK = 0.05
LIBRARIES = {"openTSNE": "openTSNE", "sklearn.cluster": "scikit-learn"}


def run(job: ExploreJob, reporter: Reporter) -> dict[str, Any]:
    """Lay out and cluster voxels of one scan, or of two together.

    Parameters
    ----------
    job
        What the user asked for.
    reporter
        Hears about progress, the notices ``sample`` and ``layout``, and may stop it.

    Returns
    -------
    dict
        ``coordinates`` (n, 2), ``kmeans`` and ``hdbscan`` (n,) as arrays, ``scores``, ``model``,
        ``sentence``, ``features``, ``notes``, ``voxels``, ``seconds``, ``first_layout_seconds``
        (from the features to the first layout) and ``features_seconds``.

    Raises
    ------
    GeminiError
        With one sentence for bad input or a missing library.
    Cancelled
        If the reporter asked to stop.
    """
    started = time.monotonic()
    check_libraries()
    volumes, labels = _read(job)
    voxels = draw_voxels(volumes, labels, job)
    device = select_device(job.device)
    known = cached_features(volumes, job.model, job.spacing, device, reporter, job.memory_advice)
    there = time.monotonic()
    sample = take_features(known, voxels, labels)
    reporter.event("sample", **_sample_arrays(sample, volumes), **_facts(known))
    first: list[float] = []

    def update(iteration: int, coordinates: NDArray[np.float64]) -> None:
        ref = exchange().put(coordinates.astype(np.float32))
        reporter.event("layout", iteration=iteration, coordinates=ref.model_dump())
        first.append(time.monotonic() - there)

    coordinates = tsne(
        sample.features,
        perplexity=job.perplexity,
        seed=job.seed,
        update=update,
        reporter=reporter,
    )
    stop_if_cancelled(reporter)
    found = analyse_layout(sample, coordinates, job.clusters, job.seed, reporter)
    return {
        **_facts(known),
        "coordinates": _array(found.coordinates.astype(np.float32)),
        "kmeans": _array(found.kmeans),
        "hdbscan": _array(found.hdbscan),
        "scores": found.scores,
        "voxels": len(coordinates),
        "features_seconds": round(there - started, 3),
        "first_layout_seconds": round(first[0], 3),
        "seconds": round(time.monotonic() - started, 3),
    }


def check_libraries() -> None:
    """Make sure that the libraries of the layout are there, before anything is computed.

    They take seconds to import, which a thread does while features are computed.

    Raises
    ------
    EngineError
        If one is missing, with the command that installs it.
    """
    for module, package in LIBRARIES.items():
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            raise EngineError(
                f"The t-SNE needs {package}, which is not installed; install it with "
                "pip install 'napari-gemini[engine]'."
            )
    threading.Thread(target=_import_all, name="import-openTSNE", daemon=True).start()


def _import_all() -> None:
    for module in LIBRARIES:
        importlib.import_module(module)


def _read(job: ExploreJob) -> tuple[list[Volume], list[Volume | None]]:
    paths = [job.image] if job.image2 is None else [job.image, job.image2]
    if job.image2 is None and job.labels2 is not None:
        raise InputError("There are labels of a second scan but no second scan; choose it too.")
    volumes = read_scans(paths)
    given = (job.labels, job.labels2)
    return volumes, [read_labels_of(path, scan) for path, scan in zip(given, volumes, strict=False)]


def draw_voxels(
    volumes: list[Volume], labels: list[Volume | None], job: ExploreJob
) -> list[NDArray[np.int64]]:
    """Draw voxels of each scan, evenly over its labels or over space; the scans share the number.

    Returns
    -------
    list of ndarray
        ``(n, d)`` voxel indices of each scan.
    """
    generator = np.random.default_rng(job.seed)
    counts = [len(part) for part in np.array_split(np.arange(job.samples), len(volumes))]
    drawn = []
    for volume, own, count in zip(volumes, labels, counts, strict=True):
        mask = None
        if own is None and job.foreground:
            mask = normalise(volume.data, choose_intensity_mode(volume)) > _DARK
        strata = None if own is None else own.data
        flat = draw(volume.shape, count, strata, mask, generator)
        drawn.append(np.stack(np.unravel_index(flat, volume.shape), axis=1).astype(np.int64))
    return drawn


def take_features(
    known: FeatureSet, voxels: list[NDArray[np.int64]], labels: list[Volume | None]
) -> VoxelSample:
    """Look the features and labels of voxels up."""
    image, features, label = [], [], []
    for number, (index, own) in enumerate(zip(voxels, labels, strict=True)):
        world = known.scans[number].volume.voxel_to_world(index)
        image.append(np.full(len(index), number, dtype=np.int64))
        features.append(known.at(number, world))
        values = NO_LABEL if own is None else own.data[tuple(index.T)].astype(np.int64)
        label.append(np.broadcast_to(values, len(index)))
    return VoxelSample(
        np.concatenate(image),
        np.concatenate(voxels),
        np.concatenate(features),
        np.concatenate(label),
    )


def _facts(known: FeatureSet) -> dict[str, Any]:
    return {
        "model": known.model,
        "sentence": known.sentence,
        "features": known.kind,
        "notes": known.notes,
    }


def _array(array: NDArray[Any]) -> dict[str, Any]:
    return exchange().put(array).model_dump()


def _sample_arrays(sample: VoxelSample, volumes: list[Volume]) -> dict[str, Any]:
    world = np.concatenate(
        [
            volume.voxel_to_world(sample.index[sample.image == number])
            for number, volume in enumerate(volumes)
        ]
    )
    return {
        "image": _array(sample.image),
        "index": _array(sample.index),
        "world": _array(world),
        "label": _array(sample.label),
        "scans": [
            {
                "path": str(volume.path),
                "shape": volume.shape,
                "affine": volume.affine.tolist(),
                "spacing_known": volume.spacing_known,
            }
            for volume in volumes
        ],
    }

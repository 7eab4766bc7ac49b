"""What features say about voxels: sample, t-SNE, clusters and scores (numpy; no torch).

The steps are functions of their own; :func:`embed_features` runs them in order. openTSNE and
scikit-learn are imported when they are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.correspondence.clusters import (
    cluster_hdbscan,
    cluster_kmeans,
    cluster_scores,
    silhouette,
)
from napari_gemini.correspondence.tsne import Update, tsne
from napari_gemini.correspondence.voxel_sample import (
    NO_LABEL,
    FloatArray,
    IntArray,
    VoxelSample,
    sample_voxels,
)
from napari_gemini.progress import Reporter, SilentReporter, stop_if_cancelled


@dataclass(frozen=True)
class Embedding:
    """Everything that is known about a sample.

    Attributes
    ----------
    sample
        The voxels.
    coordinates
        ``(n, 2)`` of the t-SNE.
    kmeans
        ``(n,)`` cluster from 1 on, found among the features.
    hdbscan
        ``(n,)`` cluster from 1 on, 0 for voxels in none, found in the t-SNE.
    scores
        See :func:`cluster_scores`, keys ``kmeans_...`` and ``hdbscan_...``; None where there is
        nothing to score.
    """

    sample: VoxelSample
    coordinates: NDArray[np.float64]
    kmeans: NDArray[np.int64]
    hdbscan: NDArray[np.int64]
    scores: dict[str, float | None]


def embed_features(
    features: Sequence[FloatArray],
    *,
    count: int = 2000,
    labels: Sequence[IntArray | None] | None = None,
    masks: Sequence[NDArray[Any] | None] | None = None,
    clusters: int | None = None,
    perplexity: float = 30.0,
    seed: int = 0,
    update: Update | None = None,
    reporter: Reporter | None = None,
) -> Embedding:
    """Sample voxels of one image or of several together, lay them out, cluster and score them.

    Parameters
    ----------
    features, labels, masks, count, seed
        As for :func:`sample_voxels`.
    clusters
        For k-means; None takes the number of labels, or the best silhouette without labels.
    perplexity, update, reporter
        As for :func:`tsne`.

    Returns
    -------
    Embedding
        The sample and all that was found.
    """
    reporter = SilentReporter() if reporter is None else reporter
    sample = sample_voxels(features, count, labels, masks, seed)
    coordinates = tsne(
        sample.features, perplexity=perplexity, seed=seed, update=update, reporter=reporter
    )
    return analyse_layout(sample, coordinates, clusters, seed, reporter)


def analyse_layout(
    sample: VoxelSample,
    coordinates: FloatArray,
    clusters: int | None = None,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> Embedding:
    """Cluster a sample by its features and by its layout, and score both.

    Parameters
    ----------
    sample
        The voxels.
    coordinates
        ``(n, 2)`` of the t-SNE.
    clusters, seed, reporter
        As for :func:`embed_features`.
    """
    reporter = SilentReporter() if reporter is None else reporter
    reporter.log("Finding clusters.")
    stop_if_cancelled(reporter)
    kinds = np.unique(sample.label[sample.label != NO_LABEL])
    if clusters is None and len(kinds) > 1:
        clusters = len(kinds)
    kmeans = cluster_kmeans(sample.features, clusters, seed)
    stop_if_cancelled(reporter)
    density = cluster_hdbscan(coordinates)
    scores: dict[str, float | None] = {}
    for name, points, found in (
        ("kmeans", sample.features, kmeans),
        ("hdbscan", coordinates, density),
    ):
        for key, value in cluster_scores(points, found, sample.label, seed).items():
            scores[f"{name}_{key}"] = value
    if len(kinds) > 1:
        known = sample.label != NO_LABEL
        scores["labels_silhouette"] = silhouette(sample.features[known], sample.label[known], seed)
    return Embedding(sample, np.asarray(coordinates, dtype=np.float64), kmeans, density, scores)

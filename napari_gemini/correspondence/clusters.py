"""Clusters of feature vectors, their scores, and their spread over a whole image (scikit-learn)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_gemini.correspondence.voxel_sample import (
    NO_LABEL,
    FloatArray,
    IntArray,
    VoxelSample,
    normalised,
)

#: Voxels that a silhouette is computed from at most; it takes all pairwise distances.
SILHOUETTE_VOXELS = 3000


def cluster_kmeans(
    features: FloatArray, clusters: int | None = None, seed: int = 0
) -> NDArray[np.int64]:
    """Cluster feature vectors by k-means.

    Parameters
    ----------
    features
        ``(n, F)``.
    clusters
        How many; None takes the number from 2 to 10 with the best silhouette.
    seed
        Of the start.

    Returns
    -------
    ndarray
        ``(n,)``, from 1 on.
    """
    from sklearn.cluster import KMeans

    def run(k: int) -> NDArray[np.int64]:
        found = KMeans(k, n_init=4, random_state=seed).fit_predict(features)
        return np.asarray(found, dtype=np.int64) + 1

    if clusters is not None:
        return run(min(clusters, len(features)))
    candidates = [run(k) for k in range(2, min(10, len(features) - 1) + 1)]
    scores = [silhouette(features, found, seed) for found in candidates]
    return candidates[int(np.argmax([-2.0 if score is None else score for score in scores]))]


def cluster_hdbscan(coordinates: FloatArray, smallest: int | None = None) -> NDArray[np.int64]:
    """Cluster points by density.

    Parameters
    ----------
    coordinates
        ``(n, 2)`` of a t-SNE, or features.
    smallest
        Fewest members of a cluster; a fiftieth of the points, at least 5, by default.

    Returns
    -------
    ndarray
        ``(n,)``, from 1 on; 0 for points in no cluster.
    """
    from sklearn.cluster import HDBSCAN

    smallest = max(5, len(coordinates) // 50) if smallest is None else smallest
    found = HDBSCAN(min_cluster_size=smallest, copy=True).fit_predict(coordinates)
    return np.asarray(found, dtype=np.int64) + 1


def silhouette(points: FloatArray, clusters: IntArray, seed: int = 0) -> float | None:
    """Return the mean silhouette, of at most some thousand points; None without two clusters."""
    from sklearn.metrics import silhouette_score

    if len(points) > SILHOUETTE_VOXELS:
        chosen = np.random.default_rng(seed).choice(len(points), SILHOUETTE_VOXELS, replace=False)
        points, clusters = points[chosen], clusters[chosen]
    groups = len(np.unique(clusters))
    if not 2 <= groups < len(points):
        return None
    return float(silhouette_score(points, clusters))


def cluster_scores(
    points: FloatArray, clusters: IntArray, labels: IntArray, seed: int = 0
) -> dict[str, float | None]:
    """Score clusters by themselves and against labels.

    Parameters
    ----------
    points
        ``(n, k)``, where the silhouette is measured.
    clusters
        ``(n,)``; 0 is no cluster and counts in none of the scores but the share.
    labels
        ``(n,)``; -1 is unknown and counts in no comparison.
    seed
        Of the points a silhouette is computed from.

    Returns
    -------
    dict
        ``ari`` and ``nmi`` (adjusted Rand index and normalised mutual information with the
        labels; None without labels), ``silhouette``, ``clusters`` and ``clustered_percent``.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    inside = clusters > 0
    known = inside & (labels != NO_LABEL)
    compared = known.any()
    return {
        "ari": float(adjusted_rand_score(labels[known], clusters[known])) if compared else None,
        "nmi": float(normalized_mutual_info_score(labels[known], clusters[known]))
        if compared
        else None,
        "silhouette": silhouette(points[inside], clusters[inside], seed),
        "clusters": float(len(np.unique(clusters[inside]))),
        "clustered_percent": 100 * float(inside.mean()),
    }


def assign_clusters(
    features: FloatArray, sample: VoxelSample, clusters: IntArray, chunk: int = 262_144
) -> NDArray[np.int64]:
    """Give every voxel of an image the cluster whose mean direction is nearest.

    Parameters
    ----------
    features
        ``(F, *S)`` of the image.
    sample
        The voxels that were clustered.
    clusters
        ``(n,)`` of them; 0 is no cluster.
    chunk
        Voxels handled at a time.

    Returns
    -------
    ndarray
        ``S``, cluster numbers; 0 everywhere where there is no cluster.
    """
    numbers = np.unique(clusters[clusters > 0])
    flat = features.reshape(len(features), -1)
    result = np.zeros(flat.shape[1], dtype=np.int64)
    if len(numbers):
        centres = normalised(
            np.stack([sample.features[clusters == number].mean(axis=0) for number in numbers])
        )
        for low in range(0, len(result), chunk):
            part = flat[:, low : low + chunk].astype(np.float32)
            # A voxel's own length does not change which centre is nearest.
            result[low : low + chunk] = numbers[(centres @ part).argmax(axis=0)]
    return result.reshape(features.shape[1:])

"""What features say about voxels: sample, t-SNE, clusters and scores (numpy; no torch).

The steps are separate functions, and :func:`embed_features` runs them in order. openTSNE and
scikit-learn are imported when they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import InputError
from napari_gemini.progress import Cancelled, Reporter, SilentReporter, stop_if_cancelled

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]

#: Called with (iteration, coordinates (n, 2)) while a t-SNE takes shape.
Update = Callable[[int, NDArray[np.float64]], None]

EARLY_ITERATIONS, LATE_ITERATIONS = 250, 500
UPDATE_EVERY = 25
#: Voxels that a silhouette is computed from at most; it takes all pairwise distances.
SILHOUETTE_VOXELS = 3000
#: Blocks per axis that stand for regions where there are no labels.
REGIONS_PER_AXIS = 4
NO_LABEL = -1


@dataclass(frozen=True)
class VoxelSample:
    """Voxels drawn from one or more images, with their features.

    Attributes
    ----------
    image
        ``(n,)``, which image a voxel is of.
    index
        ``(n, d)`` voxel index.
    features
        ``(n, F)`` float32 of length 1, so that distances are those of the cosine.
    label
        ``(n,)``, -1 where the image has no labels.
    """

    image: NDArray[np.int64]
    index: NDArray[np.int64]
    features: NDArray[np.float32]
    label: NDArray[np.int64]


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


def share_out(sizes: Sequence[int], count: int) -> list[int]:
    """Share a number of draws evenly among strata, none getting more than it has.

    Parameters
    ----------
    sizes
        Members per stratum.
    count
        Draws in all.

    Returns
    -------
    list of int
        Draws per stratum; their sum is the smaller of `count` and all members.
    """
    shares = [0] * len(sizes)
    left = min(count, sum(sizes))
    while left:
        open_strata = [k for k, size in enumerate(sizes) if shares[k] < size]
        portion = max(left // len(open_strata), 1)
        for k in open_strata:
            taken = min(portion, sizes[k] - shares[k], left)
            shares[k] += taken
            left -= taken
    return shares


def _regions(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return block numbers of a volume, to draw evenly over space."""
    result = np.zeros(shape, dtype=np.int64)
    for axis, size in enumerate(shape):
        block = np.arange(size) * REGIONS_PER_AXIS // size
        result = result * REGIONS_PER_AXIS + block.reshape(
            [-1 if k == axis else 1 for k in range(len(shape))]
        )
    return result


def sample_voxels(
    features: Sequence[FloatArray],
    count: int,
    labels: Sequence[IntArray | None] | None = None,
    masks: Sequence[NDArray[Any] | None] | None = None,
    seed: int = 0,
) -> VoxelSample:
    """Draw voxels evenly over labels, or over space where there are none.

    Parameters
    ----------
    features
        ``(F, *S)`` of each image.
    count
        Voxels per image.
    labels
        ``S`` per image, or None.
    masks
        ``S`` per image, non-zero where voxels may be drawn, or None.
    seed
        Same seed, same voxels.

    Returns
    -------
    VoxelSample
        Of all images together, in image order.

    Raises
    ------
    InputError
        If shapes do not fit or nothing can be drawn.
    """
    labels = [None] * len(features) if labels is None else labels
    masks = [None] * len(features) if masks is None else masks
    generator = np.random.default_rng(seed)
    parts = [
        _sample_one(number, *one, count, generator)
        for number, one in enumerate(zip(features, labels, masks, strict=True))
    ]
    return VoxelSample(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("image", "index", "features", "label")
        )
    )


def _sample_one(
    number: int,
    features: FloatArray,
    labels: IntArray | None,
    mask: NDArray[Any] | None,
    count: int,
    generator: np.random.Generator,
) -> VoxelSample:
    shape = features.shape[1:]
    for other in (labels, mask):
        if other is not None and other.shape != shape:
            raise InputError(
                f"Features of shape {shape} and labels or mask of shape {other.shape} do not fit; "
                "bring them onto one grid."
            )
    allowed = np.flatnonzero(np.ones(shape, bool) if mask is None else np.asarray(mask) != 0)
    if not len(allowed) or count < 1:
        raise InputError("There is no voxel to draw; the mask is empty or the number is zero.")
    strata = (_regions(shape) if labels is None else labels).ravel()[allowed]
    values, sizes = np.unique(strata, return_counts=True)
    chosen = np.concatenate(
        [
            generator.choice(allowed[strata == value], share, replace=False)
            for value, share in zip(values, share_out(sizes.tolist(), count), strict=True)
        ]
    )
    chosen.sort()
    drawn = features.reshape(len(features), -1)[:, chosen].T.astype(np.float32)
    return VoxelSample(
        np.full(len(chosen), number, dtype=np.int64),
        np.stack(np.unravel_index(chosen, shape), axis=1).astype(np.int64),
        normalised(drawn),
        np.full(len(chosen), NO_LABEL, dtype=np.int64)
        if labels is None
        else labels.ravel()[chosen].astype(np.int64),
    )


def normalised(features: FloatArray) -> NDArray[np.float32]:
    """Scale feature vectors (n, F) to length 1; vanished ones stay zero."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    result: NDArray[np.float32] = (features / np.maximum(length, 1e-12)).astype(np.float32)
    return result


def tsne(
    features: FloatArray,
    *,
    perplexity: float = 30.0,
    seed: int = 0,
    update: Update | None = None,
    reporter: Reporter | None = None,
) -> NDArray[np.float64]:
    """Lay feature vectors out in a plane by t-SNE, starting from their principal components.

    Parameters
    ----------
    features
        ``(n, F)`` of length 1.
    perplexity
        Number of neighbours that count; lowered where there are few voxels.
    seed
        Same seed, same layout.
    update
        Hears of intermediate layouts, the principal components first.
    reporter
        Hears about progress and may cancel.

    Returns
    -------
    ndarray
        ``(n, 2)``.

    Raises
    ------
    InputError
        If there are fewer than 10 voxels.
    Cancelled
        If the reporter asked to stop.
    """
    from openTSNE import TSNE
    from openTSNE.initialization import pca

    reporter = SilentReporter() if reporter is None else reporter
    if len(features) < 10:
        raise InputError(f"A t-SNE needs at least 10 voxels; there are {len(features)}.")
    data = np.asarray(features, dtype=np.float64)
    start = pca(data, random_state=seed)
    if update is not None:
        update(0, np.asarray(start))
    stop_if_cancelled(reporter)
    total = EARLY_ITERATIONS + LATE_ITERATIONS
    seen = 0

    def callback(iteration: int, error: float, coordinates: Any) -> bool:
        nonlocal seen
        seen += UPDATE_EVERY  # openTSNE counts from the start of each of its two phases
        reporter.progress(min(seen, total), total, "Laying voxels out", error=float(error))
        if update is not None:
            update(seen, np.array(coordinates))
        return reporter.cancelled()

    layout = TSNE(
        perplexity=min(perplexity, (len(data) - 1) / 3),
        initialization=start,
        early_exaggeration_iter=EARLY_ITERATIONS,
        n_iter=LATE_ITERATIONS,
        neighbors="exact" if len(data) <= 5000 else "auto",
        callbacks=callback,
        callbacks_every_iters=UPDATE_EVERY,
        random_state=seed,
        n_jobs=1,
    ).fit(data)
    if reporter.cancelled():
        raise Cancelled
    return np.array(layout, dtype=np.float64)


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
    return Embedding(sample, coordinates, kmeans, density, scores)

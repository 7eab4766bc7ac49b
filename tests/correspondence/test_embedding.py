"""Sampling, t-SNE, clusters and scores on features with known groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_gemini.correspondence.clusters import (
    assign_clusters,
    cluster_hdbscan,
    cluster_kmeans,
    cluster_scores,
    silhouette,
)
from napari_gemini.correspondence.embedding import embed_features
from napari_gemini.correspondence.tsne import tsne
from napari_gemini.correspondence.voxel_sample import NO_LABEL, sample_voxels, share_out
from napari_gemini.errors import InputError
from napari_gemini.progress import Cancelled, SilentReporter


def grouped(shape: tuple[int, ...] = (20, 18), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return features (8, *shape) in three groups, of unequal size, and the groups."""
    generator = np.random.default_rng(seed)
    labels = np.zeros(shape, dtype=np.uint8)
    labels[:, 8:] = 1
    labels[:4, 8:] = 2
    centres = np.random.default_rng(99).normal(size=(3, 8))
    features = centres[labels] + 0.1 * generator.normal(size=(*shape, 8))
    return np.moveaxis(features, -1, 0).astype(np.float32), labels


class Recorder(SilentReporter):
    """Counts progress and may cancel after some of it."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.steps: list[int] = []
        self.stop_after = stop_after

    def progress(self, done: int, total: int, message: str = "", **values: float) -> None:
        self.steps.append(done)

    def cancelled(self) -> bool:
        return self.stop_after is not None and len(self.steps) >= self.stop_after


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(0, 150))
def test_shares_are_even_and_possible(sizes: list[int], count: int) -> None:
    shares = share_out(sizes, count)
    assert sum(shares) == min(count, sum(sizes))
    assert all(share <= size for share, size in zip(shares, sizes, strict=True))
    unfilled = [share for share, size in zip(shares, sizes, strict=True) if share < size]
    if unfilled:
        assert max(shares) - min(unfilled) <= 1


def test_every_label_gets_the_same_number_of_voxels() -> None:
    features, labels = grouped()
    sample = sample_voxels([features], 90, [labels], seed=3)
    assert np.bincount(sample.label).tolist() == [30, 30, 30]
    assert np.array_equal(labels[tuple(sample.index.T)], sample.label)
    drawn = features[(slice(None), *sample.index.T)].T
    expected = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    assert np.allclose(sample.features, expected, atol=1e-6)
    assert len(np.unique(sample.index, axis=0)) == 90
    again = sample_voxels([features], 90, [labels], seed=3)
    assert np.array_equal(sample.index, again.index)
    other = sample_voxels([features], 90, [labels], seed=4)
    assert not np.array_equal(sample.index, other.index)


def test_without_labels_space_is_covered_evenly() -> None:
    features, _ = grouped((16, 16, 16))
    sample = sample_voxels([features], 128)
    blocks = (sample.index // 4) @ [16, 4, 1]
    assert np.bincount(blocks, minlength=64).tolist() == [2] * 64
    assert set(sample.label) == {NO_LABEL}


def test_two_images_share_a_sample_and_masks_hold() -> None:
    (first, labels), (second, _) = grouped(), grouped(seed=1)
    mask = np.zeros((20, 18))
    mask[5:] = 1
    sample = sample_voxels([first, second], 40, [labels, None], [mask, None])
    assert np.bincount(sample.image).tolist() == [40, 40]
    assert sample.index[sample.image == 0][:, 0].min() >= 5
    assert (sample.label[sample.image == 1] == NO_LABEL).all()


def test_bad_samples_are_refused() -> None:
    features, labels = grouped()
    with pytest.raises(InputError, match="do not fit"):
        sample_voxels([features], 10, [labels[:3]])
    with pytest.raises(InputError, match="no voxel to draw"):
        sample_voxels([features], 10, masks=[np.zeros((20, 18))])
    with pytest.raises(InputError, match="at least 10"):
        tsne(np.eye(5))


def test_embedding_separates_and_scores_known_groups() -> None:
    (first, labels), (second, _) = grouped(), grouped(seed=1)
    updates: list[tuple[int, tuple[int, ...]]] = []
    reporter = Recorder()
    result = embed_features(
        [first, second],
        count=75,
        labels=[labels, labels],
        seed=1,
        update=lambda iteration, points: updates.append((iteration, points.shape)),
        reporter=reporter,
    )
    assert result.coordinates.shape == (150, 2)
    assert np.isfinite(result.coordinates).all()
    assert result.scores["kmeans_ari"] == 1
    assert result.scores["kmeans_nmi"] == pytest.approx(1)
    assert result.scores["kmeans_clusters"] == 3
    assert result.scores["hdbscan_ari"] is not None
    assert result.scores["hdbscan_ari"] > 0.9
    assert result.scores["labels_silhouette"] is not None
    assert result.scores["labels_silhouette"] > 0.7
    assert updates[0] == (0, (150, 2))
    assert updates[-1] == (750, (150, 2))
    assert [iteration for iteration, _ in updates] == list(range(0, 751, 25))
    assert reporter.steps[-1] == 750
    # Clusters of the sample extend to whole images.
    whole = assign_clusters(first, result.sample, result.kmeans, chunk=50)
    assert whole.shape == labels.shape
    for group in range(3):
        assert len(np.unique(whole[labels == group])) == 1
    again = embed_features([first, second], count=75, labels=[labels, labels], seed=1)
    assert np.array_equal(again.coordinates, result.coordinates)


def test_without_labels_the_silhouette_chooses_the_number_of_clusters() -> None:
    features, labels = grouped()
    sample = sample_voxels([features], 90, [labels])
    found = cluster_kmeans(sample.features)
    assert sorted(np.unique(found)) == [1, 2, 3]
    scores = cluster_scores(sample.features, found, np.full(90, NO_LABEL))
    assert scores["ari"] is None
    assert scores["nmi"] is None
    assert scores["silhouette"] is not None


def test_cancelled_layouts_stop() -> None:
    features, _ = grouped()
    sample = sample_voxels([features], 60)
    reporter = Recorder(stop_after=2)
    with pytest.raises(Cancelled):
        tsne(sample.features, reporter=reporter)
    assert len(reporter.steps) == 2
    with pytest.raises(Cancelled):
        tsne(sample.features, reporter=Recorder(stop_after=0))


def test_noise_is_in_no_cluster() -> None:
    generator = np.random.default_rng(0)
    points = np.concatenate(
        [generator.normal(0, 0.05, (40, 2)), generator.normal(5, 0.05, (40, 2)), [[50.0, 50.0]]]
    )
    found = cluster_hdbscan(points)
    assert found[-1] == 0
    assert len(set(found[:40])) == 1
    scores = cluster_scores(points, found, np.r_[np.zeros(40), np.ones(40), 1].astype(int))
    assert scores["ari"] == 1
    assert scores["clustered_percent"] == pytest.approx(100 * 80 / 81)


def test_nothing_to_score() -> None:
    points = np.random.default_rng(0).normal(size=(20, 2))
    assert silhouette(points, np.ones(20, dtype=int)) is None
    scores = cluster_scores(points, np.zeros(20, dtype=int), np.zeros(20, dtype=int))
    assert scores["ari"] is None
    assert scores["clusters"] == 0
    features, _ = grouped()
    sample = sample_voxels([features], 20)
    assert assign_clusters(features, sample, np.zeros(20, dtype=int)).max() == 0


def test_large_samples_are_thinned_for_the_silhouette(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_gemini.correspondence import clusters

    features, labels = grouped()
    flat = features.reshape(8, -1).T
    whole = silhouette(flat, labels.ravel())
    monkeypatch.setattr(clusters, "SILHOUETTE_VOXELS", 100)
    thinned = silhouette(flat, labels.ravel())
    assert whole is not None
    assert thinned == pytest.approx(whole, abs=0.1)

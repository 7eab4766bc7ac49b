"""The descriptor of self-similarity: its definition, what it does not see, and its loss."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from napari_gemini.correspondence.resampling import gaussian_kernel, shrink
from napari_gemini.correspondence.self_similarity import (
    DILATION,
    PATCH_SIGMA,
    neighbour_pairs,
    self_similarity,
    self_similarity_loss,
)

SHAPES = [(20, 24), (12, 14, 16)]


def noise(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(seed))


def distance_at(image: np.ndarray, voxel: tuple[int, ...], first, second) -> float:
    """The weighted squared difference of two patches, written out."""
    kernel = gaussian_kernel(PATCH_SIGMA).numpy()
    radius, total = len(kernel) // 2, 0.0
    for offset in itertools.product(range(-radius, radius + 1), repeat=image.ndim):
        weight = np.prod([kernel[radius + o] for o in offset])
        place = [
            tuple(v + o + DILATION * n for v, o, n in zip(voxel, offset, side, strict=True))
            for side in (first, second)
        ]
        total += weight * (image[place[0]] - image[place[1]]) ** 2
    return total


@pytest.mark.parametrize(("dimension", "count"), [(2, 8), (3, 12)])
def test_neighbours_share_an_edge(dimension: int, count: int) -> None:
    pairs = neighbour_pairs(dimension)
    assert len(set(map(frozenset, pairs))) == count
    for first, second in pairs:
        apart = np.subtract(first, second)
        assert apart @ apart == 2 or (dimension == 2 and first == (0, 0) and apart @ apart == 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_descriptor_is_the_published_one(shape: tuple[int, ...]) -> None:
    """At a voxel in the middle, from loops over patches; the noise limits are not reached."""
    image = noise(shape)
    voxel = tuple(size // 2 for size in shape)
    distances = np.array(
        [distance_at(image[0, 0].double().numpy(), voxel, *p) for p in neighbour_pairs(len(shape))]
    )
    distances -= distances.min()
    expected = np.exp(-distances / distances.mean())
    found = self_similarity(image)[(0, slice(None), *voxel)]
    assert np.allclose(found, expected, atol=1e-4)
    assert found.max() == 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("factor", "shift"), [(0.3, 0.5), (-1.0, 1.0)])
def test_scaled_and_inverted_grey_values_are_not_seen(
    shape: tuple[int, ...], factor: float, shift: float
) -> None:
    image = noise(shape)
    same, other = self_similarity(image), self_similarity(factor * image + shift)
    assert torch.allclose(same, other, atol=1e-3)
    assert float((same - self_similarity(noise(shape, 1))).abs().mean()) > 0.1


@pytest.mark.parametrize("shape", SHAPES)
def test_images_of_one_value_and_flat_regions_are_finite(shape: tuple[int, ...]) -> None:
    assert torch.equal(self_similarity(torch.full((1, 1, *shape), 0.4)).unique(), torch.ones(1))
    image = noise(shape)
    image[:, :, : shape[0] // 2] = 0.4
    found = self_similarity(image)
    assert torch.isfinite(found).all()
    assert torch.allclose(found[:, :, 0], torch.ones(()))


def test_blocks_average_distances_before_they_are_compared() -> None:
    image = noise((16, 16))
    blocks = self_similarity(image, 2)
    assert blocks.shape == (1, 8, 8, 8)
    assert blocks.amax(1).unique().tolist() == [1.0], "each block has one patch most alike"
    averaged = shrink(self_similarity(image), 2)
    assert not torch.allclose(averaged.amax(1), torch.ones(())), "averaged descriptors have not"


def test_no_gradient_flows_into_the_image() -> None:
    assert not self_similarity(noise((8, 8)).requires_grad_()).requires_grad


def test_the_loss_counts_what_the_mask_says() -> None:
    first, second = torch.zeros(1, 8, 4, 4), torch.zeros(1, 8, 4, 4)
    second[:, :4, 0] = 1.0
    mask = torch.zeros(1, 1, 4, 4)
    mask[:, :, :2] = 1
    assert float(self_similarity_loss(first, first)) == 0
    assert float(self_similarity_loss(first, second)) == pytest.approx(0.5 / 4)
    assert float(self_similarity_loss(first, second, mask)) == pytest.approx(0.25, abs=1e-5)

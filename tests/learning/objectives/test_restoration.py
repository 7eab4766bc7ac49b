"""Damage for self-restoration: what each kind does, on any grid, repeatably."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_gemini.learning.restoration import (
    PAINT_BLOCKS,
    TABLE,
    bezier_curve,
    change_contrast,
    damage,
    draw_blocks,
    shuffled_positions,
)
from napari_gemini.settings import RestorationSettings


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(
    seed=st.integers(0, 200),
    shape=st.lists(st.integers(1, 40), min_size=2, max_size=3).map(tuple),
)
def test_every_grid_can_be_damaged_and_stays_in_range(seed: int, shape: tuple[int, ...]) -> None:
    images = torch.rand((2, 1, *shape), generator=_generator(seed))
    kept = images.clone()
    damaged = damage(images, _generator(seed), RestorationSettings())
    assert damaged.shape == images.shape
    assert torch.equal(images, kept)
    assert bool((damaged >= 0).all())
    assert bool((damaged <= 1).all())
    assert torch.equal(damaged, damage(images, _generator(seed), RestorationSettings()))


@pytest.mark.parametrize("shape", [(60, 90), (40, 40, 60)])
def test_shuffled_voxels_stay_within_their_block(shape: tuple[int, ...]) -> None:
    share = 30 if len(shape) == 2 else 20
    positions = shuffled_positions(shape, _generator())
    there = np.stack(np.unravel_index(positions, shape))
    here = np.stack(np.unravel_index(np.arange(len(positions)), shape))
    for axis, size in enumerate(shape):
        assert np.abs(there[axis] - here[axis]).max() <= max(2, size // share) - 1
    # As many blocks as are published cover most of the scan; many voxels keep their place.
    assert 0.3 < (there != here).any(0).mean() < 0.9


def test_intensities_follow_an_increasing_curve_from_black_to_white() -> None:
    curves = torch.stack([bezier_curve(_generator(seed)) for seed in range(20)])
    assert bool((curves.diff(dim=1) >= 0).all())
    assert torch.allclose(curves[:, 0], torch.zeros(20), atol=1e-6)
    assert torch.allclose(curves[:, -1], torch.ones(20), atol=1e-6)
    assert float((curves - torch.linspace(0, 1, TABLE)).abs().amax(1).min()) > 1e-3
    straight = torch.linspace(0, 1, TABLE)
    image = torch.rand(7, 9)
    assert torch.allclose(change_contrast(image, straight), image, atol=1e-5)


@given(seed=st.integers(0, 100), shape=st.sampled_from([(64, 48), (1, 40, 40), (32, 48, 4)]))
def test_painted_blocks_lie_inside_and_are_small(seed: int, shape: tuple[int, ...]) -> None:
    blocks = draw_blocks(shape, _generator(seed), 0.95)
    assert 1 <= len(blocks) <= PAINT_BLOCKS[len(shape)]
    for block in blocks:
        for part, size in zip(block, shape, strict=True):
            assert 0 <= part.start < part.stop <= size
            assert part.stop - part.start <= max(1, size // (10 if len(shape) == 2 else 5))


def test_a_probability_of_zero_leaves_the_rest_alone() -> None:
    settings = RestorationSettings(
        shuffle_probability=0, intensity_probability=0, paint_probability=0
    )
    images = torch.rand(1, 1, 40, 40)
    changed = (damage(images, _generator(), settings) != images).float().mean()
    assert 0 < float(changed) <= 0.1**2

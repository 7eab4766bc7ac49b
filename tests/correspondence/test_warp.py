"""Warp, composition and field of view against known values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from napari_gemini.correspondence.warp import (
    comparison_mask,
    compose,
    field_of_view_mask,
    identity_grid,
    sample,
    warp,
)
from napari_gemini.errors import InputError


@pytest.mark.parametrize("shape", [(16, 21), (12, 16, 9), (1, 8, 8)])
def test_zero_displacement_is_the_identity(shape: tuple[int, ...]) -> None:
    image = torch.rand(2, 3, *shape)
    zero = torch.zeros(2, len(shape), *shape)
    assert (warp(image, zero) - image).abs().max() < 1e-5
    labels = torch.randint(0, 2**30, (2, 1, *shape))
    assert torch.equal(warp(labels, zero, mode="nearest"), labels)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_channel_k_moves_along_array_axis_k(axis: int) -> None:
    image = torch.rand(1, 1, 7, 8, 9)
    shift = torch.zeros(1, 3, 7, 8, 9)
    shift[:, axis] = 2
    warped = warp(image, shift)
    size = image.shape[2 + axis]
    expected = image.narrow(2 + axis, 2, size - 2)
    assert torch.allclose(warped.narrow(2 + axis, 0, size - 2), expected, atol=1e-5)
    assert warped.narrow(2 + axis, size - 2, 2).abs().max() == 0
    edge = warp(image, shift, padding="border").narrow(2 + axis, size - 1, 1)
    assert torch.allclose(edge, image.narrow(2 + axis, size - 1, 1), atol=1e-5)


@pytest.mark.parametrize("shape", [(17, 12), (9, 11, 14)])
def test_agrees_with_scipy_in_float64(shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(3)
    image = generator.random(shape)
    field = generator.normal(0, 1.0, (len(shape), *shape))
    points = np.indices(shape) + field
    inside = np.all([(points[k] >= 0) & (points[k] <= n - 1) for k, n in enumerate(shape)], axis=0)
    expected = map_coordinates(image, points, order=1)
    warped = warp(torch.tensor(image)[None, None], torch.tensor(field)[None])
    assert warped.dtype == torch.float64
    assert np.abs(warped[0, 0].numpy() - expected)[inside].max() < 1e-12
    mask = field_of_view_mask(torch.tensor(field)[None])
    assert np.array_equal(mask[0, 0].numpy() > 0, inside)


def test_nearest_ties_go_up() -> None:
    labels = torch.arange(6, dtype=torch.int16).reshape(1, 1, 6, 1).expand(1, 1, 6, 4)
    field = torch.zeros(1, 2, 6, 4)
    field[:, 0] = 0.5
    warped = warp(labels, field, mode="nearest")
    assert warped.dtype == torch.int16
    assert warped[0, 0, :5, 0].tolist() == [1, 2, 3, 4, 5]


def test_half_precision_and_autocast_use_float32_coordinates() -> None:
    image = torch.rand(1, 1, 300, 8)
    field = torch.full((1, 2, 300, 8), 0.25)
    field[:, 1] = 0
    exact = warp(image, field)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(warp(image, field), exact)
        half = warp(image, field.bfloat16())
    assert half.dtype == torch.float32
    assert torch.allclose(half, exact)


def test_refuses_what_makes_no_sense() -> None:
    with pytest.raises(InputError, match="Labels cannot be interpolated"):
        warp(torch.zeros(1, 1, 4, 4, dtype=torch.long), torch.zeros(1, 2, 4, 4))
    with pytest.raises(InputError, match="displacement has the shape"):
        warp(torch.zeros(1, 1, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(InputError, match="same number of spatial axes"):
        sample(torch.zeros(1, 1, 4, 4), torch.zeros(1, 3, 4, 4, 4))


@given(seed=st.integers(0, 100), shape=st.sampled_from([(20, 24), (14, 16, 12)]))
def test_composition_warps_in_one_go(
    seed: int, shape: tuple[int, ...], smooth_field: Callable[..., torch.Tensor]
) -> None:
    outer, inner = smooth_field(shape, 0.6, seed), smooth_field(shape, 0.6, seed + 1)
    points = identity_grid(shape)
    # A linear image is interpolated without error, so both ways have to agree inside.
    image = (points * torch.arange(1.0, len(shape) + 1).reshape(1, -1, *(1,) * len(shape))).sum(
        1, keepdim=True
    )
    twice = warp(warp(image, outer), inner)
    once = warp(image, compose(outer, inner))
    cut = (..., *(slice(4, -4),) * len(shape))
    assert torch.allclose(once[cut], twice[cut], atol=1e-3)


def test_one_field_serves_a_batch_of_images() -> None:
    images = torch.rand(3, 2, 8, 8)
    field = torch.rand(1, 2, 8, 8)
    warped = warp(images, field)
    assert torch.allclose(warped[2], warp(images[2:], field)[0])
    several = warp(images[:1], torch.rand(4, 2, 8, 8))
    assert several.shape == (4, 2, 8, 8)


def test_ignored_regions_leave_the_mask_on_both_sides() -> None:
    field = torch.zeros(1, 2, 16, 16)
    field[:, 0] = 3
    moving = torch.zeros(1, 1, 16, 16)
    moving[:, :, 8, 5] = 1
    fixed = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    fixed[:, :, 1, 1] = True
    mask = comparison_mask(field, moving, fixed)
    expected = field_of_view_mask(field)
    assert expected.sum() == 13 * 16
    expected[0, 0, 4:7, 4:7] = 0  # the slope of the image at the neighbours needs it, too
    expected[0, 0, 1, 1] = 0
    assert torch.equal(mask, expected)
    assert not mask.requires_grad


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.5, 0.8, -1.2])
def test_ignored_voxels_change_neither_value_nor_slope(shift: float) -> None:
    field = torch.full((1, 2, 9, 9), shift)
    ignore = torch.zeros(1, 1, 9, 9)
    ignore[:, :, 4, 4] = 1
    mask = comparison_mask(field, ignore_moving=ignore)
    assert mask.sum() > 20
    results = []
    for value in (0.0, 7.0):
        image = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(0))
        image[:, :, 4, 4] = value
        u = field.clone().requires_grad_()
        warped = warp(image, u) * mask
        warped.sum().backward()
        assert u.grad is not None
        results.append((warped.detach(), u.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_mask_of_a_moving_image_of_another_shape() -> None:
    mask = field_of_view_mask(torch.zeros(1, 2, 8, 8), source_shape=(4, 8))
    assert mask.sum() == 32

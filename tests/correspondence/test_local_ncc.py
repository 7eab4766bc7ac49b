"""Local correlation against a float64 reference and at its numerical edges."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given
from hypothesis import strategies as st

from napari_gemini.correspondence.local_ncc import (
    gvs_loss,
    local_ncc_map,
    masked_mean,
    window_sizes,
)
from napari_gemini.correspondence.window_sum import WindowSum, window_sum
from napari_gemini.errors import InputError


def dense_sum(image: torch.Tensor, window: tuple[int, ...]) -> torch.Tensor:
    convolve = functional.conv2d if image.ndim == 4 else functional.conv3d
    kernel = torch.ones(1, 1, *window, dtype=image.dtype)
    return convolve(image, kernel, padding=[size // 2 for size in window])


def reference_map(
    a: torch.Tensor, b: torch.Tensor, window: tuple[int, ...], weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Squared correlation as it is written, for autograd in float64."""
    weight = torch.ones_like(a) if weight is None else weight
    count = dense_sum(weight, window).clamp_min(1)
    mean_a, mean_b = dense_sum(weight * a, window) / count, dense_sum(weight * b, window) / count
    cross = dense_sum(weight * a * b, window) - count * mean_a * mean_b
    squares_a, squares_b = dense_sum(weight * a * a, window), dense_sum(weight * b * b, window)
    var_a, var_b = squares_a - count * mean_a**2, squares_b - count * mean_b**2
    # Even float64 leaves noise in a flat window of large values.
    real = (var_a > 1e-10 * squares_a) & (var_b > 1e-10 * squares_b)
    return torch.where(real, cross**2 / (var_a * var_b + 1e-5), 0)


def images(shape: tuple[int, ...], seed: int, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.rand(2, batch, 1, *shape, generator=generator, dtype=torch.float64)
    return a, 0.5 * a + 0.5 * b


@pytest.mark.parametrize(
    ("shape", "wished", "used"),
    [
        ((20, 17), 9, (9, 9)),
        ((14, 12, 13), 9, (9, 9, 9)),
        ((14, 12, 4), 9, (9, 9, 3)),
        ((12, 11, 10), 5, (5, 5, 5)),
        ((20, 18), 7, (7, 7)),
        ((9, 9), 1, (1, 1)),
    ],
)
def test_values_and_both_gradients_match_float64(
    shape: tuple[int, ...], wished: int, used: tuple[int, ...]
) -> None:
    assert window_sizes(wished, shape) == used
    a, b = images(shape, 1)
    weight = torch.rand(2, 1, *shape, dtype=torch.float64)
    a64, b64 = a.clone().requires_grad_(), b.clone().requires_grad_()
    expected = reference_map(a64, b64, used)
    (expected * weight).sum().backward()
    a32, b32 = a.float().requires_grad_(), b.float().requires_grad_()
    result = local_ncc_map(a32, b32, wished)
    (result * weight.float()).sum().backward()
    assert result.dtype == torch.float32
    assert (result - expected).abs().max() < 1e-4
    for ours, theirs in ((a32.grad, a64.grad), (b32.grad, b64.grad)):
        assert ours is not None
        assert theirs is not None
        assert (ours - theirs).norm() <= 1e-4 * theirs.norm() + 1e-12


def test_gradcheck_in_float64() -> None:
    a, b = images((6, 5, 7), 3, batch=1)
    assert torch.autograd.gradcheck(
        lambda x, y: local_ncc_map(x, y, 3), (a.requires_grad_(), b.requires_grad_())
    )


def test_gradient_is_computed_only_where_asked() -> None:
    a, b = images((10, 10), 4)
    b.requires_grad_()
    gvs_loss(a, b).backward()
    assert a.grad is None
    assert b.grad is not None


@given(st.integers(0, 1000), st.sampled_from([(15, 18), (10, 12, 11)]))
def test_raw_intensities_stay_in_range_and_finite(seed: int, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(seed)
    a = 1000 + 50 * torch.randn(1, 1, *shape, generator=generator)
    b = 1000 + 50 * torch.randn(1, 1, *shape, generator=generator)
    a[..., :6] = 700.0  # a flat region next to the texture
    a.requires_grad_()
    cc = local_ncc_map(a, b)
    assert cc.min() >= 0
    assert cc.max() <= 1
    (1 - cc.mean()).backward()
    exact = a.detach().double().requires_grad_()
    (1 - reference_map(exact, b.double(), window_sizes(9, shape)).mean()).backward()
    assert a.grad is not None
    assert exact.grad is not None
    assert torch.isfinite(a.grad).all()
    assert (a.grad - exact.grad).norm() <= 1e-3 * exact.grad.norm()


@pytest.mark.parametrize("value", [0.0, 0.7, 1000.0, -3e4])
def test_constant_images_give_zero_and_no_gradient(value: float) -> None:
    a = torch.full((1, 1, 12, 12, 12), value, requires_grad=True)
    b = torch.rand(1, 1, 12, 12, 12)
    cc = local_ncc_map(a, b)
    assert cc.abs().max() < 1e-6
    cc.sum().backward()
    assert a.grad is not None
    assert torch.isfinite(a.grad).all()


def test_an_image_equals_itself_up_to_scale_and_sign() -> None:
    a = torch.rand(1, 1, 16, 16, 16)
    a[..., :8, :, :] = 0.3
    for other in (a, 3 * a + 2, -a):
        cc = local_ncc_map(a, other)
        assert cc[..., 13:, :, :].min() > 0.99
        assert cc[..., :4, :, :].max() < 1e-3


def test_shift_of_the_intensities_changes_nothing() -> None:
    a, b = images((12, 14), 5)
    assert torch.allclose(local_ncc_map(a, b), local_ncc_map(a + 7, b - 3), atol=1e-9)


def test_autocast_changes_nothing() -> None:
    a, b = (image.float() for image in images((16, 16), 6))
    expected = local_ncc_map(a, b)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(local_ncc_map(a, b), expected)
        assert local_ncc_map(a.bfloat16(), b.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("shape", [(18, 16), (12, 13, 11)])
def test_ignored_voxels_do_not_reach_their_neighbours(shape: tuple[int, ...]) -> None:
    a, b = images(shape, 7)
    ignore = torch.zeros(2, 1, *shape)
    ignore[(..., *(slice(4, 8),) * len(shape))] = 1
    windows = window_sizes(9, shape)
    spoiled = torch.where(ignore > 0, 50.0, a).requires_grad_()
    cc = local_ncc_map(spoiled, b, ignore=ignore)
    weight = 1 - ignore.double()
    assert torch.allclose(cc, reference_map(a, b, windows, weight), atol=1e-6)
    loss = gvs_loss(spoiled, b, ignore=ignore)
    assert torch.allclose(loss, gvs_loss(a, b, ignore=ignore))
    loss.backward()
    assert spoiled.grad is not None
    assert spoiled.grad[ignore > 0].abs().max() == 0
    assert spoiled.grad[ignore == 0].abs().max() > 0


def test_loss_is_averaged_over_the_mask() -> None:
    a, b = images((14, 14), 8)
    mask = torch.zeros(2, 1, 14, 14, dtype=torch.float64)
    mask[:, :, 3:9, 2:7] = 1
    cc = local_ncc_map(a, b)
    per_sample = gvs_loss(a, b, mask, reduction="none")
    expected = 1 - torch.stack([cc[k][mask[k] > 0].mean() for k in range(2)])
    assert torch.allclose(per_sample, expected, atol=1e-6)
    assert torch.allclose(gvs_loss(a, b, mask), expected.mean(), atol=1e-6)
    both = gvs_loss(a, b, mask, ignore=(mask == 0))
    assert both.isfinite()


def test_an_empty_mask_is_no_nan() -> None:
    a, b = images((8, 8), 9)
    assert gvs_loss(a, b, torch.zeros(2, 1, 8, 8)) == 1
    assert masked_mean(a, torch.zeros(1, 1, 8, 8)) == 0


@given(st.integers(0, 6), st.integers(1, 20), st.integers(1, 20))
def test_doubling_sums_equal_dense_sums(half: int, first: int, second: int) -> None:
    image = torch.rand(1, 1, first, second, dtype=torch.float64)
    windows = window_sizes(2 * half + 1, (first, second))
    expected = dense_sum(image, windows)
    sums = WindowSum(image, windows)
    for _ in range(2):  # the scratch memory is used again
        assert torch.allclose(sums(image), expected)
    assert torch.allclose(sums.of_product(image, 2 * image), dense_sum(2 * image**2, windows))


@pytest.mark.parametrize("windows", [(1, 5, 3), (5, 1, 3), (7, 3, 1), (1, 1, 1), (3, 11, 13)])
def test_windows_of_all_sizes_in_3d_and_batches(windows: tuple[int, ...]) -> None:
    image = torch.rand(2, 1, 7, 11, 13, dtype=torch.float64)
    assert torch.allclose(window_sum(image, windows), dense_sum(image, windows))


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="odd"):
        window_sizes(8, (10, 10))
    with pytest.raises(InputError, match="one shape"):
        local_ncc_map(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 9))

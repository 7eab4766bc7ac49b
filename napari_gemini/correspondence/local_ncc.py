"""Local squared normalised cross-correlation: the paper's geometric visual similarity (GVS).

The window sums are made by doubling (9 = 8 + 1: four additions per axis) and the gradient is the
closed form, so neither needs a convolution, and the memory is that of a few images.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from napari_gemini.correspondence.warp import working_dtype
from napari_gemini.correspondence.window_sum import WindowSum, window_sum
from napari_gemini.errors import InputError

Reduction = Literal["mean", "none"]

# Of the released code: keeps flat windows at 0. Sums over the window, for intensities in [0, 1].
NOISE_FLOOR = 1e-5


def window_sizes(window: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the window per axis: odd, and at most as long as the axis.

    Parameters
    ----------
    window
        Wished size in voxels, odd.
    shape
        Spatial shape of the image.

    Raises
    ------
    InputError
        If the wished size is even or below one.
    """
    if window < 1 or window % 2 == 0:
        raise InputError(f"The correlation window has to be an odd number of voxels, not {window}.")
    return tuple(min(window, size if size % 2 else size - 1) for size in shape)


def _window_count(reference: Tensor, windows: tuple[int, ...]) -> Tensor:
    """Count the voxels of every window that lie inside the image; (1, 1, *S)."""
    count = reference.new_ones((1, 1, *(1 for _ in windows)))
    for axis, window in enumerate(windows):
        size = reference.shape[2 + axis]
        index = torch.arange(size, device=reference.device)
        low = (index - window // 2).clamp_min(0)
        high = (index + window // 2).clamp_max(size - 1)
        line = (high - low + 1).to(reference.dtype)
        count = count * line.reshape([-1 if k == axis + 2 else 1 for k in range(reference.ndim)])
    return count


def _centred(image: Tensor, weight: Tensor | None) -> Tensor:
    """Subtract each sample's mean, so that window sums do not cancel catastrophically."""
    axes = tuple(range(1, image.ndim))
    # Correlation does not depend on the mean, so the mean needs no gradient.
    level = image.detach()
    if weight is None:
        return image - level.mean(axes, keepdim=True)
    mean = (level * weight).sum(axes, keepdim=True) / weight.sum(axes, keepdim=True).clamp_min(1)
    return (image - mean) * weight


class _LocalNCC(torch.autograd.Function):
    """Squared correlation of two centred images in a moving window.

    With window sums S, voxel count n, window means A and B, ``X = S[ab] - S[a] B``,
    ``V = S[aa] - S[a] A`` and ``W = S[bb] - S[b] B``: ``cc = X^2 / (V W + eps)``. For an incoming
    gradient g, ``p = g X / (V W + eps)`` and ``q = g cc / (V W + eps)``, the gradient for a is
    ``2 (b S[p] - a S[q W] - S[p B - q W A])``, and for b the same with a and b, A and B, V and W
    exchanged: five window sums for both images.
    """

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, count: Tensor, windows: tuple[int, ...], floor: float
    ) -> Tensor:
        sums = WindowSum(a, windows)
        sum_a, sum_b = sums(a), sums(b)
        mean_a, mean_b = sum_a / count, sum_b / count
        cross = sums.of_product(a, b).addcmul_(sum_a, mean_b, value=-1)
        squares_a, squares_b = sums.of_product(a, a), sums.of_product(b, b)
        var_a = squares_a.addcmul(sum_a, mean_a, value=-1)
        var_b = squares_b.addcmul(sum_b, mean_b, value=-1)
        # A variance of the size of its rounding error is none; such windows count as flat.
        rounding = 8 * torch.finfo(a.dtype).eps
        torch.sub(var_a, squares_a, alpha=rounding, out=squares_a)
        torch.sub(var_b, squares_b, alpha=rounding, out=squares_b)
        textured = torch.minimum(squares_a, squares_b, out=squares_a)
        torch.gt(textured, 0, out=textured)
        var_a.mul_(textured)
        inverse = (var_a * var_b).add_(floor).reciprocal_()
        slope = cross.mul_(textured) * inverse
        cc = (cross * slope).clamp_(0, 1)
        # Everything the gradient needs is saved ready to be multiplied by what comes in.
        inverse.mul_(cc)
        ctx.save_for_backward(a, b, mean_a, mean_b, var_a, var_b, slope, inverse)
        ctx.windows = windows
        return cc

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        a, b, mean_a, mean_b, var_a, var_b, slope, weight = ctx.saved_tensors
        sums = WindowSum(a, ctx.windows)
        p = gradient * slope
        q = gradient * weight
        sum_p = sums(p)

        def one_side(
            own: Tensor, own_mean: Tensor, other: Tensor, other_mean: Tensor, other_var: Tensor
        ) -> Tensor:
            scaled = q * other_var
            result = (other * sum_p).addcmul_(own, sums(scaled), value=-1)
            local = scaled.mul_(own_mean).addcmul_(p, other_mean, value=-1)
            return result.add_(sums(local)).mul_(2)

        gradient_a = gradient_b = None
        if ctx.needs_input_grad[0]:
            gradient_a = one_side(a, mean_a, b, mean_b, var_b)
        if ctx.needs_input_grad[1]:
            gradient_b = one_side(b, mean_b, a, mean_a, var_a)
        return gradient_a, gradient_b, None, None, None


def local_ncc_map(
    a: Tensor,
    b: Tensor,
    window: int = 9,
    ignore: Tensor | None = None,
    floor: float = NOISE_FLOOR,
) -> Tensor:
    """Return the squared local correlation of two images at every voxel (paper, Eq. 6).

    Parameters
    ----------
    a, b
        ``(B, 1, *S)`` images on one grid, any intensity scale; the noise floor is meant for
        [0, 1].
    window
        Odd window size in voxels; it shrinks on axes that are shorter.
    ignore
        ``(B or 1, 1, *S)``, non-zero where voxels must not enter any window.
    floor
        Added to the product of the variances (window sums, not means).

    Returns
    -------
    Tensor
        ``(B, 1, *S)`` in [0, 1], float32 (float64 for float64 input), also under autocast.
        Windows at the border count the voxels that exist.

    Raises
    ------
    InputError
        If the images do not share one shape of ``(B, 1, *S)``.

    Notes
    -----
    Squared, so that an inversion of contrast is not penalised. Eq. 6 lacks the squares in the
    denominator; the released code has them. A mean is subtracted first and variances are clamped
    at zero, without which float32 turns to noise on raw intensities.
    """
    if a.shape != b.shape or a.ndim not in (4, 5) or a.shape[1] != 1:
        raise InputError(
            "Two images that are compared need one shape (batch, 1, *spatial); "
            f"these have {tuple(a.shape)} and {tuple(b.shape)}."
        )
    windows = window_sizes(window, tuple(a.shape[2:]))
    with torch.autocast(a.device.type, enabled=False):
        dtype = working_dtype(a, b)
        weight = None if ignore is None else (ignore == 0).to(dtype)
        left, right = _centred(a.to(dtype), weight), _centred(b.to(dtype), weight)
        if weight is None:
            count = _window_count(left, windows)
        else:
            count = window_sum(weight, windows).clamp_min(1)
        result: Tensor = _LocalNCC.apply(left, right, count, windows, floor)
        return result


def masked_mean(values: Tensor, mask: Tensor | None, reduction: Reduction = "mean") -> Tensor:
    """Average a map over a mask, per sample and then over the batch.

    Parameters
    ----------
    values
        ``(B, 1, *S)``.
    mask
        ``(B or 1, 1, *S)`` weights, or none for all ones. An empty mask gives 0, not NaN.
    reduction
        ``mean`` over the batch, or ``none`` for one value per sample.

    Returns
    -------
    Tensor
        Scalar or ``(B,)``.
    """
    if mask is None:
        averages = values.flatten(1).mean(1)
    else:
        weight = mask.to(values.dtype).expand_as(values)
        averages = (values * weight).flatten(1).sum(1) / (weight.flatten(1).sum(1) + 1e-5)
    return averages.mean() if reduction == "mean" else averages


def gvs_loss(
    warped: Tensor,
    fixed: Tensor,
    mask: Tensor | None = None,
    window: int = 9,
    ignore: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Geometric visual similarity as a loss: 1 minus the mean squared local correlation (Eq. 6).

    Parameters
    ----------
    warped, fixed
        ``(B, 1, *S)`` images on one grid.
    mask
        ``(B, 1, *S)`` voxels that count (field of view, nothing ignored), without gradient.
    window
        Odd window size in voxels.
    ignore
        ``(B or 1, 1, *S)``: voxels that neither count nor enter the windows of their neighbours.
    reduction
        ``mean`` over the batch, or ``none`` for one value per sample.

    Returns
    -------
    Tensor
        Scalar or ``(B,)`` in [0, 1]; 1 where nothing counts.
    """
    if ignore is not None:
        counted = (ignore == 0).to(working_dtype(warped))
        mask = counted if mask is None else mask * counted
    return 1 - masked_mean(local_ncc_map(warped, fixed, window, ignore), mask, reduction)

"""Building blocks that every network shares: layers for 2D and 3D, padding, initialisation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_gemini.networks.conv3d import KERNEL, Conv3d

CHANNELS_PER_GROUP = 8
LEAK = 0.2
SMALLEST_BF16_AXIS = 4


def conv(dimension: int, inputs: int, outputs: int, kernel: int = KERNEL) -> nn.Module:
    """Return a size-preserving convolution with bias for 2D or 3D."""
    if dimension == 3 and kernel == KERNEL:
        return Conv3d(inputs, outputs)
    layer = nn.Conv2d if dimension == 2 else nn.Conv3d
    return layer(inputs, outputs, kernel, padding=kernel // 2)


def max_pool(dimension: int) -> nn.Module:
    """Return a pooling layer that halves every axis."""
    return nn.MaxPool2d(2) if dimension == 2 else nn.MaxPool3d(2)


def too_small_for_bf16(x: Tensor) -> bool:
    """Whether reduced precision must not be used on a tensor's grid.

    oneDNN's bfloat16 gradient of 3D convolution weights reads memory it never wrote where an axis
    has two voxels (seen with torch 2.13 on a CPU with avx512_bf16): wrong at random, at times not
    finite. The coarsest stage of a small grid has such axes, and costs next to nothing in float32.
    """
    return x.device.type == "cpu" and x.ndim == 5 and min(x.shape[2:]) < SMALLEST_BF16_AXIS


def group_norm(channels: int, per_group: int = CHANNELS_PER_GROUP) -> nn.GroupNorm:
    """Return group normalisation with `per_group` channels a group, or the next more that divide.

    Parameters
    ----------
    channels
        Channels of the input; fewer than `per_group` make one group.
    per_group
        Channels of a group.
    """
    groups = max(1, channels // per_group)
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels)


class ConvNormAct(nn.Sequential):
    """Convolution 3^d, group normalisation with 8 channels a group, leaky ReLU (0.2).

    Parameters
    ----------
    dimension
        2 or 3.
    inputs, outputs
        Numbers of channels.
    """

    def __init__(self, dimension: int, inputs: int, outputs: int) -> None:
        super().__init__(
            conv(dimension, inputs, outputs),
            group_norm(outputs),
            nn.LeakyReLU(LEAK, inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, *S) to (B, outputs, *S)."""
        if torch.is_autocast_enabled(x.device.type) and too_small_for_bf16(x):
            with torch.autocast(x.device.type, enabled=False):
                return super().forward(x.float())
        return super().forward(x)


def upsample(x: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate features to `size`: bilinear in 2D, corner-aligned trilinear in 3D.

    The two conventions differ because the paper's networks do; each is kept so that weights trained
    with those networks fit.
    """
    if x.ndim == 4:
        return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)
    return F.interpolate(x, size=tuple(size), mode="trilinear", align_corners=True)


def pad_to_multiple(x: Tensor, multiple: int, minimum: int = 1) -> tuple[Tensor, tuple[slice, ...]]:
    """Zero-pad the spatial axes to a multiple, half before (rounded down) and the rest after.

    Parameters
    ----------
    x
        (B, C, *S).
    multiple
        What every padded axis is a multiple of.
    minimum
        The least number of blocks of `multiple` voxels in all; the first axis grows to reach it.

    Returns
    -------
    Tensor
        The padded tensor.
    tuple of slice
        Spatial slices that cut the original extent out of anything of the padded size.
    """
    shape = x.shape[2:]
    missing = [-size % multiple for size in shape]
    blocks = math.prod((size + m) // multiple for size, m in zip(shape, missing, strict=True))
    if blocks < minimum:
        missing[0] += multiple * (minimum - 1)
    crop = tuple(slice(m // 2, m // 2 + size) for m, size in zip(missing, shape, strict=True))
    if not any(missing):
        return x, crop
    widths = [width for m in reversed(missing) for width in (m // 2, m - m // 2)]
    return F.pad(x, widths), crop


def initialise_kaiming(module: nn.Module) -> None:
    """Draw every convolution weight Kaiming-normal (fan in); biases keep PyTorch's default."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(part.weight)


def count_parameters(module: nn.Module) -> int:
    """Return the number of weights of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def crop_to(x: Tensor, crop: Sequence[slice]) -> Tensor:
    """Cut the spatial slices `crop` out of a (B, C, *S) tensor."""
    return x[(slice(None), slice(None), *crop)]

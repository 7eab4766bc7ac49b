"""Building blocks that every network here shares: dimension-generic layers, padding, initialisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS_PER_GROUP = 8
LEAK = 0.2


def conv(dimension: int, inputs: int, outputs: int, kernel: int = 3) -> nn.Module:
    """Return a size-preserving convolution with bias for 2D or 3D."""
    layer = nn.Conv2d if dimension == 2 else nn.Conv3d
    return layer(inputs, outputs, kernel, padding=kernel // 2)


def max_pool(dimension: int) -> nn.Module:
    """Return a pooling layer that halves every axis."""
    return nn.MaxPool2d(2) if dimension == 2 else nn.MaxPool3d(2)


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
            nn.GroupNorm(max(1, outputs // CHANNELS_PER_GROUP), outputs),
            nn.LeakyReLU(LEAK, inplace=True),
        )


def upsample(x: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate features to `size`: bilinear in 2D, corner-aligned trilinear in 3D.

    The two conventions differ because the paper's networks do; each is kept so that weights trained
    with those networks fit.
    """
    if x.ndim == 4:
        return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)
    return F.interpolate(x, size=tuple(size), mode="trilinear", align_corners=True)


def pad_to_multiple(x: Tensor, multiple: int) -> tuple[Tensor, tuple[slice, ...]]:
    """Zero-pad the spatial axes to a multiple, half before (rounded down) and the rest after.

    Returns
    -------
    Tensor
        The padded tensor.
    tuple of slice
        Spatial slices that cut the original extent out of anything of the padded size.
    """
    shape = x.shape[2:]
    missing = [-size % multiple for size in shape]
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


__all__ = [
    "ConvNormAct",
    "conv",
    "count_parameters",
    "crop_to",
    "initialise_kaiming",
    "max_pool",
    "pad_to_multiple",
    "upsample",
]

"""The backbone U-Net N_theta of GEMINI (arXiv 2502.05282, appendix D.2).

Five resolutions, two convolutions each, group normalisation with 8 channels a group, leaky ReLU.
Its output is a full-resolution feature map with as many channels as the base width; there is no
projection head and no normalisation of the feature vectors.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from napari_gemini.networks.blocks import (
    ConvNormAct,
    crop_to,
    initialise_kaiming,
    max_pool,
    pad_to_multiple,
    upsample,
)

DEPTH = 5
MULTIPLE = 2 ** (DEPTH - 1)


class DoubleConv(nn.Sequential):
    """Two convolution blocks, as every stage of the backbone has."""

    def __init__(self, dimension: int, inputs: int, outputs: int) -> None:
        super().__init__(
            ConvNormAct(dimension, inputs, outputs), ConvNormAct(dimension, outputs, outputs)
        )


class UNet(nn.Module):
    """Backbone N_theta: one scan in, a feature vector for each voxel out.

    Parameters
    ----------
    dimension
        2 or 3.
    base_width
        Channels of the finest stage and of the output; the paper's network has 32 and doubles up to
        512 at the coarsest of its five stages.
    in_channels
        Channels of the input image.
    """

    def __init__(self, dimension: int, base_width: int = 32, in_channels: int = 1) -> None:
        super().__init__()
        widths = [base_width * 2**level for level in range(DEPTH)]
        self.out_channels = base_width
        self.pool = max_pool(dimension)
        self.encoder = nn.ModuleList(
            DoubleConv(dimension, before, after)
            for before, after in zip([in_channels, *widths[:-1]], widths, strict=True)
        )
        self.decoder = nn.ModuleList(
            DoubleConv(dimension, skip + below, skip)
            for skip, below in zip(reversed(widths[:-1]), reversed(widths[1:]), strict=True)
        )
        initialise_kaiming(self)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, C, *S) to features (B, base_width, *S); any size is padded and cropped."""
        x, crop = pad_to_multiple(image, MULTIPLE)
        return crop_to(deque(self._decode(x), maxlen=1).pop(), crop)

    def stages(self, image: Tensor) -> list[Tensor]:
        """Return the features of every resolution, coarsest first.

        Parameters
        ----------
        image
            (B, C, *S), every axis a multiple of 16.

        Returns
        -------
        list of Tensor
            Five maps: (B, 16 base_width, *S / 16), ..., (B, base_width, *S). The first is the
            bottleneck, the last what :meth:`forward` returns.
        """
        return list(self._decode(image))

    def bottleneck(self, image: Tensor) -> Tensor:
        """Return the coarsest features alone: what the encoder makes of images (B, C, *S)."""
        return self._encode(image)[-1]

    def _encode(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for level, stage in enumerate(self.encoder):
            x = stage(x if level == 0 else self.pool(x))
            maps.append(x)
        return maps

    def _decode(self, x: Tensor) -> Iterator[Tensor]:
        skips = self._encode(x)
        x = skips.pop()
        yield x
        for stage in self.decoder:
            skip = skips.pop()
            x = stage(torch.cat([skip, upsample(x, skip.shape[2:])], dim=1))
            yield x

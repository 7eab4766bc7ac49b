"""Heads on top of the backbone's features: segmentation and self-restoration share one layout."""

from __future__ import annotations

from torch import nn

from napari_gemini.networks.blocks import LEAK, conv, initialise_kaiming

CHANNELS_PER_GROUP = 4


class Head(nn.Sequential):
    """Convolution 3^d to half the features, group norm, leaky ReLU, convolution 1^d to the outputs.

    Parameters
    ----------
    dimension
        2 or 3.
    features
        Channels of the backbone's features.
    outputs
        Classes (segmentation logits) or 1 (restored image).
    """

    def __init__(self, dimension: int, features: int, outputs: int) -> None:
        hidden = features // 2
        super().__init__(
            conv(dimension, features, hidden),
            nn.GroupNorm(max(1, hidden // CHANNELS_PER_GROUP), hidden),
            nn.LeakyReLU(LEAK, inplace=True),
            conv(dimension, hidden, outputs, kernel=1),
        )
        initialise_kaiming(self)

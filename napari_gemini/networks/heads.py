"""Heads on top of the backbone's features: segmentation and self-restoration share one layout."""

from __future__ import annotations

from torch import nn

from napari_gemini.networks.blocks import LEAK, conv, group_norm, initialise_kaiming

CHANNELS_PER_GROUP = 4
#: What the paper's head has between 32 features and up to 29 classes.
LEAST_HIDDEN = 16
#: Many classes get as many hidden channels as there are, up to here: each costs at full resolution.
MOST_FOR_CLASSES = 32


def hidden_channels(features: int, outputs: int) -> int:
    """Return how many channels a head has between its two convolutions.

    Half the features, as in the paper, is a bottleneck where the backbone is narrow: with 8
    features, 4 channels have to tell all classes apart. Two structures then are learned in some
    trainings only, and 26 hardly ever (docs/results.md).

    Parameters
    ----------
    features
        Channels of the backbone's features.
    outputs
        Classes, or 1 for a restored image.
    """
    for_classes = min(MOST_FOR_CLASSES, -(-outputs // CHANNELS_PER_GROUP) * CHANNELS_PER_GROUP)
    return max(features // 2, LEAST_HIDDEN, for_classes)


class Head(nn.Sequential):
    """Convolution 3^d, group norm, leaky ReLU, convolution 1^d to the outputs, or the last alone.

    Parameters
    ----------
    dimension
        2 or 3.
    features
        Channels of the backbone's features.
    outputs
        Classes (segmentation logits) or 1 (restored image).
    hidden
        Channels between the two; None for those of :func:`hidden_channels`, 0 for the last
        convolution alone (a linear probe of the features).
    """

    def __init__(
        self, dimension: int, features: int, outputs: int, hidden: int | None = None
    ) -> None:
        hidden = hidden_channels(features, outputs) if hidden is None else hidden
        layers: list[nn.Module] = []
        if hidden:
            layers = [
                conv(dimension, features, hidden),
                group_norm(hidden, CHANNELS_PER_GROUP),
                nn.LeakyReLU(LEAK, inplace=True),
            ]
        super().__init__(*layers, conv(dimension, hidden or features, outputs, kernel=1))
        initialise_kaiming(self)

"""Projection heads: feature vectors into the space where they are compared."""

from __future__ import annotations

from torch import Tensor, nn


class VoxelProjection(nn.Sequential):
    """Linear, batch normalisation, ReLU, linear: Pix2Rep's head, for sampled voxels.

    A convolution of kernel 1 over a map equals this layer at each voxel; only the voxels that are
    compared are projected.

    Parameters
    ----------
    features
        Channels of the backbone's features.
    outputs
        Channels of the hidden layer and of the output.
    """

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__(
            nn.Linear(features, outputs),
            nn.BatchNorm1d(outputs),
            nn.ReLU(inplace=True),
            nn.Linear(outputs, outputs),
        )

    def forward(self, vectors: Tensor) -> Tensor:
        """Map (M, features) to (M, outputs)."""
        return super().forward(vectors)


class Expander(nn.Sequential):
    """Three linear layers with batch normalisation and ReLU between: VICReg's expander.

    Parameters
    ----------
    features
        Length of a scan's feature vector.
    outputs
        Length of the expanded vector.
    """

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__(
            nn.Linear(features, outputs),
            nn.BatchNorm1d(outputs),
            nn.ReLU(inplace=True),
            nn.Linear(outputs, outputs),
            nn.BatchNorm1d(outputs),
            nn.ReLU(inplace=True),
            nn.Linear(outputs, outputs),
        )

"""GVSL's affine head: the coarsest features of two scans in, one affine map out."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_gemini.networks.blocks import ConvNormAct, initialise_kaiming

#: Largest rotation and shear in degrees, largest change of scale.
LARGEST_ROTATION = 20.0
LARGEST_SCALE_CHANGE = 0.25
LARGEST_SHEAR = 10.0
START_STD = 1e-5


class AffineHead(nn.Module):
    """Predict the affine map that pulls the moving scan onto the fixed one.

    Two convolution blocks, an average over space and linear layers to rotation, scale, shear and
    translation. The matrix is put together by differentiable operations, so that the head, and the
    encoder below it, learn from whatever is compared after the map.

    Parameters
    ----------
    dimension
        2 or 3.
    features
        Channels of the coarsest features of one scan.
    """

    def __init__(self, dimension: int, features: int) -> None:
        super().__init__()
        hidden = max(1, features // 2)
        self.dimension = dimension
        self.blocks = nn.Sequential(
            ConvNormAct(dimension, 2 * features, hidden), ConvNormAct(dimension, hidden, hidden)
        )
        turns = dimension * (dimension - 1) // 2
        self.rotation = nn.Linear(hidden, turns)
        self.scale = nn.Linear(hidden, dimension)
        self.shear = nn.Linear(hidden, 2 * turns)
        self.translation = nn.Linear(hidden, dimension)
        initialise_kaiming(self)
        for layer in (self.rotation, self.scale, self.shear, self.translation):
            nn.init.normal_(layer.weight, std=START_STD)
            nn.init.zeros_(layer.bias)

    def forward(self, moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map of fixed positions to moving ones.

        Parameters
        ----------
        moving, fixed
            Coarsest features (B, F, *S).

        Returns
        -------
        Tensor
            (B, d, d), linear part about the middle of the grid, in voxels.
        Tensor
            (B, d), translation as a share of the axis lengths.
        """
        x = self.blocks(torch.cat([moving, fixed], dim=1)).float().flatten(2).mean(2)
        with torch.autocast(x.device.type, enabled=False):
            # tanh in place of the published clamp, which stops the gradient at its limits.
            angles = math.radians(LARGEST_ROTATION) * torch.tanh(self.rotation(x))
            scale = 1 + LARGEST_SCALE_CHANGE * torch.tanh(self.scale(x))
            slant = math.tan(math.radians(LARGEST_SHEAR)) * torch.tanh(self.shear(x))
            linear = rotations(angles, self.dimension) @ shears(slant, self.dimension)
            return linear * scale.unsqueeze(1), self.translation(x)


def rotations(angles: Tensor, dimension: int) -> Tensor:
    """Return rotation matrices (B, d, d) from angles in radians: (B, 1) in 2D, (B, 3) in 3D."""
    planes = [(0, 1)] if dimension == 2 else [(1, 2), (0, 2), (0, 1)]
    total = torch.eye(dimension, dtype=angles.dtype, device=angles.device).expand(
        len(angles), -1, -1
    )
    for k, (i, j) in enumerate(planes):
        turn = torch.zeros(dimension, dimension, dtype=angles.dtype, device=angles.device)
        turn[i, j], turn[j, i] = -1, 1
        # exp of a generator of rotations, which autograd follows through any angle.
        total = total @ torch.linalg.matrix_exp(angles[:, k, None, None] * turn)
    return total


def shears(slant: Tensor, dimension: int) -> Tensor:
    """Return unit-diagonal matrices (B, d, d) with `slant` (B, d (d - 1)) off the diagonal."""
    places = [i * dimension + j for i in range(dimension) for j in range(dimension) if i != j]
    spread = F.one_hot(torch.tensor(places, device=slant.device), dimension**2).to(slant)
    flat = slant @ spread
    eye = torch.eye(dimension, dtype=slant.dtype, device=slant.device)
    return flat.reshape(-1, dimension, dimension) + eye


def affine_displacement(linear: Tensor, translation: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the displacement field of affine maps about the middle of a grid.

    Parameters
    ----------
    linear
        (B, d, d).
    translation
        (B, d) in voxels.
    shape
        Of the grid.

    Returns
    -------
    Tensor
        (B, d, *S) in voxels: ``u(p) = (L - 1) (p - c) + t``.
    """
    dimension = len(shape)
    axes = [
        torch.arange(size, dtype=linear.dtype, device=linear.device) - (size - 1) / 2
        for size in shape
    ]
    offset = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    change = linear - torch.eye(dimension, dtype=linear.dtype, device=linear.device)
    field = torch.einsum("bij,j...->bi...", change, offset)
    return field + translation.reshape(*translation.shape, *[1] * dimension)

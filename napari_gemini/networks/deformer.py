"""The deformer D_xi of GEMINI: two feature maps in, a displacement field out (D.2, Fig. 19)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_gemini.networks.blocks import (
    ConvNormAct,
    conv,
    crop_to,
    initialise_kaiming,
    max_pool,
    pad_to_multiple,
    upsample,
)

IDENTITY_STD = 1e-5


class Deformer(nn.Module):
    """Predict the displacement that pulls the moving scan onto the fixed one.

    Three resolutions with one convolution block each and a final plain convolution. The receptive
    field is 26 voxels, as the paper states, so that a voxel is compared with its neighbourhood and
    not with the whole scan.

    Parameters
    ----------
    dimension
        2 or 3.
    features
        Channels F of each feature map.
    stride
        The features are averaged over blocks of this many voxels first and the field is
        interpolated back: cheaper and smoother, 1 in the paper.
    flow_init
        ``identity`` starts from a zero field (weights from N(0, 1e-5)); ``kaiming`` is what the
        released code does, which starts from a random field of about one voxel.
    """

    def __init__(
        self, dimension: int, features: int, stride: int = 1, flow_init: str = "identity"
    ) -> None:
        super().__init__()
        width = features
        self.stride = stride
        self.pool = max_pool(dimension)
        self.fine = ConvNormAct(dimension, 2 * features, width)
        self.middle = ConvNormAct(dimension, width, 2 * width)
        self.coarse = ConvNormAct(dimension, 2 * width, 2 * width)
        self.up_middle = ConvNormAct(dimension, 4 * width, 2 * width)
        self.up_fine = ConvNormAct(dimension, 3 * width, width)
        self.flow = conv(dimension, width, dimension)
        initialise_kaiming(self)
        if flow_init == "identity":
            nn.init.normal_(self.flow.weight, std=IDENTITY_STD)  # type: ignore[arg-type]
            nn.init.zeros_(self.flow.bias)  # type: ignore[arg-type]

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the displacement field of moving towards fixed.

        Parameters
        ----------
        moving, fixed
            Feature maps (B, F, *S). The order matters.

        Returns
        -------
        Tensor
            (B, d, *S), channel k along array axis k, in voxels, on the grid of the fixed scan:
            warped(p) = moving(p + u(p)).
        """
        size = moving.shape[2:]
        x = torch.cat([moving, fixed], dim=1)
        if self.stride > 1:
            x = average_blocks(x, self.stride)
        field = self._field(x)
        if self.stride > 1:
            field = spread_blocks(field, self.stride, size)
        return field

    def _field(self, x: Tensor) -> Tensor:
        x, crop = pad_to_multiple(x, 4)
        fine = self.fine(x)
        middle = self.middle(self.pool(fine))
        coarse = self.coarse(self.pool(middle))
        middle = self.up_middle(torch.cat([upsample(coarse, middle.shape[2:]), middle], dim=1))
        fine = self.up_fine(torch.cat([upsample(middle, fine.shape[2:]), fine], dim=1))
        return crop_to(self.flow(fine), crop)


def average_blocks(x: Tensor, stride: int) -> Tensor:
    """Average (B, C, *S) over blocks of `stride` voxels; the last block may be partial."""
    pool = F.avg_pool2d if x.ndim == 4 else F.avg_pool3d
    return pool(x, stride, ceil_mode=True, count_include_pad=False)


def spread_blocks(field: Tensor, stride: int, size: torch.Size) -> Tensor:
    """Interpolate a field from blocks back to voxels of the full grid and of `size`.

    Block i is centred at voxel ``stride * i + (stride - 1) / 2``, which is the half-voxel
    convention of interpolation without aligned corners.
    """
    mode = "bilinear" if field.ndim == 4 else "trilinear"
    full = [length * stride for length in field.shape[2:]]
    wide = F.interpolate(field, size=full, mode=mode, align_corners=False) * stride
    return crop_to(wide, [slice(0, length) for length in size])

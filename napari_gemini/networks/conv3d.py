"""A 3D convolution that is laid out for how PyTorch computes it on a CPU.

What it returns is what :class:`torch.nn.Conv3d` returns, up to rounding. Two habits of PyTorch 2.13
make the plain layer slow in float32 (``benchmarks/convolution.py`` measures both):

- a single sample whose channels x depth x height are few goes to a fallback kernel instead of
  oneDNN, several times slower; as two halves that overlap by the kernel's reach it goes to oneDNN;
- oneDNN's gradients of a convolution that pads by itself take up to twice as long as those of one
  whose input is padded beforehand. For large inputs less is won, and the padded copy that the
  gradient keeps would cost memory, so those are left alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: PyTorch takes its fallback kernel where one sample's channels x depth x height are at most this
#: (``ConvParams::use_mkldnn`` in ATen/native/Convolution.cpp).
FALLBACK_SIZE = 20480
#: Inputs with more values than this are not copied for the sake of their gradients (64 MiB).
LARGEST_COPY = 2**24
KERNEL = 3


class Conv3d(nn.Conv3d):
    """Convolution 3^3 with bias that keeps the size, faster on CPUs.

    Parameters
    ----------
    inputs, outputs
        Numbers of channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, KERNEL, padding=KERNEL // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, D, H, W) to (B, outputs, D, H, W)."""
        plain = x.device.type != "cpu" or x.dtype != torch.float32
        if plain or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        if goes_to_fallback(x):
            return self._in_halves(x)
        if torch.is_grad_enabled() and x.numel() <= LARGEST_COPY:
            return F.conv3d(_padded(x), self.weight, self.bias)
        return super().forward(x)

    def _in_halves(self, x: Tensor) -> Tensor:
        depth = x.shape[2]
        half = (depth + 1) // 2
        padded = _padded(x)
        # Of an odd depth the middle plane is in both halves.
        halves = torch.cat([padded[:, :, : half + 2], padded[:, :, depth - half :]])
        first, second = F.conv3d(halves, self.weight, self.bias).chunk(2)
        return torch.cat([first, second[:, :, 2 * half - depth :]], dim=2)


def goes_to_fallback(x: Tensor) -> bool:
    """Whether PyTorch would not take oneDNN for a padded input (B, C, D, H, W)."""
    samples, channels, depth, height = x.shape[:4]
    return samples == 1 and channels * (depth + 2) * (height + 2) <= FALLBACK_SIZE


def _padded(x: Tensor) -> Tensor:
    return F.pad(x, (KERNEL // 2,) * 6)

"""Scaling and squaring: the displacement that a stationary velocity field reaches at time one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def integrate_velocity(velocity: Tensor, steps: int = 7) -> Tensor:
    """Integrate a stationary velocity field by `steps` self-compositions.

    Parameters
    ----------
    velocity
        (B, d, *S), channel k along array axis k, in voxels.
    steps
        The field is divided by ``2**steps`` and then composed with itself that many times.

    Returns
    -------
    Tensor
        Displacement (B, d, *S) in voxels. Beyond the border the field keeps its border value.
    """
    size = velocity.shape[2:]
    axes = [torch.arange(n, device=velocity.device, dtype=velocity.dtype) for n in size]
    identity = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    scale = velocity.new_tensor([2.0 / max(n - 1, 1) for n in size])
    mode = "bilinear"
    field = velocity / 2**steps
    for _ in range(steps):
        position = (identity + field.movedim(1, -1)) * scale - 1
        field = field + F.grid_sample(
            field, position.flip(-1), mode=mode, padding_mode="border", align_corners=True
        )
    return field

"""Smoothness of a displacement field."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from napari_gemini.correspondence.warp import working_dtype

Reduction = Literal["mean", "none"]


def smoothness_loss(displacement: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Penalise the squared forward differences of a displacement (paper, Eq. 3).

    Parameters
    ----------
    displacement
        ``(B, d, *S)`` in voxels.
    reduction
        ``mean`` over the batch, or ``none`` for one value per sample.

    Returns
    -------
    Tensor
        Scalar or ``(B,)``: the squared differences, averaged along each axis over all channels
        and voxels, then over the axes.
    """
    with torch.autocast(displacement.device.type, enabled=False):
        field = displacement.to(working_dtype(displacement))
        axes = [axis for axis in range(2, field.ndim) if field.shape[axis] > 1]
        total = field.new_zeros(field.shape[0])
        for axis in axes:
            total = total + field.diff(dim=axis).square().flatten(1).mean(1)
        loss = total / (field.ndim - 2)
    return loss.mean() if reduction == "mean" else loss

"""Identity in the forward pass that scales the gradient in the backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


def scale_gradient(tensor: Tensor, factor: float) -> Tensor:
    """Return the tensor unchanged, with its gradient multiplied by `factor` on the way back.

    Parameters
    ----------
    tensor
        Any tensor.
    factor
        0 detaches (nothing is computed for it), 1 changes nothing.

    Returns
    -------
    Tensor
        The same values.

    Notes
    -----
    This is how the red and the blue gradient path of the paper's Eq. 8 share one warp: features
    carry the weight of the red path, the displacement carries weight 1.
    """
    if factor == 0:
        return tensor.detach()
    if factor == 1 or not tensor.requires_grad:
        return tensor
    result: Tensor = _ScaleGradient.apply(tensor, float(factor))
    return result

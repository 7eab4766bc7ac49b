"""Cosine similarity of features: the paper's geometric semantic similarity (GSS)."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_gemini.correspondence.gradient_scaling import scale_gradient
from napari_gemini.correspondence.local_ncc import Reduction, masked_mean
from napari_gemini.correspondence.warp import field_of_view_mask, warp, working_dtype

# Shorter feature vectors count as zero.
SHORTEST = 1e-12


def cosine_map(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosine of the angle between two feature maps at every voxel.

    Parameters
    ----------
    first, second
        ``(B, F, *S)`` features on one grid.

    Returns
    -------
    Tensor
        ``(B, 1, *S)`` in [-1, 1], at least float32; 0 where a feature vector vanishes.
    """
    with torch.autocast(first.device.type, enabled=False):
        dtype = working_dtype(first, second)
        first, second = first.to(dtype), second.to(dtype)
        cosine = (first * second).sum(1, keepdim=True)
        for features in (first, second):
            length = torch.linalg.vector_norm(features, dim=1, keepdim=True)
            # A vanished vector has no direction: cosine 0 and, unlike a division by a tiny
            # number, no gradient of 1e12.
            direction = length > SHORTEST
            cosine = torch.where(direction, cosine / length.clamp_min(SHORTEST), 0)
        return cosine


def gss_loss(
    features_moving: Tensor,
    features_fixed: Tensor,
    displacement: Tensor,
    mask: Tensor | None = None,
    red_weight: float = 0.1,
    reduction: Reduction = "mean",
) -> Tensor:
    """Geometric semantic similarity as a loss with the red and the blue gradient path (Eq. 7, 8).

    Parameters
    ----------
    features_moving, features_fixed
        ``(B, F, *S)`` features of the two images.
    displacement
        ``(B, d, *S)`` in voxels, moving onto fixed. Its own inputs are not detached here: through
        the deformer the blue path reaches the backbone.
    mask
        ``(B, 1, *S)`` voxels that count; the field of view by default.
    red_weight
        Weight of the red path, which trains the features as positive pairs.
    reduction
        ``mean`` over the batch, or ``none`` for one value per sample.

    Returns
    -------
    Tensor
        Scalar or ``(B,)``: ``(1 + red_weight) * (1 - mean cosine)``.

    Notes
    -----
    The literal form is ``red_weight * L(warp(f_m, sg(u)), f_f) + L(warp(sg(f_m), u), sg(f_f))``
    with the stop-gradient sg. Both terms have one value, so one warp and one cosine serve both:
    the features' gradient is scaled by `red_weight` and the displacement's by 1.
    """
    if mask is None:
        mask = field_of_view_mask(displacement)
    warped = warp(scale_gradient(features_moving, red_weight), displacement)
    cosine = cosine_map(warped, scale_gradient(features_fixed, red_weight))
    loss = 1 - masked_mean(cosine, mask, reduction)
    return loss + red_weight * loss.detach()

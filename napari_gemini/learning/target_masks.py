"""Training targets as masks, one channel for each output of the segmentation head."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_gemini.settings import NetworkSettings


def target_masks(target: Tensor, settings: NetworkSettings) -> Tensor:
    """Return float masks (B, C, *S) of 0 and 1 of a training target.

    Parameters
    ----------
    target
        Class indices (B, *S), or masks (B, C, *S) where labels overlap; voxels of
        :data:`.IGNORE_INDEX` belong to nothing.
    settings
        Of the network whose head has the C channels.
    """
    if settings.overlapping:
        return (target == 1).float()
    index = torch.arange(settings.classes, device=target.device)
    return (target.unsqueeze(1) == index.reshape(-1, *[1] * (target.ndim - 1))).float()

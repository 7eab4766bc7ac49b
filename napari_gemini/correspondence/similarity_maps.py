"""The map of local correlation (GVS) that is shown and reported of a pair."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from napari_gemini.correspondence.local_ncc import local_ncc_map
from napari_gemini.correspondence.warp import field_of_view_mask, identity_grid, sample, warp

#: Window of the map, the paper's.
MAP_WINDOW = 9


def gvs_map(
    moving: Tensor,
    fixed: Tensor,
    displacement: Tensor,
    ignore_fixed: Tensor | None = None,
    unseen_moving: Tensor | None = None,
) -> Tensor:
    """Return the squared local correlation of a pair under a displacement.

    Parameters
    ----------
    moving, fixed
        ``(1, 1, *S)`` on one grid.
    displacement
        ``(1, d, *S)`` in voxels, moving onto fixed.
    ignore_fixed
        ``(1, 1, *S)``, non-zero where the fixed image does not count or is not.
    unseen_moving
        ``(1, 1, *S)``, non-zero where the grid reaches beyond the moving scan.

    Returns
    -------
    Tensor
        ``(1, 1, *S)`` in [0, 1]. What is left out takes the mean of its neighbours that are not,
        and 0 where there is none: a window there may hold two or three voxels, which always
        correlate, and the map is sampled between voxels later.
    """
    warped = warp(moving, displacement)
    left_out = _left_out(displacement, ignore_fixed, unseen_moving)
    similar = local_ncc_map(warped, fixed, MAP_WINDOW, ignore=left_out)
    if left_out is None:
        return similar
    counted = (left_out == 0).to(similar.dtype)
    pool = functional.avg_pool2d if similar.ndim == 4 else functional.avg_pool3d
    around = pool(similar * counted, 3, 1, 1) / pool(counted, 3, 1, 1).clamp_min(1e-6)
    return torch.where(counted > 0, similar, around)


def either(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """Return where one of two masks is set; None where neither is given."""
    if first is None or second is None:
        return second if first is None else first
    return ((first != 0) | (second != 0)).to(first.dtype)


def _left_out(
    displacement: Tensor, ignore_fixed: Tensor | None, unseen_moving: Tensor | None
) -> Tensor | None:
    """Return the voxels (1, 1, *S) that no window may hold, or None."""
    if unseen_moving is None:
        return ignore_fixed
    grid = identity_grid(displacement.shape[2:], device=displacement.device)
    beyond = sample(unseen_moving.float(), grid + displacement, mode="nearest") > 0
    # Beyond the grid there is no moving scan either.
    beyond = beyond | (field_of_view_mask(displacement) == 0)
    return either(ignore_fixed, beyond.float())

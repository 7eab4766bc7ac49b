"""Where the refinement of a pair starts: the most similar of several drafts.

A network knows the deformations that it was trained on, and scans of a new study may lie further
apart than those. So next to its field there are two other drafts, an affine map of the two images
and the network's field of the pair so aligned; the draft under which the images are most similar
is refined.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_gemini.correspondence.affine import optimise_affine
from napari_gemini.correspondence.local_ncc import local_ncc_map
from napari_gemini.correspondence.similarity_maps import MAP_WINDOW
from napari_gemini.correspondence.warp import compose, field_of_view_mask, identity_grid, warp
from napari_gemini.progress import Reporter

#: By how much another draft has to be more similar than the network's own field. Similar images are
#: no proof of a right map, and the network has learned what deformations are likely.
MARGIN = 0.02

#: Moving image (1, 1, *S) -> its displacement (1, d, *S) in voxels onto the fixed one.
Predict = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Start:
    """A draft of a pair's map.

    Attributes
    ----------
    name
        ``network``, ``affine`` or ``affine and network``.
    displacement
        ``(1, d, *S)`` in voxels, moving onto fixed.
    similarity
        Of the images under it, see :func:`similarity_under`.
    """

    name: str
    displacement: Tensor
    similarity: float


def similarity_under(
    displacement: Tensor,
    moving: Tensor,
    fixed: Tensor,
    ignore_moving: Tensor | None = None,
    ignore_fixed: Tensor | None = None,
) -> float:
    """Return the mean squared local correlation (GVS) of a pair under a displacement, 0 to 1.

    Voxels whose counterpart is out of view count as dissimilar: of two maps the one that explains
    more of the fixed image wins.

    Parameters
    ----------
    displacement
        ``(1, d, *S)`` in voxels.
    moving, fixed
        ``(1, 1, *S)``.
    ignore_moving, ignore_fixed
        ``(1, 1, *S)``, non-zero where nothing counts.
    """
    counted = torch.ones_like(fixed) if ignore_fixed is None else (ignore_fixed == 0).to(fixed)
    if ignore_moving is not None:
        counted = counted * (warp((ignore_moving != 0).to(fixed), displacement) == 0)
    similar = local_ncc_map(warp(moving, displacement), fixed, MAP_WINDOW, ignore=1 - counted)
    inside = field_of_view_mask(displacement) * counted
    return float((similar * inside).sum() / counted.sum().clamp_min(1))


def best_start(
    drawn: Tensor,
    predict: Predict,
    moving: Tensor,
    fixed: Tensor,
    *,
    affine_steps: int,
    ignore_moving: Tensor | None = None,
    ignore_fixed: Tensor | None = None,
    reporter: Reporter,
) -> Start:
    """Return the most similar of three drafts of a pair's map, the network's own in doubt.

    Parameters
    ----------
    drawn
        ``(1, d, *S)``: the network's displacement of the pair as it lies.
    predict
        The network, for the pair after an affine alignment.
    moving, fixed
        ``(1, 1, *S)`` on one grid.
    affine_steps
        Of the affine alignment; 0 leaves the network's displacement as the only draft.
    ignore_moving, ignore_fixed
        ``(1, 1, *S)``, non-zero where nothing counts.
    reporter
        May cancel.
    """
    drafts = {"network": drawn}
    if affine_steps:
        affine = optimise_affine(
            moving,
            fixed,
            steps=affine_steps,
            ignore_moving=ignore_moving,
            ignore_fixed=ignore_fixed,
            reporter=reporter,
        )
        grid = identity_grid(fixed.shape[2:], device=fixed.device)
        aligning = affine.apply(grid) - grid
        drafts["affine"] = aligning
        rest = predict(warp(moving, aligning))
        drafts["affine and network"] = compose(aligning, rest)
    own, *others = [
        Start(name, draft, similarity_under(draft, moving, fixed, ignore_moving, ignore_fixed))
        for name, draft in drafts.items()
    ]
    best = max(others, key=lambda start: start.similarity, default=own)
    return best if best.similarity > own.similarity + MARGIN else own

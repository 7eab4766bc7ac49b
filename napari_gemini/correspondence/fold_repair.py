"""Removal of folds: smooth a field where its map folds until it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from napari_gemini.correspondence.jacobian import displacement_points, summarise_folds
from napari_gemini.correspondence.resampling import gaussian_smooth
from napari_gemini.progress import Reporter, stop_if_cancelled

#: Rounds that smooth around folds, and rounds after them that weaken the whole field.
LOCAL_ROUNDS, GLOBAL_ROUNDS = 12, 8

MapMaker = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Unfolded:
    """Result of :func:`remove_folds`.

    Attributes
    ----------
    there, back
        ``(1, d, *S)`` displacements of both directions.
    fold_percent
        By the digital criterion, of the worse direction.
    rounds
        Changes made.
    """

    there: Tensor
    back: Tensor
    fold_percent: float
    rounds: int


def fold_map(displacement: Tensor) -> tuple[Tensor, float]:
    """Return where a displacement folds by the digital criterion, and the percentage.

    Parameters
    ----------
    displacement
        ``(1, d, *S)`` in voxels.

    Returns
    -------
    folds
        ``(1, 1, *S)`` float, 1 at folds.
    percent
        Over all voxels but the outermost ring.
    """
    points = displacement_points(displacement[0].detach().cpu().double().numpy())
    summary = summarise_folds(points)
    marked = torch.from_numpy((summary.folds > 0).astype(np.float32))[None, None]
    return marked.to(displacement.device), summary.fold_percent_digital or 0.0


def remove_folds(
    parameter: Tensor, make_maps: MapMaker, limit: float, reporter: Reporter
) -> Unfolded:
    """Change a field until neither of its maps folds more than a limit.

    Parameters
    ----------
    parameter
        ``(N, d, *nodes)`` field that the maps are made of; zero has to give maps without folds.
    make_maps
        From such a field to the displacements there and back on the full grid.
    limit
        Fold percentage that may remain.
    reporter
        Hears about repairs and may cancel.

    Returns
    -------
    Unfolded
        The maps; `fold_percent` is above `limit` only when every round was in vain.
    """
    for rounds in range(LOCAL_ROUNDS + GLOBAL_ROUNDS + 1):
        stop_if_cancelled(reporter)
        there, back = make_maps(parameter)
        (folds, percent), (folds_back, percent_back) = fold_map(there), fold_map(back)
        worst = max(percent, percent_back)
        if worst <= limit or rounds == LOCAL_ROUNDS + GLOBAL_ROUNDS:
            break
        if rounds < LOCAL_ROUNDS:
            parameter = _smooth_around(parameter, torch.maximum(folds, folds_back), rounds)
        else:
            parameter = gaussian_smooth(parameter, 1.0) / 2
    if worst > limit:
        reporter.log(f"Folds remain in {worst:.3g} % of the voxels.", "warning")
    elif rounds:
        reporter.log(f"Smoothed the map around folds ({rounds} rounds).")
    return Unfolded(there, back, worst, rounds)


def _smooth_around(parameter: Tensor, folds: Tensor, rounds: int) -> Tensor:
    """Smooth the field near folds, wider and more strongly from round to round."""
    nodes = parameter.shape[2:]
    pool = functional.adaptive_max_pool2d if folds.ndim == 4 else functional.adaptive_max_pool3d
    near = pool(folds, tuple(nodes))
    grow = functional.max_pool2d if folds.ndim == 4 else functional.max_pool3d
    reach = 2 + rounds // 2
    near = grow(near, 2 * reach + 1, stride=1, padding=reach)
    blend = gaussian_smooth(near, 1.0)
    calmer = gaussian_smooth(parameter, 1.0 + 0.25 * rounds) * (0.95 if rounds > 3 else 1.0)
    return parameter + blend * (calmer - parameter)

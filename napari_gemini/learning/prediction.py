"""Labels for a scan from a trained network, on the scan's own grid, and a second opinion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_gemini.correspondence.jacobian import displacement_points, jacobian_determinant
from napari_gemini.correspondence.similarity import cosine_map
from napari_gemini.correspondence.warp import field_of_view_mask, warp
from napari_gemini.errors import InputError
from napari_gemini.learning.card import ModelCard
from napari_gemini.learning.checkpoints import LoadedModel
from napari_gemini.learning.study_cohort import scan_on_grid
from napari_gemini.learning.validation import mean_dice, predicted_masks, propagate_masks
from napari_gemini.volumes.grid import (
    Placement,
    StudyGrid,
    choose_grid,
    image_from_grid,
    overhang,
    place_by_center_of_mass,
    probabilities_from_grid,
)
from napari_gemini.volumes.volume import Volume


@dataclass(frozen=True)
class Atlas:
    """A labelled scan of the study, ready to be carried over to others.

    Attributes
    ----------
    name
        Case id.
    features
        (1, F, *S).
    masks
        (C, *S), one channel for each output of the head.
    """

    name: str
    features: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Evidence:
    """What speaks for or against the labels of one case.

    Attributes
    ----------
    agreement
        Mean Dice between the head's labels and the labels that the deformation carries over from
        the labelled scans.
    gss_mean
        Mean cosine of corresponding features, averaged over the labelled scans.
    fold_percent
        Voxels where the field of a labelled scan folds (central differences), mean in percent.
    """

    agreement: float
    gss_mean: float
    fold_percent: float


def model_grid(card: ModelCard) -> StudyGrid:
    """Return the grid that a model was trained on."""
    spacing = set(card.spacing_mm)
    isotropic = len(spacing) == 1
    return StudyGrid(tuple(card.grid_shape), spacing.pop() if isotropic else tuple(card.spacing_mm))


def place_scan(image: Volume, card: ModelCard) -> tuple[StudyGrid, Placement]:
    """Return a grid of the model's spacing that holds a scan, and how the scan lies in it.

    The network takes any size, so a scan larger than the training grid gets a larger one instead of
    being cropped.
    """
    grid = model_grid(card)
    try:
        placement = place_by_center_of_mass(image, grid)
        if overhang(image, grid, placement) == 0:
            return grid, placement
    except InputError:  # far larger than the scans of the study
        pass
    grid = choose_grid([image], spacing=min(grid.spacings))
    return grid, place_by_center_of_mass(image, grid)


@torch.no_grad()
def features_on_grid(
    model: LoadedModel, scan: NDArray[np.float32], autocast: torch.dtype | None = None
) -> Tensor:
    """Return features (1, F, *S) of a scan (*S) in [0, 1]."""
    device = next(model.network.parameters()).device
    image = torch.from_numpy(np.ascontiguousarray(scan)).to(device)[None, None]
    with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
        return model.network.features(image).float()


@torch.no_grad()
def labels_from_features(
    model: LoadedModel, features: Tensor, grid: StudyGrid, placement: Placement, like: Volume
) -> NDArray[Any]:
    """Return the head's labels on the grid of the file.

    Returns
    -------
    ndarray
        Label values of the model's scheme on `like`'s voxels; masks (C, *shape) of 0 and 1 where
        labels overlap.
    """
    logits = model.network.segment(features).float()[0]
    if model.card.network.overlapping:
        scores = [image_from_grid(s, grid, placement, like) for s in logits.sigmoid().cpu().numpy()]
        return (np.stack(scores) > 0.5).astype(np.uint8)
    classes = probabilities_from_grid(logits.softmax(0).cpu().numpy(), grid, placement, like)
    values = np.asarray(model.card.label_values)
    return values[classes].astype(np.uint16)


def predict_labels(
    model: LoadedModel, image: Volume, autocast: torch.dtype | None = None
) -> NDArray[Any]:
    """Label one scan; see :func:`labels_from_features`.

    Raises
    ------
    InputError
        If the scan has not the model's dimension or unusable voxels.
    """
    grid, placement = place_scan(image, model.card)
    scan = scan_on_grid(image, grid, placement, model.card.intensity_mode)
    features = features_on_grid(model, scan, autocast)
    return labels_from_features(model, features, grid, placement, image)


@torch.no_grad()
def weigh_evidence(model: LoadedModel, features: Tensor, atlases: Sequence[Atlas]) -> Evidence:
    """Judge the labels of one scan by what the deformation says about it.

    Parameters
    ----------
    features
        (1, F, *S) of the scan.
    atlases
        Labelled scans on the same grid.
    """
    network = model.network
    similarities, folds = [], []
    for atlas in atlases:
        field = network.displacement(atlas.features, features)
        mask = field_of_view_mask(field)
        cosine = cosine_map(warp(atlas.features, field), features)
        similarities.append(float((cosine * mask).sum() / mask.sum().clamp_min(1)))
        folds.append(fold_percent(field))
    votes = propagate_masks(network, [(a.features, a.masks) for a in atlases], features)
    first = 0 if network.config.overlapping else 1
    masks = predicted_masks(network, features)[0]
    return Evidence(
        mean_dice(masks[first:], votes[first:]),
        float(np.mean(similarities)),
        float(np.mean(folds)),
    )


def fold_percent(field: Tensor) -> float:
    """Return the share of voxels (percent) with a Jacobian determinant of 0 or less.

    Central differences of ``p + u(p)`` on the study grid, the outermost ring left out.

    Parameters
    ----------
    field
        (1, d, *S) displacement in voxels.
    """
    determinant = jacobian_determinant(displacement_points(field[0].cpu().numpy()))
    inner = determinant[(slice(1, -1),) * determinant.ndim]
    return float((inner <= 0).mean() * 100)

"""Scores on the test scans: labels of the head, labels carried by the deformer, folds, features."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.evidence.data import Data
from napari_gemini.correspondence.jacobian import displacement_points, summarise_folds
from napari_gemini.correspondence.warp import warp
from napari_gemini.learning.validation import Validator, mean_dice
from napari_gemini.networks.gemini import GeminiNetwork

#: Ordered pairs of test scans that a deformation is scored on at most.
PAIRS = 60
Score = dict[str, float]


def masks_of(labels: Tensor, classes: int) -> Tensor:
    """Return one mask per class, background left out: (B, *S) -> (B, classes - 1, *S)."""
    return F.one_hot(labels, classes).movedim(-1, 1)[:, 1:].float()


@torch.no_grad()
def head_dice(network: GeminiNetwork, data: Data, ids: Sequence[str]) -> list[float]:
    """Return the mean Dice over labels of each scan, labelled by the head."""
    scores = []
    for case in ids:
        image, truth = data.batch([case])
        found = network.segment(network.features(image)).argmax(1)
        pair = (masks_of(x, data.classes)[0] for x in (found, truth))
        scores.append(mean_dice(*pair))
    return scores


@torch.no_grad()
def errors(network: GeminiNetwork, data: Data, ids: Sequence[str]) -> Score:
    """Say what the head gets wrong: the outline of all structures, or which structure it is.

    Returns
    -------
    dict
        ``outline``: Dice of all structures as one. ``structure``: share of the voxels that are
        labelled in both whose label is right. ``volume``: labelled voxels over those there are.
    """
    outline, structure, volume = [], [], []
    for case in ids:
        image, truth = data.batch([case])
        found = network.segment(network.features(image)).argmax(1)
        mine, theirs = found > 0, truth > 0
        both = mine & theirs
        outline.append(mean_dice(mine.float(), theirs.float()))
        structure.append(float((found[both] == truth[both]).float().mean()))
        volume.append(float(mine.sum() / theirs.sum()))
    return {"outline": _mean(outline), "structure": _mean(structure), "volume": _mean(volume)}


def pairs_of_test_scans(data: Data, count: int = PAIRS) -> list[tuple[str, str]]:
    """Return ordered pairs (moving, fixed) of different test scans, always the same."""
    pairs = list(permutations(data.test, 2))
    chosen = np.random.default_rng(11).permutation(len(pairs))[:count]
    return [pairs[i] for i in sorted(chosen)]


@torch.no_grad()
def deformation(network: GeminiNetwork, data: Data, count: int = PAIRS) -> Score:
    """Return Dice of labels carried by the deformer, and the share of folded voxels.

    Masks are carried by linear interpolation and the strongest wins, as in label propagation.
    """
    features = {case: network.features(data.batch([case])[0]) for case in data.test}
    dice, folds, before = [], [], []
    for moving, fixed in pairs_of_test_scans(data, count):
        field = network.displacement(features[moving], features[fixed])
        labels = [data.batch([case])[1] for case in (moving, fixed)]
        whole = F.one_hot(labels[0], data.classes).movedim(-1, 1).float()
        carried = warp(whole, field).argmax(1)
        # Beyond the moving scan all masks are empty, and argmax says background.
        truth = masks_of(labels[1], data.classes)[0]
        dice.append(mean_dice(masks_of(carried, data.classes)[0], truth))
        before.append(mean_dice(masks_of(labels[0], data.classes)[0], truth))
        points = displacement_points(field[0].double().numpy())
        folds.append(summarise_folds(points).fold_percent or 0.0)
    return {
        "deformation_dice": _mean(dice),
        "unmoved_dice": _mean(before),
        "fold_percent": _mean(folds),
    }


@torch.no_grad()
def feature_health(network: GeminiNetwork, data: Data, ids: Sequence[str]) -> Score:
    """Say whether features have collapsed.

    Returns
    -------
    dict
        ``rank``: effective rank of the covariance of features at all voxels, the exponential of
        the entropy of its normalised eigenvalues, from 1 to the number of channels. ``cosine``: of
        features of two random voxels. ``spread``: root mean square deviation of features from
        their mean over the length of the mean.
    """
    features = network.features(data.batch(ids)[0])
    points = features.movedim(1, -1).flatten(0, -2).double()
    centre = points.mean(0)
    values = torch.linalg.eigvalsh(torch.cov((points - centre).T)).clamp_min(0)
    share = values / values.sum()
    unit = F.normalize(points, dim=1)
    order = torch.randperm(len(unit), generator=torch.Generator().manual_seed(0))
    return {
        "rank": float(torch.special.entr(share).sum().exp()),
        "cosine": float((unit * unit[order]).sum(1).mean()),
        "spread": float(values.sum().sqrt() / centre.norm()),
    }


class HeadCurve(Validator):
    """Records the Dice of the head on some scans as a training goes on; it chooses nothing."""

    title = "scans that nothing is chosen by"

    def __init__(self, data: Data, every: int, ids: Sequence[str]) -> None:
        self.data = data
        self.every = every
        self.ids = ids
        self.rows: list[dict[str, Any]] = []

    def score(self, network: GeminiNetwork) -> float:
        """Add a row and return the Dice of the head."""
        dice = _mean(head_dice(network, self.data, self.ids))
        step = (len(self.rows) + 1) * self.every
        self.rows.append({"step": step, "dice": dice, **self.more(network)})
        return dice

    def more(self, network: GeminiNetwork) -> Score:
        """Return further scores of a row."""
        return {}


class Curve(HeadCurve):
    """Records the Dice of the deformations between test scans as well."""

    def more(self, network: GeminiNetwork) -> Score:
        """Score the deformations."""
        return deformation(network, self.data)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))

"""How good the network is while it trains: Dice on held-back cases, else label consistency."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from napari_gemini.correspondence.warp import warp
from napari_gemini.learning.cohort import Cohort
from napari_gemini.learning.target_masks import target_masks
from napari_gemini.networks.gemini import GeminiNetwork
from napari_gemini.study.scheme import IGNORE_INDEX

CONSISTENCY_CASES = 4
CONSISTENCY_ATLASES = 5


def mean_dice(first: Tensor, second: Tensor, valid: Tensor | None = None) -> float:
    """Return the mean Dice over the channels present in either of two masks (C, *S).

    An empty pair of masks says nothing and is left out; without any, the mean is 0.
    """
    if valid is not None:
        first, second = first * valid, second * valid
    axes = tuple(range(1, first.ndim))
    size = first.sum(axes) + second.sum(axes)
    overlap = 2 * (first * second).sum(axes)
    present = size > 0
    return float((overlap[present] / size[present]).mean()) if bool(present.any()) else 0.0


def predicted_masks(network: GeminiNetwork, features: Tensor) -> Tensor:
    """Return hard masks (B, C, *S) of the segmentation head, background channel included."""
    logits = network.segment(features).float()
    if network.config.overlapping:
        return (logits > 0).float()
    classes = logits.shape[1]
    return F.one_hot(logits.argmax(1), classes).movedim(-1, 1).float()


class Validator(ABC):
    """Scores a network on a cohort; higher is better, 1 is best."""

    #: What the score is, for curves and reports.
    title: str

    def __init__(self, cohort: Cohort) -> None:
        self.cohort = cohort

    @abstractmethod
    def score(self, network: GeminiNetwork) -> float:
        """Return the score; the caller sets evaluation mode, autocast and ``no_grad``."""


class HeldBackDice(Validator):
    """Mean Dice of the segmentation head on labelled cases that training never sees.

    Parameters
    ----------
    cohort
        The cohort the cases belong to.
    labels
        Targets by position in the cohort, as in :class:`Cohort`.
    """

    title = "Dice of held-back cases"

    def __init__(self, cohort: Cohort, labels: dict[int, Tensor]) -> None:
        super().__init__(cohort)
        self.labels = labels

    def score(self, network: GeminiNetwork) -> float:
        """Average the Dice of all held-back cases."""
        scores = []
        first = 0 if network.config.overlapping else 1
        for position, target in self.labels.items():
            image = self.cohort.images[position : position + 1]
            masks = predicted_masks(network, network.features(image))[0]
            truth = target_masks(target[None], network.config)[0]
            valid = _valid(target, network)
            scores.append(mean_dice(masks[first:], truth[first:], valid))
        return sum(scores) / len(scores)


class LabelConsistency(Validator):
    """Agreement of two independent ways to label the unlabelled scans.

    For a few unlabelled scans, the head's labels are compared with the labels that the deformation
    carries over from labelled scans (soft majority). It needs no further labels.
    """

    title = "agreement of head and propagated labels"

    def __init__(self, cohort: Cohort) -> None:
        super().__init__(cohort)
        free = [i for i in range(len(cohort.ids)) if i not in cohort.labels]
        self.cases = spread(free, CONSISTENCY_CASES)
        self.atlases = spread(cohort.labelled, CONSISTENCY_ATLASES)

    def score(self, network: GeminiNetwork) -> float:
        """Average the Dice between head and propagated labels."""
        images = self.cohort.images
        atlases = [
            (
                network.features(images[i : i + 1]),
                target_masks(self.cohort.labels[i][None], network.config)[0],
            )
            for i in self.atlases
        ]
        first = 0 if network.config.overlapping else 1
        scores = []
        for case in self.cases:
            features = network.features(images[case : case + 1])
            votes = propagate_masks(network, atlases, features)
            masks = predicted_masks(network, features)[0]
            scores.append(mean_dice(masks[first:], votes[first:]))
        return sum(scores) / max(len(scores), 1)


def propagate_masks(
    network: GeminiNetwork, atlases: Sequence[tuple[Tensor, Tensor]], fixed: Tensor
) -> Tensor:
    """Carry the labels of several atlases to one scan and let them vote.

    Parameters
    ----------
    atlases
        (features (1, F, *S), masks (C, *S)) of each atlas.
    fixed
        Features (1, F, *S) of the scan to label.

    Returns
    -------
    Tensor
        Hard masks (C, *S): the strongest vote, or at least half of the votes where labels overlap.
    """
    votes = None
    for features, masks in atlases:
        field = network.displacement(features, fixed)
        moved = warp(masks.unsqueeze(0), field)[0]
        votes = moved if votes is None else votes + moved
    assert votes is not None
    if network.config.overlapping:
        return (votes >= len(atlases) / 2).float()
    return F.one_hot(votes.argmax(0), votes.shape[0]).movedim(-1, 0).float()


def spread(items: list[int], count: int) -> list[int]:
    """Return at most `count` items, evenly spread and always the same."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def _valid(target: Tensor, network: GeminiNetwork) -> Tensor:
    marked = target == IGNORE_INDEX
    return (~(marked.any(0) if network.config.overlapping else marked)).float()

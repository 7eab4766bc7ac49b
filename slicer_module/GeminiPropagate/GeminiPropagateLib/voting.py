"""Several atlases, one answer: votes of all or of the more similar, voxel by voxel. numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: How votes are weighed: all the same, or each by the local similarity of its atlas.
MAJORITY, SIMILARITY = "majority", "similarity"
#: Weight of an atlas where it resembles the target least: it still breaks ties.
_SMALLEST_WEIGHT = 1e-3


@dataclass(frozen=True)
class Vote:
    """Result of a vote.

    Attributes
    ----------
    labels
        Winning label values, of the first map's type and shape.
    agreement
        float32, share of the weight that voted for the winner, 0 to 1.
    """

    labels: np.ndarray[Any, Any]
    agreement: np.ndarray[Any, Any]


def vote(
    label_maps: Sequence[np.ndarray[Any, Any]],
    weights: Sequence[np.ndarray[Any, Any] | float] | None = None,
) -> Vote:
    """Let label maps on one grid vote on every voxel.

    Of labels with the same weight the one of the earlier map wins, so give the best atlas first.

    Parameters
    ----------
    label_maps
        Integer arrays of one shape; 0 is background and votes too.
    weights
        One non-negative array (or number) a map; None: every map counts the same. Where all
        weights of a voxel are 0, every map counts the same.

    Raises
    ------
    ValueError
        If nothing votes, shapes differ, or a weight is negative or not finite.
    """
    if not label_maps:
        raise ValueError("there is no label map to vote")
    shape = label_maps[0].shape
    if any(label_map.shape != shape for label_map in label_maps):
        raise ValueError("the label maps have different shapes")
    votes = np.stack([label_map.ravel() for label_map in label_maps])
    strength = _weights(weights, votes.shape, shape)
    winner = votes[0].copy()
    agreement = np.ones(winner.shape, np.float32)
    # Nearly everywhere all agree; only the rest has to be counted.
    disputed = np.flatnonzero((votes != votes[0]).any(axis=0))
    voted, strength = votes[:, disputed], strength[:, disputed]
    nobody = strength.sum(axis=0) == 0
    strength[:, nobody] = 1.0
    support = np.stack([(strength * (voted == label)).sum(axis=0) for label in voted])
    best = support.argmax(axis=0)
    places = np.arange(len(disputed))
    winner[disputed] = voted[best, places]
    agreement[disputed] = support[best, places] / strength.sum(axis=0)
    return Vote(winner.reshape(shape).astype(label_maps[0].dtype), agreement.reshape(shape))


def similarity_weight(similarity: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Turn a similarity map (GSS -1 to 1, GVS 0 to 1) into weights; what is unknown counts least.

    Parameters
    ----------
    similarity
        A map on the target's grid.

    Returns
    -------
    numpy.ndarray
        The square of the similarity's positive part, float64: doubling the similarity counts four
        times, so that a well matched atlas is not outvoted by two poor ones.
    """
    known = np.nan_to_num(np.asarray(similarity, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return np.maximum(np.clip(known, 0.0, 1.0) ** 2, _SMALLEST_WEIGHT)


def _weights(
    weights: Sequence[np.ndarray[Any, Any] | float] | None,
    shape: tuple[int, ...],
    map_shape: tuple[int, ...],
) -> np.ndarray[Any, Any]:
    if weights is None:
        return np.ones(shape)
    if len(weights) != shape[0]:
        raise ValueError("there has to be one weight for each label map")
    strength = np.stack(
        [np.broadcast_to(np.asarray(weight, np.float64), map_shape).ravel() for weight in weights]
    )
    if not np.isfinite(strength).all() or (strength < 0).any():
        raise ValueError("weights have to be finite and not negative")
    return strength

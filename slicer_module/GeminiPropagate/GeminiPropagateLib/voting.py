"""Several atlases, one answer: votes of all or of the more similar, voxel by voxel. numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: How votes are weighed.
MAJORITY, SIMILARITY = "majority", "similarity"


@dataclass(frozen=True)
class Vote:
    """Result of a vote.

    Attributes
    ----------
    labels
        Winning label values, of the inputs' integer type and shape.
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

    Parameters
    ----------
    label_maps
        Integer arrays of one shape; 0 is background and votes too.
    weights
        One non-negative array (or number) a map; None: every map counts the same.

    Raises
    ------
    ValueError
        If shapes differ or nothing votes.
    """
    raise NotImplementedError

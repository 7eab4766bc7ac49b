"""CV-SIM of OPTiML: what one view knows about the other decides where transport takes mass."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CrossViewMarginals(nn.Module):
    """Multi-head attention between two views, then a distribution over dense positions for each.

    Queries come from one view, keys and values from the other, and the other way round with the
    same weights. An expanded vector is read as a row of tokens, since the attention of one vector
    to one vector is constant.

    Parameters
    ----------
    length
        Length of an expanded vector.
    positions
        Positions of a dense map.
    heads
        Attention heads.
    tokens
        Tokens that a vector is cut into.
    """

    def __init__(self, length: int, positions: int, heads: int, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.attention = nn.MultiheadAttention(length // tokens, heads, batch_first=True)
        self.spread = nn.Linear(length, positions)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logarithms of both marginals.

        Parameters
        ----------
        first, second
            Expanded vectors (B, length) of the two views.

        Returns
        -------
        tuple of Tensor
            Two (B, positions), each the logarithm of a distribution.
        """
        return self._one(first, second), self._one(second, first)

    def _one(self, view: Tensor, other: Tensor) -> Tensor:
        query = view.reshape(len(view), self.tokens, -1)
        memory = other.reshape(len(other), self.tokens, -1)
        enhanced, _ = self.attention(query, memory, memory, need_weights=False)
        return torch.log_softmax(self.spread(enhanced.flatten(1)).float(), dim=1)

"""Optimal transport between the positions of two dense maps: cosine cost and Sinkhorn's plan."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def discrepancy(first: Tensor, second: Tensor) -> Tensor:
    """Return how unlike every position of one map is to every position of another.

    Parameters
    ----------
    first, second
        (B, C, *S) dense maps.

    Returns
    -------
    Tensor
        (B, P, P) in [0, 2], P positions each: 1 minus the cosine of their vectors.
    """
    with torch.autocast(first.device.type, enabled=False):
        a = F.normalize(first.float().flatten(2), dim=1)
        b = F.normalize(second.float().flatten(2), dim=1)
        return 1 - torch.einsum("bci,bcj->bij", a, b)


def sinkhorn(
    cost: Tensor, log_rows: Tensor, log_columns: Tensor, epsilon: float, iterations: int
) -> Tensor:
    """Return the entropic transport plan, computed with logarithms throughout.

    Minimises ``<T, C> - epsilon H(T)`` over plans with the given marginals by Sinkhorn's
    iterations on the dual potentials, which neither overflow nor underflow for small `epsilon`.

    Parameters
    ----------
    cost
        (B, P, Q).
    log_rows, log_columns
        (B, P) and (B, Q), logarithms of the marginals.
    epsilon
        Weight of the entropy, in units of the cost.
    iterations
        Sweeps; the columns' marginals are exact after each, the rows' converge.

    Returns
    -------
    Tensor
        (B, P, Q), non-negative.
    """
    kernel = -cost / epsilon
    rows, columns = torch.zeros_like(log_rows), torch.zeros_like(log_columns)
    for _ in range(iterations):
        rows = log_rows - torch.logsumexp(kernel + columns.unsqueeze(1), dim=2)
        columns = log_columns - torch.logsumexp(kernel + rows.unsqueeze(2), dim=1)
    return torch.exp(kernel + rows.unsqueeze(2) + columns.unsqueeze(1))


def transport_loss(
    cost: Tensor, log_rows: Tensor, log_columns: Tensor, epsilon: float, iterations: int
) -> Tensor:
    """Return the cost ``<T, C>`` of the entropic plan, averaged over the batch.

    Parameters are those of :func:`sinkhorn`.
    """
    plan = sinkhorn(cost, log_rows, log_columns, epsilon, iterations)
    return (plan * cost).sum((1, 2)).mean()

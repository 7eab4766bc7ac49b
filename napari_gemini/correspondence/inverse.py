"""Inverse of a displacement, and how well two displacements undo each other (voxels, torch)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_gemini.correspondence.warp import compose, field_of_view_mask


@dataclass(frozen=True)
class Inverse:
    """Result of :func:`invert_displacement`.

    Attributes
    ----------
    displacement
        ``(B, d, *S)`` in voxels.
    residual_mean, residual_max
        Length in voxels of ``v(x) + u(x + v(x))`` over the voxels whose counterpart lies inside.
    iterations
        Number of updates made.
    converged
        Whether `residual_max` fell below the tolerance. A map that folds has no inverse, and the
        iteration then does not converge.
    """

    displacement: Tensor
    residual_mean: float
    residual_max: float
    iterations: int
    converged: bool


def _lengths(residual: Tensor, mask: Tensor) -> Tensor:
    return torch.linalg.vector_norm(residual, dim=1, keepdim=True)[mask > 0]


@torch.no_grad()
def invert_displacement(
    displacement: Tensor, iterations: int = 50, tolerance: float = 1e-3
) -> Inverse:
    """Invert a displacement by the fixed point ``v(x) = -u(x + v(x))``.

    Parameters
    ----------
    displacement
        ``(B, d, *S)`` in voxels; outside the grid it goes on with its border value.
    iterations
        Most updates made.
    tolerance
        Residual in voxels at which to stop.

    Returns
    -------
    Inverse
        The inverse and a report of its convergence.

    Notes
    -----
    Chen et al., "A simple fixed-point approach to invert a deformation field", Med. Phys. 2008.
    The plain iteration converges where the displacement's gradient stays below 1. Where a step
    makes the residual of a voxel larger, its next steps are halved, which carries it further.
    """
    inverse = -displacement
    rate = torch.ones_like(displacement[:, :1])
    residual = compose(displacement, inverse)
    mask = field_of_view_mask(inverse)
    done = 0
    while done < iterations:
        done += 1
        before = torch.linalg.vector_norm(residual, dim=1, keepdim=True)
        inverse = inverse - rate * residual
        residual = compose(displacement, inverse)
        after = torch.linalg.vector_norm(residual, dim=1, keepdim=True)
        rate = torch.where(after > before, (rate / 2).clamp_min(1 / 16), rate)
        mask = field_of_view_mask(inverse)
        lengths = after[mask > 0]
        if lengths.numel() == 0 or float(lengths.max()) < tolerance:
            break
    lengths = _lengths(residual, mask)
    mean, largest = (float(lengths.mean()), float(lengths.max())) if lengths.numel() else (0.0, 0.0)
    return Inverse(inverse, mean, largest, done, largest < tolerance)


@torch.no_grad()
def inverse_consistency(there: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    """Measure how far a voxel lands from itself after going there and back.

    Parameters
    ----------
    there, back
        ``(B, d, *S)`` displacements in voxels, of fixed onto moving and of moving onto fixed.

    Returns
    -------
    error
        ``(B, 1, *S)`` distance in voxels at every fixed voxel.
    mask
        ``(B, 1, *S)``: 1 where the counterpart lies inside the moving grid, elsewhere the error
        says little.
    """
    error = torch.linalg.vector_norm(compose(back, there), dim=1, keepdim=True)
    return error, field_of_view_mask(there)

"""A linear map between two images: the quick first stage of refinement."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_gemini.correspondence.local_ncc import gvs_loss
from napari_gemini.correspondence.resampling import (
    broadcast_vector,
    shrink_pair,
)
from napari_gemini.correspondence.self_similarity import (
    hide_ignored,
    self_similarity,
    self_similarity_loss,
)
from napari_gemini.correspondence.warp import field_of_view_mask, identity_grid, sample, touches
from napari_gemini.progress import Reporter, stop_if_cancelled
from napari_gemini.settings import Similarity

# Affine maps that stretch or squeeze by more than this have lost their way.
LARGEST_STRETCH = 2.0
# On a coarse grid the neighbours that a descriptor looks at lie next to each other.
DILATION = 1
# Descriptors need a grid this many times finer: of 27 pairs of random anatomies in two contrasts
# the worst then ended 3.0 voxels from the truth instead of 5.9.
FINER = 2


@dataclass(frozen=True)
class AffineMap:
    """The map ``x -> matrix (x - centre) + centre + shift`` in voxels of the finest grid.

    Attributes
    ----------
    matrix
        ``(d, d)``.
    shift
        ``(d,)`` in voxels.
    shape
        Spatial shape of the finest grid; `centre` is its middle.
    """

    matrix: Tensor
    shift: Tensor
    shape: tuple[int, ...]

    @classmethod
    def identity(cls, shape: tuple[int, ...], device: torch.device | None = None) -> AffineMap:
        """Return the map that moves nothing."""
        d = len(shape)
        return cls(torch.eye(d, device=device), torch.zeros(d, device=device), shape)

    @property
    def centre(self) -> Tensor:
        """Middle of the grid, (d,)."""
        return (torch.tensor(self.shape, device=self.matrix.device) - 1) / 2

    def apply(self, points: Tensor, stride: int = 1) -> Tensor:
        """Map coordinates of a grid that is `stride` times coarser.

        Parameters
        ----------
        points
            ``(B, d, *S)`` in voxels of the coarse grid.
        stride
            Fine voxels per coarse voxel.

        Returns
        -------
        Tensor
            ``(B, d, *S)`` in voxels of the coarse grid.
        """
        d = len(self.shape)
        centre = broadcast_vector((self.centre + 0.5) / stride - 0.5, d)
        shift = broadcast_vector(self.shift / stride, d)
        moved = torch.einsum("ij,bj...->bi...", self.matrix, points - centre)
        return moved + (centre + shift)

    def inverse(self) -> AffineMap:
        """Return the map back."""
        matrix = torch.linalg.inv(self.matrix)
        return AffineMap(matrix, -(matrix @ self.shift), self.shape)

    def plausible(self) -> bool:
        """Whether it neither mirrors nor stretches or squeezes out of proportion."""
        if not (torch.isfinite(self.matrix).all() and torch.isfinite(self.shift).all()):
            return False
        stretches = torch.linalg.svdvals(self.matrix)
        return bool(
            torch.linalg.det(self.matrix) > 0
            and stretches.max() <= LARGEST_STRETCH
            and stretches.min() >= 1 / LARGEST_STRETCH
        )


def fit_affine(displacement: Tensor, weight: Tensor | None = None) -> AffineMap:
    """Fit an affine map to a displacement by least squares.

    Parameters
    ----------
    displacement
        ``(1, d, *S)`` in voxels.
    weight
        ``(1, 1, *S)``, how much each voxel counts.

    Returns
    -------
    AffineMap
        The identity where the best fit is implausible.
    """
    shape = tuple(displacement.shape[2:])
    d = len(shape)
    start = AffineMap.identity(shape, displacement.device)
    grid = identity_grid(shape, device=displacement.device)
    points = (grid - broadcast_vector(start.centre, d)).flatten(2)[0].double()
    # Coordinates scaled to about 1 keep the normal equations well conditioned.
    size = max(shape) / 2
    basis = torch.cat([points / size, torch.ones_like(points[:1])])
    weights = torch.ones_like(points[:1]) if weight is None else weight.flatten()[None].double()
    target = displacement.flatten(2)[0].double()
    normal = (basis * weights) @ basis.T
    normal = normal + 1e-6 * torch.trace(normal) * torch.eye(d + 1, device=normal.device).double()
    solution = torch.linalg.solve(normal, (basis * weights) @ target.T).T
    matrix = torch.eye(d, device=normal.device) + (solution[:, :d] / size).float()
    fitted = AffineMap(matrix, solution[:, d].float(), shape)
    return fitted if fitted.plausible() else start


def affine_stride(shape: tuple[int, ...]) -> int:
    """Return the resolution of the affine stage: the longest axis keeps 16 to 32 voxels.

    Finer grids make it slower and, on scans whose content differs in detail, worse.
    """
    stride = 1
    while max(shape) // (2 * stride) >= 16 and min(shape) // (2 * stride) >= 6:
        stride *= 2
    return stride


def optimise_affine(
    moving: Tensor,
    fixed: Tensor,
    *,
    steps: int = 60,
    window: int = 9,
    learning_rate: float = 0.02,
    similarity: Similarity = "correlation",
    ignore_moving: Tensor | None = None,
    ignore_fixed: Tensor | None = None,
    reporter: Reporter,
) -> AffineMap:
    """Find the affine map under which two images are most similar, on a coarse grid.

    Parameters
    ----------
    moving, fixed
        ``(1, 1, *S)`` on one grid.
    steps
        Steps in all; 0 gives the identity.
    window
        Of the correlation, in voxels of the coarse grid.
    learning_rate
        Of Adam, for the matrix and the shift in units of the half axis length.
    similarity
        What is maximised: local correlation, or likeness of self-similarity.
    ignore_moving, ignore_fixed
        ``(1, 1, *S)``, non-zero where nothing counts.
    reporter
        May cancel.

    Returns
    -------
    AffineMap
        The best one seen; the identity where all others are implausible.
    """
    shape = tuple(fixed.shape[2:])
    start, stride = AffineMap.identity(shape, fixed.device), affine_stride(shape)
    if steps == 0:
        return start
    if similarity == "self-similarity":
        stride = max(1, stride // FINER)
    moving, fixed, ignore_moving, ignore_fixed = shrink_pair(
        moving, fixed, ignore_moving, ignore_fixed, stride
    )
    if similarity == "self-similarity":
        moving, ignore_moving = hide_ignored(moving, ignore_moving, DILATION + 1)
        fixed, ignore_fixed = hide_ignored(fixed, ignore_fixed, DILATION + 1)
        moving, fixed = (self_similarity(image, dilation=DILATION) for image in (moving, fixed))
    return _optimise_at(
        start,
        moving,
        fixed,
        ignore_moving,
        ignore_fixed,
        similarity=similarity,
        stride=stride,
        steps=steps,
        window=window,
        learning_rate=learning_rate,
        reporter=reporter,
    )


def _optimise_at(
    start: AffineMap,
    moving: Tensor,
    fixed: Tensor,
    ignore_moving: Tensor | None,
    ignore_fixed: Tensor | None,
    *,
    similarity: Similarity,
    stride: int,
    steps: int,
    window: int,
    learning_rate: float,
    reporter: Reporter,
) -> AffineMap:
    grid = identity_grid(fixed.shape[2:], device=fixed.device)
    unit = sum(start.shape) / len(start.shape) / 2
    matrix = start.matrix.clone().requires_grad_()
    shift = (start.shift / unit).clone().requires_grad_()
    optimiser = torch.optim.Adam([matrix, shift], lr=learning_rate)
    best, lowest = start, float("inf")
    for step in range(steps + 1):
        stop_if_cancelled(reporter)
        current = AffineMap(matrix, unit * shift, start.shape)
        points = current.apply(grid, stride)
        mask = field_of_view_mask(points - grid)
        ignore = None
        if ignore_moving is not None or ignore_fixed is not None:
            with torch.no_grad():
                if ignore_moving is not None:
                    mask = mask * ~touches(ignore_moving, points)
                if ignore_fixed is not None:
                    mask = mask * (ignore_fixed == 0)
            ignore = mask == 0
        warped = sample(moving, points)
        if similarity == "self-similarity":
            loss = self_similarity_loss(warped, fixed, mask)
        else:
            loss = gvs_loss(warped, fixed, mask, window, ignore)
        value = float(loss.detach())
        if value < lowest:
            found = AffineMap(matrix.detach().clone(), unit * shift.detach().clone(), start.shape)
            if found.plausible():
                best, lowest = found, value
        if step == steps:
            break
        optimiser.param_groups[0]["lr"] = learning_rate * (1 - 0.8 * step / steps)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return best

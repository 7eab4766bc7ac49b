"""One resolution of the instance refinement: its images, its loss and its optimisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_gemini.correspondence.affine import AffineMap
from napari_gemini.correspondence.local_ncc import gvs_loss, masked_mean
from napari_gemini.correspondence.resampling import (
    enlarge_displacement,
    gaussian_smooth,
    shrink,
    shrink_pair,
)
from napari_gemini.correspondence.self_similarity import (
    REACH,
    hide_ignored,
    self_similarity,
    self_similarity_loss,
)
from napari_gemini.correspondence.similarity import cosine_map
from napari_gemini.correspondence.smoothness import smoothness_loss
from napari_gemini.correspondence.velocity import integrate_velocity
from napari_gemini.correspondence.warp import field_of_view_mask, identity_grid, sample, touches
from napari_gemini.settings import RefineSettings

#: Voxels of a level per node of its field, along each axis.
NODE_SPACING = 2
#: Smoothing of the field, in nodes: what makes the optimiser's steps smooth.
NODE_SMOOTHING = 1.0

Report = Callable[[int, dict[str, float]], None]


def directions(parameter: Tensor, settings: RefineSettings) -> Tensor:
    """Return the displacements (1 or 2, d, *nodes), in nodes, that a parameter stands for.

    With velocity steps the parameter is a velocity (1, d, *nodes) and the second displacement the
    exact inverse of the first; without, it holds one plain displacement per direction.
    """
    field = gaussian_smooth(parameter, NODE_SMOOTHING)
    if settings.velocity_steps == 0:
        return field
    both = torch.cat([field, -field]) if settings.symmetric else field
    return integrate_velocity(both, settings.velocity_steps)


@dataclass(frozen=True)
class Images:
    """A pair and what comes with it, (1, C, *S) each.

    Images and masks are on the finest grid, features on the nodes of the finest level's field.
    """

    moving: Tensor
    fixed: Tensor
    features_moving: Tensor | None = None
    features_fixed: Tensor | None = None
    ignore_moving: Tensor | None = None
    ignore_fixed: Tensor | None = None


@dataclass
class NodeMaps:
    """What is compared at the nodes of a level, (1, C, *nodes) each.

    Attributes
    ----------
    moving, fixed
        Of the two images.
    aligned
        Of the affinely aligned moving image, where both directions are optimised.
    """

    moving: Tensor
    fixed: Tensor
    aligned: Tensor | None = None


class Level:
    """Images of one resolution, compared in the fixed frame and in the aligned moving frame.

    The map is ``affine o field``. Forward, the moving image is sampled through both and compared
    with the fixed one. Backward, the fixed image is sampled through the inverse field and compared
    with the affinely aligned moving image, so no direction is preferred.

    Parameters
    ----------
    images
        Of the finest grid.
    affine
        The linear part of the map.
    stride
        Voxels of the finest grid per voxel of this level.
    finest
        The same of the finest level.
    settings
        Of the refinement.
    """

    def __init__(
        self,
        images: Images,
        affine: AffineMap,
        stride: int,
        finest: int,
        settings: RefineSettings,
    ) -> None:
        self.settings = settings
        self.affine = affine
        self.stride = stride
        self.moving, self.fixed, self.ignore_moving, self.ignore_fixed = shrink_pair(
            images.moving, images.fixed, images.ignore_moving, images.ignore_fixed, stride
        )
        self.by_structure = settings.similarity == "self-similarity"
        if self.by_structure:
            self.moving, self.ignore_moving = hide_ignored(self.moving, self.ignore_moving, REACH)
            self.fixed, self.ignore_fixed = hide_ignored(self.fixed, self.ignore_fixed, REACH)
        self.grid = identity_grid(self.fixed.shape[2:], device=self.fixed.device)
        self.nodes = tuple(size // NODE_SPACING for size in self.fixed.shape[2:])
        self.descriptors: NodeMaps | None = None
        self.features: NodeMaps | None = None
        if images.features_moving is not None and images.features_fixed is not None:
            factor = stride // finest
            self.features = NodeMaps(
                shrink(images.features_moving, factor), shrink(images.features_fixed, factor)
            )
        if self.by_structure:
            self.descriptors = NodeMaps(
                self_similarity(self.moving, NODE_SPACING),
                self_similarity(self.fixed, NODE_SPACING),
            )
        if settings.symmetric:
            self._align_moving()

    def _align_moving(self) -> None:
        points = self.affine.apply(self.grid, self.stride)
        self.aligned = sample(self.moving, points)
        outside = 1 - field_of_view_mask(points - self.grid)
        if self.ignore_moving is not None:
            outside = torch.maximum(outside, touches(self.ignore_moving, points).float())
        self.aligned_unseen = outside
        if self.features is not None:
            nodes = identity_grid(self.nodes, device=self.fixed.device)
            points = self.affine.apply(nodes, self.stride * NODE_SPACING)
            self.features.aligned = sample(self.features.moving, points)
        if self.descriptors is not None:
            # Of the aligned image, since a descriptor turns with its image.
            self.descriptors.aligned = self_similarity(self.aligned, NODE_SPACING)

    def loss(self, parameter: Tensor) -> dict[str, Tensor]:
        """Return the loss of a parameter and its terms, averaged over the directions."""
        weights = self.settings.weights
        at_nodes = directions(parameter, self.settings)
        at_voxels = enlarge_displacement(at_nodes, NODE_SPACING)
        terms: dict[str, Tensor] = {"smooth": smoothness_loss(at_nodes)}
        loss = weights.smooth * terms["smooth"]
        points = self.grid + at_voxels
        mask = self._mask(points)
        if weights.gvs and self.descriptors is not None:
            warped, target, counted = self._at_nodes(self.descriptors, at_nodes, mask)
            terms["gvs"] = self_similarity_loss(warped, target, counted)
            loss = loss + weights.gvs * terms["gvs"]
        elif weights.gvs:
            terms["gvs"] = self._gvs(points, mask)
            loss = loss + weights.gvs * terms["gvs"]
        if weights.gss and self.features is not None:
            warped, target, counted = self._at_nodes(self.features, at_nodes, mask)
            terms["gss"] = 1 - masked_mean(cosine_map(warped, target), counted)
            loss = loss + weights.gss * terms["gss"]
        return {"loss": loss, **terms}

    def _gvs(self, points: Tensor, mask: Tensor) -> Tensor:
        warped = [sample(self.moving, self.affine.apply(points[:1], self.stride))]
        targets = [self.fixed]
        if self.settings.symmetric:
            warped.append(sample(self.fixed, points[1:]))
            targets.append(self.aligned)
        ignores = self.ignore_fixed is not None or self.ignore_moving is not None
        return gvs_loss(
            torch.cat(warped),
            torch.cat(targets),
            mask,
            self.settings.ncc_window,
            ignore=mask == 0 if ignores else None,
        )

    def _at_nodes(
        self, maps: NodeMaps, at_nodes: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is to be compared at the nodes, in either frame, and which nodes count."""
        points = identity_grid(self.nodes, device=maps.fixed.device) + at_nodes
        coarse = self.stride * NODE_SPACING
        warped = [sample(maps.moving, self.affine.apply(points[:1], coarse))]
        targets = [maps.fixed]
        if self.settings.symmetric:
            assert maps.aligned is not None
            warped.append(sample(maps.fixed, points[1:]))
            targets.append(maps.aligned)
        return torch.cat(warped), torch.cat(targets), shrink(mask, NODE_SPACING) > 0.999

    @torch.no_grad()
    def _mask(self, points: Tensor) -> Tensor:
        """Mark what counts in either frame: seen by both images and ignored in none."""
        there = self.affine.apply(points[:1], self.stride)
        mask = field_of_view_mask(there - self.grid)
        if self.ignore_moving is not None:
            mask = mask * ~touches(self.ignore_moving, there)
        if self.ignore_fixed is not None:
            mask = mask * (self.ignore_fixed == 0)
        if not self.settings.symmetric:
            return mask
        back = field_of_view_mask(points[1:] - self.grid) * (self.aligned_unseen == 0)
        if self.ignore_fixed is not None:
            back = back * ~touches(self.ignore_fixed, points[1:])
        return torch.cat([mask, back])

    def optimise(self, parameter: Tensor, steps: int, report: Report) -> Tensor:
        """Run Adam from a parameter and return the parameter it ends with.

        The learning rate falls to a fifth over the steps, so that the end does not rattle.
        """
        if steps == 0:
            return parameter
        parameter = parameter.detach().clone().requires_grad_()
        rate = self.settings.learning_rate
        optimiser = torch.optim.Adam([parameter], lr=rate)
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = rate * (1 - 0.8 * step / steps)
            terms = self.loss(parameter)
            optimiser.zero_grad(set_to_none=True)
            terms["loss"].backward()
            if parameter.grad is not None:
                torch.nan_to_num_(parameter.grad, 0, 0, 0)
            optimiser.step()
            report(step + 1, {name: float(value.detach()) for name, value in terms.items()})
        return parameter.detach()

"""COVER's vectors: neighbourhoods matched into vectors, mixed, and composed over a pyramid.

A vector embedding unit (VEU) compares the feature of a fixed voxel with those of the moving voxels
around it; the softmax of the similarities, with the integer offsets as template vectors, gives the
expected vector. Groups of channels vote independently and their vectors are averaged (MVI), and
vectors found at coarse stages are passed on, so that a small neighbourhood reaches far (VPA).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_gemini.correspondence.warp import compose, warp
from napari_gemini.networks.blocks import conv

#: Channels that each group compares.
GROUP_CHANNELS = 8
#: Similarity of a place outside the image.
OUTSIDE = -1000.0


def template_vectors(neighbourhood: int, dimension: int) -> Tensor:
    """Return the offsets of a neighbourhood in voxels, (N^d, d), in the order they are compared.

    Parameters
    ----------
    neighbourhood
        Side N, odd: offsets from ``-(N - 1) / 2`` to ``(N - 1) / 2`` along each axis.
    dimension
        2 or 3.
    """
    reach = neighbourhood // 2
    line = range(-reach, reach + 1)
    return torch.tensor(list(itertools.product(line, repeat=dimension)), dtype=torch.float32)


def neighbourhood_scores(query: Tensor, key: Tensor, neighbourhood: int) -> Tensor:
    """Compare every voxel with the voxels around it.

    Parameters
    ----------
    query, key
        (B, C, *S); queries of the fixed scan, keys of the moving one.
    neighbourhood
        Side N, odd.

    Returns
    -------
    Tensor
        (B, N^d, *S): scalar products divided by ``sqrt(C)``, :data:`OUTSIDE` beyond the image.
    """
    dimension = query.ndim - 2
    shape = query.shape[2:]
    reach = neighbourhood // 2
    padded = F.pad(key, [reach] * (2 * dimension))
    inside = F.pad(key.new_ones((1, 1, *shape)), [reach] * (2 * dimension))
    scale = query.shape[1] ** -0.5
    scores = []
    for offset in itertools.product(range(neighbourhood), repeat=dimension):
        window = tuple(slice(o, o + size) for o, size in zip(offset, shape, strict=True))
        score = (query * padded[(slice(None), slice(None), *window)]).sum(1) * scale
        valid = inside[0, 0][window] > 0
        scores.append(torch.where(valid, score, OUTSIDE))
    return torch.stack(scores, dim=1)


def expected_vectors(scores: Tensor, neighbourhood: int) -> Tensor:
    """Return the expectation of the template vectors: (B, N^d, *S) scores to (B, d, *S) voxels."""
    templates = template_vectors(neighbourhood, scores.ndim - 2).to(scores)
    return torch.einsum("bn...,nd->bd...", torch.softmax(scores, dim=1), templates)


class VectorUnit(nn.Module):
    """Vectors of one stage: projection, neighbourhood matching and the average over groups.

    Parameters
    ----------
    dimension
        2 or 3.
    features
        Channels of the stage.
    groups
        Number J of groups, each of eight channels.
    neighbourhood
        Side N of the neighbourhood, odd.
    """

    def __init__(self, dimension: int, features: int, groups: int, neighbourhood: int) -> None:
        super().__init__()
        self.groups = groups
        self.neighbourhood = neighbourhood
        channels = GROUP_CHANNELS * groups
        self.project = nn.Sequential(
            conv(dimension, features, channels, kernel=1), nn.GroupNorm(1, channels)
        )

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return vectors (B, d, *S) in voxels from features (B, F, *S) of both scans."""
        # In float32 throughout: coarse stages are too small for reduced precision on CPUs.
        with torch.autocast(fixed.device.type, enabled=False):
            query, key = self.project(fixed.float()), self.project(moving.float())
            vectors = [
                expected_vectors(neighbourhood_scores(q, k, self.neighbourhood), self.neighbourhood)
                # Every J-th channel belongs to one group, as published.
                for q, k in zip(self._split(query), self._split(key), strict=True)
            ]
        return torch.stack(vectors).mean(0)

    def _split(self, x: Tensor) -> list[Tensor]:
        return [x[:, group :: self.groups] for group in range(self.groups)]


class VectorPyramid(nn.Module):
    """Vector pyramid aggregation: vectors from the coarsest stage to the finest, composed.

    Parameters
    ----------
    dimension
        2 or 3.
    features
        Channels of each stage, coarsest first.
    groups
        Number of groups J of each stage.
    neighbourhood
        Side N of every neighbourhood, odd.
    """

    def __init__(
        self, dimension: int, features: Sequence[int], groups: Sequence[int], neighbourhood: int
    ) -> None:
        super().__init__()
        self.units = nn.ModuleList(
            VectorUnit(dimension, channels, count, neighbourhood)
            for channels, count in zip(features, groups, strict=True)
        )

    def forward(self, moving: Sequence[Tensor], fixed: Sequence[Tensor]) -> Tensor:
        """Return vectors (B, d, *S) in voxels of the finest stage.

        Parameters
        ----------
        moving, fixed
            Features of each stage, coarsest first, every stage twice as fine as the one before.
        """
        flow: Tensor | None = None
        for unit, source, target in zip(self.units, moving, fixed, strict=True):
            if flow is None:
                flow = unit(source, target)
            else:
                flow = refine_vectors(flow, target.shape[2:])
                flow = compose(flow, unit(warp(source, flow), target))
        assert flow is not None
        return flow


def refine_vectors(vectors: Tensor, size: Sequence[int]) -> Tensor:
    """Bring vectors (B, d, *S) to a stage twice as fine, in its voxels.

    Stages halve by pooling, so voxel i of the coarse one covers 2 i and 2 i + 1 of the fine one:
    interpolation without aligned corners, and vectors twice as long.
    """
    mode = "bilinear" if vectors.ndim == 4 else "trilinear"
    return 2 * F.interpolate(vectors, size=tuple(size), mode=mode, align_corners=False)

"""Fields, headers and maps that several tests of correspondence use."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch


def make_smooth_field(shape: tuple[int, ...], size: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, len(shape), *(4,) * len(shape), generator=generator)
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    return size * torch.nn.functional.interpolate(coarse, size=shape, mode=mode, align_corners=True)


def make_random_affine(seed: int, dimension: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(generator.normal(size=(dimension, dimension)))
    affine = np.eye(4)
    affine[:dimension, :dimension] = rotation * generator.uniform(0.4, 3, dimension)
    affine[:dimension, 3] = generator.uniform(-90, 90, dimension)
    return affine


def make_world_points(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    d = len(shape)
    index = np.indices(shape, dtype=float)
    return np.tensordot(affine[:d, :d], index, 1) + affine[:d, 3].reshape(d, *(1,) * d)


@pytest.fixture(scope="session")
def smooth_field() -> Callable[..., torch.Tensor]:
    """Return a maker of random smooth displacements."""
    return make_smooth_field


@pytest.fixture(scope="session")
def random_affine() -> Callable[..., np.ndarray]:
    """Return a maker of oblique, anisotropic, possibly flipped headers."""
    return make_random_affine


@pytest.fixture(scope="session")
def world_points() -> Callable[..., np.ndarray]:
    """Return the maker of every voxel's position under a header."""
    return make_world_points

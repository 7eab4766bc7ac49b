"""Inverse of a displacement and inverse consistency, in voxels and in mm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from napari_gemini.correspondence.consistency import inverse_consistency_mm
from napari_gemini.correspondence.inverse import inverse_consistency, invert_displacement
from napari_gemini.correspondence.warp import compose, identity_grid
from napari_gemini.errors import InputError


@pytest.mark.parametrize("shape", [(24, 20), (16, 18, 14)])
@given(seed=st.integers(0, 1000))
@example(seed=512)
def test_inverse_undoes_the_displacement(
    shape: tuple[int, ...], seed: int, smooth_field: Callable[..., torch.Tensor]
) -> None:
    u = smooth_field(shape, 0.7, seed)
    # The roughest of these fields are one-to-one and take three times the default.
    inverse = invert_displacement(u, iterations=200)
    assert inverse.converged
    assert inverse.residual_max < 1e-3
    assert inverse.residual_mean <= inverse.residual_max
    error, mask = inverse_consistency(inverse.displacement, u)
    assert float(error[mask > 0].max()) < 1e-3
    # The other order differs by what linear interpolation of the inverse costs.
    inner = (..., *(slice(5, -5),) * len(shape))
    assert compose(inverse.displacement, u)[inner].norm(dim=1).mean() < 0.1


def test_inverse_of_an_affine_displacement_is_exact() -> None:
    points = identity_grid((21, 21), dtype=torch.float64) - 10
    u = torch.stack([0.2 * points[:, 0] + 0.1 * points[:, 1], -0.1 * points[:, 0]], 1)
    matrix = torch.tensor([[1.2, 0.1], [-0.1, 1.0]], dtype=torch.float64)
    expected = torch.einsum("ij,bjxy->bixy", torch.linalg.inv(matrix), points) - points
    inverse = invert_displacement(u, tolerance=1e-9, iterations=100)
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    assert (inverse.displacement - expected)[inner].abs().max() < 1e-8


def test_strong_gradients_still_converge_by_damping() -> None:
    points = identity_grid((41, 8), dtype=torch.float64)
    u = torch.zeros(1, 2, 41, 8, dtype=torch.float64)
    u[:, 0] = 1.4 * (points[:, 0] - 20)  # the plain iteration diverges from gradient 1 on
    inverse = invert_displacement(u, iterations=60)
    assert inverse.converged
    assert inverse.iterations < 60


def test_a_fold_is_reported_as_not_converged() -> None:
    u = 3 * torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    inverse = invert_displacement(u, iterations=20)
    assert not inverse.converged
    assert inverse.residual_max > 0.1
    assert inverse.iterations == 20


def test_everything_outside_leaves_nothing_to_judge() -> None:
    inverse = invert_displacement(torch.full((1, 2, 8, 8), 100.0))
    assert inverse.converged
    assert inverse.residual_max == 0


def test_inverse_consistency_of_shifts() -> None:
    there = torch.zeros(1, 2, 8, 8)
    there[:, 0] = 2
    back = torch.zeros(1, 2, 8, 8)
    back[:, 0] = -1.5
    error, mask = inverse_consistency(there, back)
    assert torch.allclose(error, torch.full_like(error, 0.5))
    assert mask.sum() == 6 * 8


@pytest.mark.parametrize("d", [2, 3])
def test_consistency_in_mm_under_any_header(
    d: int, random_affine: Callable[..., np.ndarray], world_points: Callable[..., np.ndarray]
) -> None:
    shapes = ((9, 8, 7)[:d], (10, 9, 11)[:d])
    fixed, moving = random_affine(1, d), random_affine(2, d)
    motion = np.eye(d) + 0.05 * np.random.default_rng(0).normal(size=(d, d))
    # The moving scan shows everything: put its centre where the fixed centre goes.
    centre = motion @ (fixed[:d, :d] @ (np.array(shapes[0]) - 1) / 2 + fixed[:d, 3])
    moving[:d, :d] *= 4
    moving[:d, 3] = centre - moving[:d, :d] @ (np.array(shapes[1]) - 1) / 2
    there = np.tensordot(motion, world_points(shapes[0], fixed), 1)
    back = np.tensordot(np.linalg.inv(motion), world_points(shapes[1], moving), 1)
    exact = inverse_consistency_mm(there, back, fixed, moving)
    assert np.nanmax(exact.error) < 1e-5
    shift = np.zeros(d)
    shift[0] = 0.7
    off = inverse_consistency_mm(there, back + shift.reshape(d, *(1,) * d), fixed, moving)
    assert off.report() == {"mean": pytest.approx(0.7), "p95": pytest.approx(0.7)}


def test_consistency_outside_the_moving_scan_is_unknown(
    world_points: Callable[..., np.ndarray],
) -> None:
    points = world_points((6, 6), np.eye(4))
    shifted = points + np.array([3.0, 0]).reshape(2, 1, 1)
    result = inverse_consistency_mm(shifted, points, np.eye(4), np.eye(4))
    assert np.isnan(result.error[3:]).all()
    assert np.allclose(result.error[:3], 3)
    nothing = inverse_consistency_mm(shifted, points, np.eye(4), np.eye(4), mask=np.zeros((6, 6)))
    assert nothing.report() == {"mean": None, "p95": None}


def test_consistency_refuses_bad_input(world_points: Callable[..., np.ndarray]) -> None:
    points = world_points((4, 4), np.eye(4))
    with pytest.raises(InputError, match="same number of axes"):
        inverse_consistency_mm(points, np.zeros((3, 4, 4, 4)), np.eye(4), np.eye(4))
    with pytest.raises(InputError, match="singular"):
        inverse_consistency_mm(points, points, np.eye(4), np.zeros((4, 4)))

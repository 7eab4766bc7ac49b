from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from napari_gemini.phantom.deformation import (
    CaseMap,
    SplineVelocity,
    affine_points,
    flow,
    random_pose,
    random_velocity,
    rotation,
)

FEW = settings(max_examples=15, deadline=None, derandomize=True)


def points_in(half: np.ndarray, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1.1, 1.1, (count, len(half))) * half


@FEW
@given(st.integers(0, 10_000), st.sampled_from([2, 3]), st.floats(0.0, 0.1))
def test_map_and_inverse_cancel(seed: int, ndim: int, strength: float) -> None:
    half = np.array([30.0, 45.0, 36.0])[:ndim]
    velocity = random_velocity(np.random.default_rng(seed), half, strength * half.mean())
    case = CaseMap(velocity, random_pose(np.random.default_rng(seed + 1), half))
    points = points_in(half, 200, seed)
    assert np.abs(case.to_template(case.from_template(points)) - points).max() < 1e-3
    assert np.abs(case.from_template(case.to_template(points)) - points).max() < 1e-3


@FEW
@given(st.integers(0, 10_000), st.sampled_from([2, 3]))
def test_flows_of_one_field_add_up(seed: int, ndim: int) -> None:
    half = np.full(ndim, 40.0)
    velocity = random_velocity(np.random.default_rng(seed), half, 3.0)
    points = points_in(half, 100, seed)
    halves = flow(velocity, flow(velocity, points, 0.5), 0.5)
    assert np.abs(halves - flow(velocity, points)).max() < 1e-3


def test_flow_of_a_linear_field_is_the_matrix_exponential() -> None:
    # A cubic B-spline reproduces linear functions when its coefficients sample them.
    matrix = np.array([[0.1, -0.4], [0.35, -0.2]])
    nodes = np.arange(60) - 30.0
    grid = np.stack(np.meshgrid(nodes, nodes, indexing="ij"))
    velocity = SplineVelocity(
        np.einsum("ab,bij->aij", matrix, grid), np.array([-30.0, -30.0]), np.ones(2)
    )
    points = np.random.default_rng(0).uniform(-10, 10, (50, 2))
    assert np.allclose(flow(velocity, points), points @ expm(matrix).T, atol=1e-5)


@pytest.mark.parametrize("ndim", [2, 3])
def test_amplitude_is_what_was_asked_for(ndim: int) -> None:
    half = np.full(ndim, 40.0)
    points = points_in(half, 3000, 1)
    power = [
        np.mean(random_velocity(np.random.default_rng(seed), half, 2.0)(points) ** 2)
        for seed in range(30)
    ]
    assert np.sqrt(np.mean(power)) == pytest.approx(2.0, rel=0.12)


def test_zero_amplitude_is_the_identity() -> None:
    half = np.full(3, 40.0)
    velocity = random_velocity(np.random.default_rng(0), half, 0.0)
    points = points_in(half, 50, 0)
    assert np.array_equal(flow(velocity, points), points)


@pytest.mark.parametrize("shape", [(40, 48, 40), (33, 35, 62), (96, 96)])
def test_interpolated_grid_agrees_with_every_voxel_followed(shape: tuple[int, ...]) -> None:
    d = len(shape)
    half = np.array(shape, float)
    rng = np.random.default_rng(3)
    case = CaseMap(random_velocity(rng, half, 0.058 * half.mean()), random_pose(rng, half))
    affine = np.diag([2.0] * d + [1.0])
    affine[:d, d] = 1.0 - half
    exact = case.grid_to_template(affine, shape, stride=1)
    assert np.abs(case.grid_to_template(affine, shape) - exact).max() / 2.0 < 0.03
    nodes = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, d)
    direct = case.to_template(affine_points(affine, nodes[:100].astype(float)))
    assert np.allclose(exact[:100], direct)


@FEW
@given(st.lists(st.floats(-3.0, 3.0), min_size=3, max_size=3))
def test_rotations_are_proper(angles: list[float]) -> None:
    for angle in (np.array(angles), np.array(angles[:1])):
        matrix = rotation(angle)
        assert np.allclose(matrix @ matrix.T, np.eye(len(matrix)))
        assert np.linalg.det(matrix) == pytest.approx(1.0)


def test_rotation_about_z_turns_x_towards_y() -> None:
    assert np.allclose(rotation(np.array([0.0, 0.0, np.pi / 2])) @ [1, 0, 0], [0, 1, 0])
    assert np.allclose(rotation(np.array([np.pi / 2])) @ [1, 0], [0, 1])

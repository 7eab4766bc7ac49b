"""Determinants and fold criteria against exact values and their own theory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_gemini.correspondence import jacobian
from napari_gemini.correspondence.jacobian import (
    CENTRAL_FOLD,
    DIGITAL_FOLD,
    digital_determinants,
    displacement_points,
    jacobian_determinant,
    summarise_folds,
)
from napari_gemini.errors import InputError


def test_import_needs_no_torch() -> None:
    code = (
        "import sys; from napari_gemini.correspondence import jacobian, consistency;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("shape", [(7, 6), (6, 5, 7), (5, 4, 1)])
@given(seed=st.integers(0, 10_000))
def test_affine_maps_are_exact_under_any_header(
    shape: tuple[int, ...],
    seed: int,
    random_affine: Callable[..., np.ndarray],
    world_points: Callable[..., np.ndarray],
) -> None:
    d = len(shape)
    affine = random_affine(seed, d)
    generator = np.random.default_rng(seed)
    motion = np.eye(d) + generator.normal(0, 0.4, (d, d))
    points = np.tensordot(motion, world_points(shape, affine), 1) + 12.0
    if min(shape) == 1:  # nothing can be known across a single plane
        motion = np.eye(d)
        points = world_points(shape, affine)
    expected = np.linalg.det(motion)
    result = jacobian_determinant(points, affine)
    assert np.allclose(result, expected, atol=1e-9)
    summary = summarise_folds(points, affine=affine)
    if min(shape) > 2:
        assert summary.fold_percent == (0 if expected > 0 else 100)
        assert summary.fold_percent_digital == summary.fold_percent
        lost = 100 * max(-expected, 0)
        assert summary.nondiffeomorphic_volume_percent == pytest.approx(lost, abs=1e-6)
        assert summary.sd_log_jacobian == pytest.approx(0, abs=1e-5)
    else:
        assert summary.voxels == 0
        assert set(summary.report().values()) == {None}


def test_known_determinant_of_a_linear_displacement() -> None:
    z, y, x = np.indices((6, 7, 8), dtype=float)
    displacement = np.stack([-1.5 * z, 0.4 * z, 0.7 * y + 0.3 * x])
    points = displacement_points(displacement)
    assert np.allclose(jacobian_determinant(points), -0.65)
    digital = digital_determinants(points)
    assert digital.shape == (10, 4, 5, 6)
    assert np.allclose(digital[:8], -0.65)
    assert np.allclose(digital[8:], -1.3)


def test_identity_has_unit_corners_and_stars_of_two() -> None:
    points = displacement_points(np.zeros((3, 5, 5, 5)))
    digital = digital_determinants(points)
    assert np.array_equal(digital[:8], np.ones((8, 3, 3, 3)))
    assert np.array_equal(digital[8:], np.full((2, 3, 3, 3), 2.0))
    assert digital_determinants(displacement_points(np.zeros((2, 5, 5)))).shape == (4, 3, 3)


@pytest.mark.parametrize("d", [2, 3])
@given(seed=st.integers(0, 10_000), size=st.floats(0.05, 0.6))
def test_positive_one_sided_determinants_imply_positive_central(
    d: int, seed: int, size: float
) -> None:
    field = np.random.default_rng(seed).normal(0, size, (d, *(6,) * d))
    points = displacement_points(field)
    corners = digital_determinants(points)[: 2**d]
    central = jacobian_determinant(points)[(slice(1, -1),) * d]
    assert (central[(corners > 0).all(axis=0)] > 0).all()
    assert np.allclose(central, corners.mean(axis=0))


@given(seed=st.integers(0, 10_000))
def test_tetrahedra_fill_space_twice(seed: int) -> None:
    """Moving inner points moves volume between tetrahedra but neither adds nor removes any."""
    for d, parts in ((2, 4), (3, 12)):
        field = np.zeros((d, *(9,) * d))
        inner = (slice(None), *(slice(2, -2),) * d)
        field[inner] = np.random.default_rng(seed).normal(0, 1.0, field[inner].shape)
        digital = digital_determinants(displacement_points(field))
        assert digital.sum() / parts == pytest.approx(7**d)
        # Every scheme of the two in 3D does so by itself: its corners and its inner tetrahedron.
        negative = np.minimum(digital, 0).sum() / parts
        summary = summarise_folds(displacement_points(field))
        assert summary.nondiffeomorphic_volume_percent == pytest.approx(-100 * negative / 7**d)


@pytest.mark.parametrize("d", [2, 3])
def test_checkerboard_is_seen_only_by_the_digital_criterion(d: int) -> None:
    index = np.indices((8,) * d)
    field = np.zeros((d, *(8,) * d))
    field[0] = 0.6 * (-1.0) ** index.sum(axis=0)
    summary = summarise_folds(displacement_points(field))
    assert summary.fold_percent == 0
    assert summary.fold_percent_digital == 100
    assert summary.nondiffeomorphic_volume_percent is not None
    assert summary.nondiffeomorphic_volume_percent > 5
    assert set(np.unique(summary.folds[(slice(1, -1),) * d])) == {DIGITAL_FOLD}


def test_folds_map_marks_where() -> None:
    field = np.zeros((3, 9, 9, 9))
    field[0, 4:, 4, 4] = -3.0  # planes past 4 run backwards through one line
    summary = summarise_folds(displacement_points(field))
    assert summary.folds[4, 4, 4] == CENTRAL_FOLD
    assert (summary.folds == CENTRAL_FOLD).sum() >= 1
    assert (summary.folds == DIGITAL_FOLD).sum() > 0
    count = 7**3
    assert summary.voxels == count
    assert summary.fold_percent == pytest.approx(100 * (summary.folds == 2).sum() / count)
    assert summary.fold_percent_digital == pytest.approx(100 * (summary.folds > 0).sum() / count)
    assert summary.folds[0].max() == 0


def test_mask_and_outer_ring_do_not_count() -> None:
    field = np.zeros((2, 10, 10))
    field[0, 0] = 1.5  # folds on the outermost ring
    field[0, 7] = 5  # and at a line that the mask leaves out
    mask = np.zeros((10, 10))
    mask[:5] = 1
    summary = summarise_folds(displacement_points(field), mask)
    assert summary.voxels == 4 * 8
    assert summary.fold_percent == 0
    assert (jacobian_determinant(displacement_points(field))[0] < 0).all()
    whole = summarise_folds(displacement_points(field))
    assert whole.fold_percent_digital is not None
    assert whole.fold_percent_digital > 0


def test_spread_of_the_logarithm_under_both_definitions() -> None:
    x = np.linspace(0, 1, 40)[:, None] * np.ones((40, 12))
    points = displacement_points(np.stack([8 * x**2, np.zeros_like(x)]))
    summary = summarise_folds(points)
    values = jacobian_determinant(points)[1:-1, 1:-1]
    assert summary.sd_log_jacobian == pytest.approx(np.log(values).std(), rel=1e-5)
    assert summary.sd_log_jacobian_l2r == pytest.approx(np.log(values + 3).std(), rel=1e-5)
    assert summary.jacobian_min == pytest.approx(values.min())
    assert summary.jacobian_max == pytest.approx(values.max())
    assert summary.jacobian_p01 == pytest.approx(np.percentile(values, 1))
    assert np.allclose(summary.log_jacobian[1:-1, 1:-1], np.log(values), atol=1e-5)


def test_slabs_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    field = np.random.default_rng(0).normal(0, 0.3, (3, 11, 6, 7))
    points = displacement_points(field).astype(np.float32)
    whole = summarise_folds(points)
    monkeypatch.setattr(jacobian, "SLAB_VOXELS", 1)
    planes = summarise_folds(points)
    assert np.array_equal(whole.folds, planes.folds)
    assert np.array_equal(whole.log_jacobian, planes.log_jacobian)
    assert whole.nondiffeomorphic_volume_percent == pytest.approx(
        planes.nondiffeomorphic_volume_percent
    )


def test_ring_has_one_sided_differences() -> None:
    field = np.zeros((2, 6, 6))
    field[0, 0] = 0.25
    determinant = jacobian_determinant(displacement_points(field))
    assert np.allclose(determinant[0], 0.75)
    assert np.allclose(determinant[1], 0.875)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="shape"):
        jacobian_determinant(np.zeros((2, 4, 4, 4)))
    with pytest.raises(InputError, match="singular"):
        jacobian_determinant(np.zeros((2, 4, 4)), np.zeros((4, 4)))
    field = np.zeros((2, 6, 6))
    field[0, 3, 3] = np.nan
    with pytest.raises(InputError, match="not finite"):
        summarise_folds(displacement_points(field))

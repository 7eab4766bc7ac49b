"""Refinement: resolutions, the affine stage, recovery of known maps, folds, masks, cancelling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_gemini.correspondence.affine import (
    AffineMap,
    affine_stride,
    fit_affine,
    optimise_affine,
)
from napari_gemini.correspondence.fold_repair import fold_map, remove_folds
from napari_gemini.correspondence.inverse import inverse_consistency
from napari_gemini.correspondence.refinement import (
    level_strides,
    refine,
    refine_pair,
    steps_per_level,
)
from napari_gemini.correspondence.resampling import (
    enlarge_displacement,
    gaussian_smooth,
    pad_to_multiple,
    shrink,
    shrink_displacement,
    shrink_mask,
)
from napari_gemini.correspondence.velocity import integrate_velocity
from napari_gemini.correspondence.warp import field_of_view_mask, identity_grid, warp
from napari_gemini.errors import InputError
from napari_gemini.progress import Cancelled, SilentReporter
from napari_gemini.settings import LossWeights, RefineSettings

Maker = Callable[..., torch.Tensor]


def texture(shape: tuple[int, ...], seed: int = 0, detail: float = 1.5) -> torch.Tensor:
    """Return a random image with structure of some voxels, in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    image = gaussian_smooth(torch.randn(1, 1, *shape, generator=generator), detail)
    image = image - image.min()
    return image / image.max()


def known_pair(
    shape: tuple[int, ...], size: float, smooth_field: Maker, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return moving, fixed and the displacement that brings moving onto fixed."""
    truth = integrate_velocity(smooth_field(shape, size, seed))
    moving = texture(shape, seed)
    return moving, warp(moving, truth, padding="border"), truth


def error_inside(u: torch.Tensor, truth: torch.Tensor, margin: int = 3) -> float:
    inner = (..., *(slice(margin, -margin),) * (u.ndim - 2))
    mask = field_of_view_mask(truth)[inner] > 0
    return float((u - truth)[inner].norm(dim=1, keepdim=True)[mask].mean())


class Recorder(SilentReporter):
    """Keeps what it is told and can cancel after some steps."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.steps: list[tuple[int, int, dict[str, float]]] = []
        self.messages: list[str] = []
        self.stop_after = stop_after

    def progress(self, done: int, total: int, message: str = "", **values: float) -> None:
        self.steps.append((done, total, values))

    def log(self, message: str, level: str = "info") -> None:
        self.messages.append(f"{level}: {message}")

    def cancelled(self) -> bool:
        return self.stop_after is not None and len(self.steps) >= self.stop_after


# Resolutions ------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 100),
    factor=st.sampled_from([2, 4]),
    shape=st.sampled_from([(3, 4), (2, 3, 4)]),
)
def test_enlarged_affine_displacements_stay_affine(
    seed: int, factor: int, shape: tuple[int, ...]
) -> None:
    """Block averages and enlarging agree on where a coarse voxel lies."""
    d = len(shape)
    generator = torch.Generator().manual_seed(seed)
    fine_shape = tuple(2 * factor * size for size in shape)
    affine = AffineMap(
        torch.eye(d) + 0.1 * torch.randn(d, d, generator=generator),
        torch.randn(d, generator=generator),
        fine_shape,
    )
    fine_grid = identity_grid(fine_shape)
    fine = affine.apply(fine_grid) - fine_grid
    coarse_grid = identity_grid(tuple(2 * size for size in shape))
    coarse = affine.apply(coarse_grid, factor) - coarse_grid
    assert torch.allclose(shrink_displacement(fine, factor), coarse, atol=1e-4)
    back = enlarge_displacement(coarse, factor)
    inner = (..., *(slice(factor, -factor),) * d)
    assert torch.allclose(back[inner], fine[inner], atol=1e-4)


def test_smoothing_keeps_constants_and_spreads_a_point() -> None:
    assert torch.allclose(gaussian_smooth(torch.full((1, 2, 9, 8), 3.0), 1.3), torch.tensor(3.0))
    point = torch.zeros(1, 1, 21, 21, 21)
    point[..., 10, 10, 10] = 1
    spread = gaussian_smooth(point, 1.5)
    assert spread.sum() == pytest.approx(1, abs=1e-5)
    points = identity_grid((21, 21, 21)) - 10
    variance = (spread * points**2).sum((2, 3, 4)).flatten()
    assert torch.allclose(variance, torch.full((3,), 1.5**2), atol=0.1)
    assert gaussian_smooth(point, 0) is point


def test_masks_shrink_to_any_and_padding_repeats() -> None:
    mask = torch.zeros(1, 1, 4, 6)
    mask[..., 1, 2] = 5
    assert shrink_mask(mask, 2)[0, 0].tolist() == [[0, 1, 0], [0, 0, 0]]
    assert torch.equal(shrink_mask(mask, 1), (mask > 0).float())
    assert shrink(mask, 1) is mask
    assert enlarge_displacement(mask, 1) is mask
    padded = pad_to_multiple(torch.arange(6.0).reshape(1, 1, 2, 3), 4)
    assert padded.shape == (1, 1, 4, 4)
    assert padded[0, 0, 3].tolist() == [3, 4, 5, 5]
    assert pad_to_multiple(mask, 2) is mask


def test_levels_fit_the_grid() -> None:
    settings = RefineSettings(levels=3)
    assert level_strides((48, 64, 48), settings) == (4, 2, 1)
    assert level_strides((160, 192, 176), settings) == (8, 4, 2)
    assert level_strides((16, 64, 64), settings) == (2, 1)
    assert level_strides((6, 6), settings) == (1,)
    assert steps_per_level(100, 3) == (37, 36, 27)
    assert steps_per_level(7, 1) == (7,)
    for steps in range(12):
        assert sum(steps_per_level(steps, 3)) == steps


# Affine stage -----------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [2, 3])
def test_affine_map_inverts_and_is_fitted_exactly(d: int) -> None:
    shape = (20, 24, 16)[:d]
    matrix = torch.eye(d) + 0.1 * torch.randn(d, d, generator=torch.Generator().manual_seed(1))
    affine = AffineMap(matrix, torch.arange(1.0, d + 1), shape)
    grid = identity_grid(shape)
    assert torch.allclose(affine.inverse().apply(affine.apply(grid)), grid, atol=1e-4)
    fitted = fit_affine(affine.apply(grid) - grid)
    assert torch.allclose(fitted.matrix, matrix, atol=1e-4)
    assert torch.allclose(fitted.shift, affine.shift, atol=1e-3)
    # Voxels of no weight may hold anything.
    spoiled = affine.apply(grid) - grid
    weight = torch.ones(1, 1, *shape)
    spoiled[..., :4] += 50
    weight[..., :4] = 0
    assert torch.allclose(fit_affine(spoiled, weight).matrix, matrix, atol=1e-4)


def test_implausible_maps_are_not_taken() -> None:
    mirror = AffineMap(torch.diag(torch.tensor([-1.0, 1.0])), torch.zeros(2), (8, 8))
    assert not mirror.plausible()
    grid = identity_grid((8, 8))
    assert torch.equal(fit_affine(mirror.apply(grid) - grid).matrix, torch.eye(2))
    assert not AffineMap(3 * torch.eye(2), torch.zeros(2), (8, 8)).plausible()
    assert not AffineMap(torch.eye(2), torch.tensor([torch.nan, 0]), (8, 8)).plausible()
    assert affine_stride((48, 64, 48)) == 4
    assert affine_stride((160, 192, 176)) == 8
    assert affine_stride((20, 20)) == 1


@pytest.mark.parametrize("shape", [(48, 64), (32, 40, 32)])
def test_affine_stage_finds_a_shift_and_a_stretch(shape: tuple[int, ...]) -> None:
    d = len(shape)
    moving = texture(shape, 3, detail=3.0)
    matrix = torch.eye(d)
    matrix[0, 0], matrix[0, 1] = 1.08, 0.06
    truth = AffineMap(matrix, torch.tensor([3.0, -4.0, 2.0][:d]), shape)
    grid = identity_grid(shape)
    fixed = warp(moving, truth.apply(grid) - grid)
    found = optimise_affine(moving, fixed, steps=60, reporter=SilentReporter())
    before = (truth.apply(grid) - grid).norm(dim=1).mean()
    after = (truth.apply(grid) - found.apply(grid)).norm(dim=1).mean()
    assert after < 0.2 * before
    same = optimise_affine(moving, fixed, steps=0, reporter=SilentReporter())
    assert torch.equal(same.matrix, torch.eye(d))


# Refinement -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(48, 56), (24, 32, 24)])
@pytest.mark.parametrize(
    "options",
    [{}, {"symmetric": False}, {"velocity_steps": 0}, {"velocity_steps": 0, "symmetric": False}],
)
def test_a_known_map_is_recovered_in_every_mode(
    shape: tuple[int, ...], options: dict[str, Any], smooth_field: Maker
) -> None:
    moving, fixed, truth = known_pair(shape, 1.5, smooth_field)
    reporter = Recorder()
    settings = RefineSettings(steps=60, affine_steps=20, **options)
    result = refine_pair(moving, fixed, settings=settings, reporter=reporter)
    before = error_inside(torch.zeros_like(truth), truth)
    assert error_inside(result.displacement, truth) < 0.4 * before
    assert result.fold_percent_digital == 0
    assert fold_map(result.displacement)[1] == 0
    assert fold_map(result.inverse)[1] == 0
    error, mask = inverse_consistency(result.displacement, result.inverse)
    assert float(error[mask > 0].mean()) < (0.2 if settings.velocity_steps else 0.6)
    assert len(result.history) == 60
    assert result.history[-1]["gvs"] < result.history[0]["gvs"]
    assert [done for done, _, _ in reporter.steps] == list(range(1, 61))
    assert reporter.steps[-1][1] == 60
    assert set(reporter.steps[-1][2]) == {"loss", "gvs", "smooth"}


def test_same_input_same_output(smooth_field: Maker) -> None:
    moving, fixed, _ = known_pair((32, 32), 1.0, smooth_field)
    settings = RefineSettings(steps=9)
    first = refine(moving, fixed, settings=settings)
    assert torch.equal(first, refine(moving, fixed, settings=settings))


def test_a_starting_field_is_kept_and_improved(smooth_field: Maker) -> None:
    moving, fixed, truth = known_pair((48, 48), 2.0, smooth_field, seed=4)
    rough = 0.7 * truth
    untouched = refine(moving, fixed, initial=rough, settings=RefineSettings(steps=0))
    assert error_inside(untouched, rough) < 0.1
    refined = refine(moving, fixed, initial=rough, settings=RefineSettings(steps=20))
    assert error_inside(refined, truth) < 0.7 * error_inside(rough, truth)
    plain = RefineSettings(steps=0, velocity_steps=0)
    assert error_inside(refine(moving, fixed, initial=rough, settings=plain), rough) < 0.15


def test_a_folded_start_comes_back_unfolded() -> None:
    moving = texture((32, 32))
    initial = torch.zeros(1, 2, 32, 32)
    initial[:, 0, 12:20] = torch.linspace(6, -6, 8).reshape(8, 1)
    assert fold_map(initial)[1] > 1
    result = refine_pair(moving, moving, initial=initial, settings=RefineSettings(steps=6))
    assert result.fold_percent_digital == 0


def test_features_take_part(smooth_field: Maker) -> None:
    """Images that say nothing: only features can find the map."""
    shape = (48, 48)
    _, _, truth = known_pair(shape, 1.5, smooth_field, seed=2)
    generator = torch.Generator().manual_seed(0)
    features = gaussian_smooth(torch.randn(1, 6, *shape, generator=generator), 3.0)
    flat = torch.zeros(1, 1, *shape)
    warped = warp(features, truth, padding="border")
    reporter = Recorder()
    u = refine(
        flat, flat, None, (features, warped), RefineSettings(steps=80, levels=2), None, reporter
    )
    before = error_inside(torch.zeros_like(truth), truth)
    assert error_inside(u, truth) < 0.5 * before
    assert "gss" in reporter.steps[-1][2]
    only = RefineSettings(steps=2, weights=LossWeights(gvs=0))
    refine(flat, flat, None, (features, warped), only, None, reporter)
    assert set(reporter.steps[-1][2]) == {"loss", "gss", "smooth"}


def test_features_of_an_inference_tensor_in_bf16(smooth_field: Maker) -> None:
    moving, fixed, _ = known_pair((32, 32), 1.0, smooth_field)
    with torch.inference_mode():
        features = torch.rand(1, 3, 32, 32).bfloat16(), torch.rand(1, 3, 32, 32).bfloat16()
        start = torch.zeros(1, 2, 32, 32)
        u = refine(moving.clone(), fixed.clone(), start, features, RefineSettings(steps=3))
    assert torch.isfinite(u).all()


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_an_ignored_lesion_does_not_pull(side: str, smooth_field: Maker) -> None:
    """What lies under the mask may change at will without changing the result."""
    moving, fixed, _ = known_pair((40, 40), 1.0, smooth_field)
    lesion = torch.zeros(1, 1, 40, 40)
    lesion[..., 15:23, 16:24] = 1
    spoiled = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    settings = RefineSettings(steps=12, levels=1, affine_steps=10)
    results = []
    for value in (0.0, spoiled):
        images = {"fixed": fixed, "moving": moving}
        images[side] = torch.where(lesion > 0, value, images[side])
        mask = {"ignore_mask": lesion} if side == "fixed" else {"ignore_moving": lesion}
        results.append(
            refine_pair(images["moving"], images["fixed"], settings=settings, **mask).displacement
        )
    assert torch.allclose(*results, atol=1e-3)


@pytest.mark.parametrize("shape", [(37, 45), (21, 26, 19)])
def test_any_shape_works(shape: tuple[int, ...], smooth_field: Maker) -> None:
    moving, fixed, truth = known_pair(shape, 1.0, smooth_field)
    result = refine_pair(moving, fixed, settings=RefineSettings(steps=40))
    assert result.displacement.shape == truth.shape
    assert result.inverse.shape == truth.shape
    before = error_inside(torch.zeros_like(truth), truth)
    assert error_inside(result.displacement, truth) < 0.6 * before


def test_large_volumes_stop_at_half_resolution(
    monkeypatch: pytest.MonkeyPatch, smooth_field: Maker
) -> None:
    from napari_gemini.correspondence import refinement

    monkeypatch.setattr(refinement, "FULL_RESOLUTION_VOXELS", {2: 1000, 3: 1000})
    moving, fixed, truth = known_pair((48, 48), 1.5, smooth_field)
    assert level_strides((48, 48), RefineSettings()) == (4, 2)
    u = refine(moving, fixed, settings=RefineSettings(steps=60))
    assert error_inside(u, truth) < 0.5 * error_inside(torch.zeros_like(truth), truth)


@pytest.mark.parametrize("after", [0, 5])
def test_cancelling_stops_at_once(after: int, smooth_field: Maker) -> None:
    moving, fixed, _ = known_pair((32, 32), 1.0, smooth_field)
    reporter = Recorder(stop_after=after)
    with pytest.raises(Cancelled):
        refine(moving, fixed, reporter=reporter)
    assert len(reporter.steps) == after


def test_bad_input_is_refused() -> None:
    image = torch.zeros(1, 1, 16, 16)
    with pytest.raises(InputError, match="one pair of images"):
        refine(image, torch.zeros(1, 1, 16, 17))
    with pytest.raises(InputError, match="starting displacement"):
        refine(image, image, torch.zeros(1, 2, 8, 8))
    with pytest.raises(InputError, match="features of a pair"):
        refine(image, image, None, (torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 16, 16)))


# Folds ------------------------------------------------------------------------------------------


def plain_maps(parameter: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return parameter, -parameter


def test_folds_are_smoothed_away_where_they_are() -> None:
    field = torch.zeros(1, 2, 40, 40)
    field[:, 0, 8, 8] = 3.0
    field[:, 1, 28:36] = 0.1
    reporter = Recorder()
    result = remove_folds(field, plain_maps, 0.0, reporter)
    assert result.fold_percent == 0
    assert result.rounds > 0
    assert torch.allclose(result.there[..., 30:34, 28:], field[..., 30:34, 28:], atol=1e-3)
    assert "Smoothed the map" in reporter.messages[0]


def test_a_limit_above_zero_is_respected() -> None:
    field = torch.zeros(1, 2, 40, 40)
    field[:, 0, 8, 8] = 3.0
    result = remove_folds(field, plain_maps, 50.0, Recorder())
    assert result.rounds == 0
    assert 0 < result.fold_percent < 50


def test_what_cannot_be_mended_is_reported() -> None:
    folded = torch.zeros(1, 2, 12, 12)
    folded[:, 0, 6] = 4.0
    reporter = Recorder()
    result = remove_folds(torch.zeros(1, 2, 4, 4), lambda _: (folded, folded), 0.0, reporter)
    assert result.fold_percent > 0
    assert result.rounds == 20
    assert "Folds remain" in reporter.messages[0]


def test_a_hopeless_field_is_weakened_until_it_fits() -> None:
    generator = torch.Generator().manual_seed(0)
    field = 30 * torch.randn(1, 2, 24, 24, generator=generator)
    result = remove_folds(field, plain_maps, 0.0, SilentReporter())
    assert result.fold_percent == 0

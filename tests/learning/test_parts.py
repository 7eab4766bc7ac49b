"""Augmentation, sampling, the segmentation loss and the cohort, against known values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_gemini.errors import InputError, StudyError
from napari_gemini.learning.augmentation import (
    AffineDraw,
    change_intensity,
    combine,
    deform_grid,
    draw_affine,
    resample,
    sampling_grid,
)
from napari_gemini.learning.cohort import assemble
from napari_gemini.learning.objectives.base import LabelledBatches, PairBatches
from napari_gemini.learning.objectives.registry import objective_class
from napari_gemini.learning.sampling import PairSampler, draw_cases
from napari_gemini.learning.segmentation_loss import segmentation_loss, soft_dice_loss
from napari_gemini.settings import AugmentationSettings
from napari_gemini.study.scheme import IGNORE_INDEX
from tests.learning.helpers import tiny_cohort, tiny_settings


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _draw(linear: list[list[float]], shift: list[float]) -> AffineDraw:
    return AffineDraw(
        torch.tensor([linear], dtype=torch.float64), torch.tensor([shift], dtype=torch.float64)
    )


@pytest.mark.parametrize("shape", [(16, 16), (16, 48), (16, 32, 48)])
def test_no_augmentation_is_the_identity(shape: tuple[int, ...]) -> None:
    settings = AugmentationSettings(rotation_degrees=0, scale_range=0)
    image = torch.rand(2, 1, *shape)
    grid = sampling_grid(draw_affine(_generator(), settings, shape, 2), shape, image)
    assert torch.allclose(resample(image, grid), image, atol=1e-5)


def test_half_a_turn_about_the_true_centre_reverses_both_axes() -> None:
    image = torch.rand(1, 1, 16, 48)
    grid = sampling_grid(_draw([[-1, 0], [0, -1]], [0, 0]), (16, 48), image)
    assert torch.allclose(resample(image, grid), image.flip(2, 3), atol=1e-4)


def test_a_quarter_turn_stays_a_rotation_where_the_grid_is_no_cube() -> None:
    image = torch.zeros(1, 1, 17, 33)
    image[0, 0, 8, 20] = 1  # 4 voxels from the centre along the second axis
    # Position p is sampled at M p: with M = [[0, -1], [1, 0]], (4, 0) is sampled at (0, 4).
    grid = sampling_grid(_draw([[0, -1], [1, 0]], [0, 0]), (17, 33), image)
    turned = resample(image, grid)
    assert tuple(np.unravel_index(int(turned.argmax()), turned.shape))[2:] == (12, 16)


def test_translation_is_in_voxels() -> None:
    image = torch.rand(1, 1, 16, 48)
    grid = sampling_grid(_draw([[1, 0], [0, 1]], [2, -3]), (16, 48), image)
    moved = resample(image, grid)
    assert torch.allclose(moved[..., :14, 3:], image[..., 2:, :-3], atol=1e-4)


@given(seed=st.integers(0, 1000), dimension=st.sampled_from([2, 3]))
def test_drawn_maps_stay_within_the_stated_ranges(seed: int, dimension: int) -> None:
    settings = AugmentationSettings(rotation_degrees=20, scale_range=0.25)
    draw = draw_affine(_generator(seed), settings, (32,) * dimension, 3)
    scale = torch.linalg.det(draw.linear).abs() ** (1 / dimension)
    assert bool(((scale >= 0.75 - 1e-9) & (scale <= 1.25 + 1e-9)).all())
    if dimension == 2:
        angle = torch.atan2(draw.linear[:, 1, 0], draw.linear[:, 0, 0])
        assert bool((angle.abs() <= math.radians(20) + 1e-9).all())
    identity = torch.eye(dimension, dtype=torch.float64)
    product = draw.linear @ draw.linear.transpose(1, 2) / (scale**2)[:, None, None]
    assert torch.allclose(product, identity.expand_as(product), atol=1e-9)


def test_a_field_goes_on_from_where_the_affine_map_samples() -> None:
    image = torch.rand(1, 1, 16, 48)
    field = torch.zeros(1, 2, 16, 48)
    field[:, 0], field[:, 1] = 3, -2
    grid = deform_grid(sampling_grid(_draw([[1, 0], [0, 1]], [1, 0]), (16, 48), image), field)
    moved = resample(image, grid)
    assert torch.allclose(moved[..., :12, 2:], image[..., 4:, :-2], atol=1e-4)


def test_combined_maps_sample_one_after_the_other() -> None:
    first, second = _draw([[0, -1], [1, 0]], [1, 2]), _draw([[2, 0], [0, 2]], [3, 4])
    point = torch.tensor([5.0, 6.0], dtype=torch.float64)
    inner = second.linear[0] @ point + second.translation[0]
    outer = first.linear[0] @ inner + first.translation[0]
    both = combine(first, second)
    assert torch.allclose(both.linear[0] @ point + both.translation[0], outer)


def test_intensity_changes_stay_in_range_and_are_off_by_default() -> None:
    image = torch.rand(3, 1, 16, 16)
    assert change_intensity(image, _generator(), AugmentationSettings()) is image
    changed = change_intensity(image, _generator(), AugmentationSettings(gamma=0.5, noise=0.2))
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1
    assert not torch.allclose(changed, image)


@given(seed=st.integers(0, 500), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_pairs_never_join_a_scan_with_itself_or_another_group(seed: int, sizes: list[int]) -> None:
    groups: list[str | None] = [f"g{k}" for k, size in enumerate(sizes) for _ in range(size)]
    if min(sizes) < 2:
        with pytest.raises(StudyError, match="partner"):
            PairSampler(groups)
        return
    for first, second in PairSampler(groups).draw(20, _generator(seed)):
        assert first != second
        assert groups[first] == groups[second]


def test_every_case_is_drawn_equally_often() -> None:
    sampler = PairSampler([None] * 5)
    counts = np.bincount(np.ravel(sampler.draw(4000, _generator())), minlength=5) / 8000
    assert counts == pytest.approx(np.full(5, 0.2), abs=0.02)


def test_labelled_cases_do_not_repeat_while_there_are_enough() -> None:
    assert sorted(draw_cases([3, 5, 7], 3, _generator())) == [3, 5, 7]
    assert len(draw_cases([3], 2, _generator())) == 2


def test_dice_loss_is_zero_for_a_perfect_and_known_for_a_half_answer() -> None:
    target = torch.zeros(1, 1, 10, 10)
    target[..., :5] = 1
    assert float(soft_dice_loss(target, target)) == pytest.approx(0, abs=1e-6)
    half = target * 0.5
    expected = 1 - (2 * 25 + 1) / (50 + 12.5 + 1)
    assert float(soft_dice_loss(half, target)) == pytest.approx(expected)


def test_segmentation_loss_at_even_odds_is_log_of_classes_plus_dice() -> None:
    logits = torch.zeros(1, 2, 8, 8)
    target = torch.zeros(1, 8, 8, dtype=torch.long)
    background = 1 - (2 * 32 + 1) / (64 + 16 + 1)
    foreground = 1 - 1 / (16 + 1)
    expected = math.log(2) + (background + foreground) / 2
    assert float(segmentation_loss(logits, target)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("overlapping", [False, True])
def test_ignored_voxels_change_neither_loss_nor_gradient(overlapping: bool) -> None:
    shape = (1, 2, 8, 8)
    target = torch.randint(0, 2, shape if overlapping else (1, 8, 8), generator=_generator())
    target[..., :4] = IGNORE_INDEX
    logits = torch.randn(shape, generator=_generator()).requires_grad_()
    loss = segmentation_loss(logits, target, overlapping=overlapping, ignore=IGNORE_INDEX)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert float(gradient[..., :4].abs().max()) == 0
    assert float(gradient[..., 4:].abs().max()) > 0
    other = logits.detach().clone()
    other[..., :4] = 50
    again = segmentation_loss(other, target, overlapping=overlapping, ignore=IGNORE_INDEX)
    assert float(again) == pytest.approx(float(loss.detach()))


def test_overlapping_labels_may_both_be_right() -> None:
    masks = torch.ones(1, 2, 4, 4, dtype=torch.long)
    confident = torch.full((1, 2, 4, 4), 20.0)
    assert float(segmentation_loss(confident, masks, overlapping=True)) < 1e-3


def test_images_and_labels_are_augmented_alike() -> None:
    cohort = tiny_cohort(labelled=4)
    settings = tiny_settings(labelled_per_step=4)
    images, target = LabelledBatches(cohort, settings).draw(_generator())
    inside = images[:, 0][target == 1]
    outside = images[:, 0][target == 0]
    assert float(inside.mean()) > 0.7
    assert float(outside.mean()) < 0.3


def test_both_scans_of_a_pair_get_the_same_map_unless_jittered() -> None:
    cohort = tiny_cohort(count=2)
    cohort.images[1] = cohort.images[0]
    same = PairBatches(cohort, tiny_settings()).draw(_generator())
    assert torch.equal(same.first, same.second)
    settings = tiny_settings(augmentation=AugmentationSettings(pair_jitter=0.5))
    jittered = PairBatches(cohort, settings).draw(_generator())
    assert not torch.allclose(jittered.first, jittered.second, atol=0.05)


def test_cohorts_too_small_or_unknown_objectives_are_refused() -> None:
    with pytest.raises(StudyError, match="at least two scans"):
        assemble(["a"], [np.zeros((16, 16))], {})
    with pytest.raises(InputError, match="gemini-semi"):
        objective_class("magic")

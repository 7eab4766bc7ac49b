"""Scans in two contrasts: how they are told from scans in one, and that they are matched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from napari_gemini.correspondence.affine import optimise_affine
from napari_gemini.correspondence.contrast import (
    correlation_ratio,
    foreground,
    histogram_distance,
    in_one_contrast,
    suiting_similarity,
)
from napari_gemini.correspondence.pair import match_pair
from napari_gemini.correspondence.refinement import refine_pair
from napari_gemini.correspondence.resampling import broadcast_vector, gaussian_smooth
from napari_gemini.correspondence.velocity import integrate_velocity
from napari_gemini.correspondence.warp import warp
from napari_gemini.networks.gemini import build_network
from napari_gemini.phantom.random_cohort import random_groups
from napari_gemini.progress import Cancelled, SilentReporter
from napari_gemini.settings import NetworkSettings, RefineSettings

Maker = Callable[..., torch.Tensor]
#: Histograms that say nothing for one contrast.
FAR = 1.0


class Listener(SilentReporter):
    """Keeps what is said; asks to stop after some looks, where told to."""

    def __init__(self, looks: int | None = None) -> None:
        self.said: list[str] = []
        self.counted: list[int] = []
        self.looks = looks

    def progress(self, done: int, total: int, message: str = "", **values: float) -> None:
        self.counted.append(done)

    def log(self, message: str, level: str = "info") -> None:
        self.said.append(message)

    def cancelled(self) -> bool:
        if self.looks is not None:
            self.looks -= 1
        return self.looks is not None and self.looks < 0


def anatomies(dimension: int, smooth_field: Maker, kind: str) -> tuple[torch.Tensor, ...]:
    """Return moving, fixed, the true displacement and the fixed tissues of a random anatomy."""
    size = {2: 64, 3: 40}[dimension]
    (group,) = random_groups(1, 2, dimension, size, seed=2)
    labels = torch.from_numpy(group.cases[0].labels.data.astype(np.int64))[None, None]
    truth = integrate_velocity(smooth_field(tuple(labels.shape[2:]), 2.0, 1))
    moved = warp(labels.float(), truth, mode="nearest", padding="border").long()
    count = int(labels.max()) + 1
    greys = [
        torch.rand(count, generator=torch.Generator().manual_seed(seed))
        for seed in ((0, 0) if kind == "one" else (0, 5))
    ]
    images = []
    for seed, (tissues, grey) in enumerate(zip((labels, moved), greys, strict=True)):
        noise = torch.randn(tissues.shape, generator=torch.Generator().manual_seed(seed))
        image = gaussian_smooth(torch.where(tissues > 0, grey[tissues], 0.0), 0.7)
        images.append((image + 0.02 * noise).clamp(0, 1))
    return images[0], images[1], truth, moved


def error(u: torch.Tensor, truth: torch.Tensor, tissues: torch.Tensor) -> float:
    """Mean error where anything can be told: at the borders of tissues."""
    pool = torch.nn.functional.max_pool2d if u.ndim == 4 else torch.nn.functional.max_pool3d
    values = tissues.float()
    border = pool(values, 3, stride=1, padding=1) != -pool(-values, 3, stride=1, padding=1)
    return float((u - truth).norm(dim=1, keepdim=True)[border].mean())


# -- telling contrasts apart -----------------------------------------------------------------------


def test_the_correlation_ratio_of_groups_is_that_of_their_means() -> None:
    by = torch.arange(16.0).repeat_interleave(50)
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(16, generator=generator).repeat_interleave(50)
    values = values + 0.3 * torch.randn(800, generator=generator)
    means = values.reshape(16, 50).mean(1)
    between = float(((means - values.mean()) ** 2).mean() / values.var(correction=0))
    assert correlation_ratio(values, by) == pytest.approx(between, abs=0.02)
    assert correlation_ratio(by**2, by) > 0.99
    assert correlation_ratio(torch.randn(5000, generator=generator), torch.rand(5000)) < 0.02
    assert correlation_ratio(torch.ones(9), torch.arange(9.0)) == 0


@pytest.mark.parametrize(
    ("change", "one"),
    [
        (lambda x: 0.5 * x + 0.2, True),
        (lambda x: x**1.3, True),
        (lambda x: 1 - x, False),
        (lambda x: (x - 0.5).abs(), False),
        (lambda x: torch.full_like(x, 0.5), False),
    ],
    ids=["brighter", "gamma", "inverted", "neither", "nothing"],
)
def test_grey_values_of_one_contrast_rise_together(
    change: Callable[[torch.Tensor], torch.Tensor], one: bool
) -> None:
    generator = torch.Generator().manual_seed(1)
    first = torch.rand(4000, generator=generator)
    second = change(first) + 0.05 * torch.randn(4000, generator=generator)
    assert in_one_contrast(torch.stack([first, second]), FAR) is one
    assert in_one_contrast(torch.stack([second, first]), FAR) is one


def test_scans_that_do_not_lie_on_each_other_are_told_by_their_histograms() -> None:
    first, second = torch.rand(2, 4000, generator=torch.Generator().manual_seed(1))
    unrelated = torch.stack([first, second])
    assert in_one_contrast(unrelated, 0.0)
    assert not in_one_contrast(unrelated, FAR)
    assert not in_one_contrast(torch.stack([first, 1 - first]), 0.0), "alike, but opposed"
    for nothing in (torch.zeros(2, 0), torch.zeros(2, 1)):
        assert in_one_contrast(nothing, 0.0)
        assert not in_one_contrast(nothing, FAR)


def test_the_distance_of_histograms_is_that_of_equally_frequent_values() -> None:
    values = torch.linspace(0, 1, 1001)
    assert histogram_distance(values, values.flip(0)) == 0
    assert histogram_distance(values, values[::2] + 0.2) == pytest.approx(0.2, abs=1e-3)
    assert histogram_distance(values, 0.5 * values) == pytest.approx(0.25, abs=1e-3)
    assert histogram_distance(values, values[:0]) == 1
    many = torch.rand(300_000, generator=torch.Generator().manual_seed(0))
    assert histogram_distance(many, values) < 0.01


def test_background_and_what_is_ignored_are_in_no_histogram() -> None:
    image = torch.tensor([[[[0.0, 0.05, 0.2], [0.4, 0.6, 0.9]]]])
    ignore = torch.tensor([[[[0, 0, 0], [0, 0, 1]]]])
    assert foreground(image, None).tolist() == pytest.approx([0.2, 0.4, 0.6, 0.9])
    assert foreground(image, ignore).tolist() == pytest.approx([0.2, 0.4, 0.6])


# -- matching --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension", [2, 3])
def test_two_contrasts_are_seen_and_matched(dimension: int, smooth_field: Maker) -> None:
    moving, fixed, truth, tissues = anatomies(dimension, smooth_field, "two")
    listener = Listener()
    found = match_pair(None, moving, fixed, refine=60, reporter=listener)
    assert found.similarity == "self-similarity"
    before = error(torch.zeros_like(truth), truth, tissues)
    after = error(found.u_fixed_to_moving, truth, tissues)
    assert after < 0.8 * before
    misled = match_pair(None, moving, fixed, refine=60, similarity="correlation")
    assert misled.similarity == "correlation"
    assert after < 0.5 * error(misled.u_fixed_to_moving, truth, tissues)


@pytest.mark.parametrize("dimension", [2, 3])
def test_one_contrast_is_compared_by_correlation(dimension: int, smooth_field: Maker) -> None:
    """And the look at the contrasts changes nothing of the match and its progress."""
    moving, fixed, *_ = anatomies(dimension, smooth_field, "one")
    listener, plain = Listener(), Listener()
    found = match_pair(None, moving, fixed, refine=30, reporter=listener)
    asked = match_pair(None, moving, fixed, refine=30, similarity="correlation", reporter=plain)
    assert found.similarity == "correlation"
    assert torch.equal(found.u_fixed_to_moving, asked.u_fixed_to_moving)
    assert listener.counted == plain.counted


def test_without_refinement_nothing_is_compared(smooth_field: Maker) -> None:
    moving, fixed, *_ = anatomies(2, smooth_field, "two")
    assert match_pair(None, moving, fixed).similarity is None


def test_a_network_takes_no_part_in_two_contrasts(smooth_field: Maker) -> None:
    moving, fixed, *_ = anatomies(2, smooth_field, "two")
    network = build_network(NetworkSettings(dimension=2, base_width=4))
    same = {}
    for similarity in ("self-similarity", "correlation"):
        with_it, without = (
            match_pair(n, moving, fixed, refine=3, similarity=similarity) for n in (network, None)
        )
        same[similarity] = torch.equal(with_it.u_fixed_to_moving, without.u_fixed_to_moving)
        assert with_it.gss is not None, "its features are compared all the same"
    assert same == {"self-similarity": True, "correlation": False}


@pytest.mark.parametrize("dimension", [2, 3])
def test_the_affine_stage_finds_a_shift_between_two_contrasts(
    dimension: int, smooth_field: Maker
) -> None:
    moving, fixed, *_ = anatomies(dimension, lambda shape, *_: smooth_field(shape, 0.0), "two")
    shift = torch.tensor([4.0, -3.0, 2.0][:dimension])
    away = torch.ones(1, dimension, *fixed.shape[2:]) * broadcast_vector(shift, dimension)
    found = optimise_affine(
        moving,
        warp(fixed, away, padding="border"),
        similarity="self-similarity",
        reporter=SilentReporter(),
    )
    assert torch.allclose(found.shift, shift, atol=0.7)


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_an_ignored_lesion_does_not_pull(side: str, smooth_field: Maker) -> None:
    """What lies under the mask is in no descriptor that counts."""
    moving, fixed, *_ = anatomies(2, smooth_field, "two")
    lesion = torch.zeros_like(fixed)
    lesion[..., 20:30, 26:34] = 1
    spoiled = torch.rand(fixed.shape, generator=torch.Generator().manual_seed(0))
    settings = RefineSettings(similarity="self-similarity", steps=12, levels=1, affine_steps=10)
    fields = []
    for mask in ({"ignore_mask": lesion} if side == "fixed" else {"ignore_moving": lesion}, {}):
        for value in (torch.full_like(spoiled, 0.5), spoiled):
            images = {"fixed": fixed, "moving": moving}
            images[side] = torch.where(lesion > 0, value, images[side])
            fields.append(refine_pair(images["moving"], images["fixed"], settings=settings, **mask))
    ignored, seen = (
        float((a.displacement - b.displacement).abs().max()) for a, b in (fields[:2], fields[2:])
    )
    assert ignored < 1e-3 < seen


def test_the_look_at_the_contrasts_can_be_stopped(smooth_field: Maker) -> None:
    moving, fixed, *_ = anatomies(2, smooth_field, "two")
    with pytest.raises(Cancelled):
        suiting_similarity(moving, fixed, reporter=Listener(looks=3))

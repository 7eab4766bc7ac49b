"""Pix2Rep: the two losses by hand, matching pixels of two views, nothing from outside."""

from __future__ import annotations

import math

import pytest
import torch

from napari_gemini.learning.augmentation import resample, sampling_grid
from napari_gemini.learning.objectives.pix2rep import (
    PixelObjective,
    barlow_twins,
    cross_correlation,
    info_nce,
    sample_at,
)
from napari_gemini.learning.objectives.registry import objective_class
from napari_gemini.learning.objectives.views import draw_pixel_view, pick_visible, visible
from napari_gemini.networks.gemini import build_network
from napari_gemini.settings import NetworkSettings, PixelSettings
from tests.learning.objectives.helpers import (
    Curve,
    pretrainer,
    pretraining_settings,
    textured_cohort,
)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_contrast_of_orthogonal_pairs_has_its_closed_form() -> None:
    vectors = torch.eye(6)[:4]
    tau = 0.53
    # One positive of cosine 1 and six negatives of cosine 0 for each of the eight vectors.
    expected = -math.log(math.exp(1 / tau) / (math.exp(1 / tau) + 6))
    assert float(info_nce(vectors, 3 * vectors, tau)) == pytest.approx(expected, rel=1e-5)
    assert float(info_nce(vectors, vectors.roll(1, 0), tau)) > expected + 1


def test_contrast_equals_the_sum_written_out() -> None:
    first, second = torch.randn(3, 5), torch.randn(3, 5)
    both = torch.nn.functional.normalize(torch.cat([first, second]), dim=1)
    total = 0.0
    for i in range(6):
        scores = {j: math.exp(float(both[i] @ both[j]) / 0.2) for j in range(6) if j != i}
        total -= math.log(scores[(i + 3) % 6] / sum(scores.values())) / 6
    assert float(info_nce(first, second, 0.2)) == pytest.approx(total, rel=1e-4)


def test_barlow_twins_wants_the_identity() -> None:
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(50, 3) - torch.randn(50, 3).mean(0))[0]
    basis = basis - basis.mean(0)
    white = basis @ torch.linalg.inv(torch.linalg.cholesky(basis.T @ basis)).T
    assert float(barlow_twins(white, 5 * white + 2, 5e-3)) == pytest.approx(0, abs=1e-4)
    first, second = torch.randn(20, 3), torch.randn(20, 3)
    matrix = cross_correlation(first, second)
    by_hand = torch.corrcoef(torch.cat([first.T, second.T]))[:3, 3:]
    assert torch.allclose(matrix, by_hand, atol=1e-4)
    loss = sum(
        float((1 - matrix[i, j]) ** 2 if i == j else 0.1 * matrix[i, j] ** 2)
        for i in range(3)
        for j in range(3)
    )
    assert float(barlow_twins(first, second, 0.1)) == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("shape", [(24, 40), (16, 24, 20)])
def test_a_map_equivariant_in_space_gives_equal_pixels(shape: tuple[int, ...]) -> None:
    """With the image itself as feature, both views agree at every drawn pixel."""
    image = torch.rand(3, 1, *shape)
    draw = draw_pixel_view(_generator(), PixelSettings(), shape, 3)
    grid = sampling_grid(draw, shape, image)
    second = resample(image, grid)
    index, positions = pick_visible(grid, 50, _generator())
    there = torch.gather(second.flatten(2), 2, index.unsqueeze(1))
    assert torch.allclose(sample_at(image, positions), there, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_pixels_from_outside_the_scan_are_never_drawn(seed: int) -> None:
    settings = PixelSettings(smallest_crop=0.95, largest_crop=0.95)
    grid = sampling_grid(
        draw_pixel_view(_generator(seed), settings, (32, 32), 4), (32, 32), torch.zeros(1)
    )
    assert not bool(visible(grid).all())
    _, positions = pick_visible(grid, 3000, _generator(seed))
    assert positions.shape == (4, 3000, 2)
    assert float(positions.abs().max()) <= 1


def test_views_flip_and_zoom_as_stated() -> None:
    draw = draw_pixel_view(_generator(), PixelSettings(rotation_degrees=0), (32, 32), 400)
    diagonal = draw.linear.diagonal(dim1=1, dim2=2)
    assert 0.6 < float((diagonal < 0).any(1).double().mean()) < 0.8
    assert 0.33 <= float(diagonal.abs().min()) < 0.4
    assert 0.9 < float(diagonal.abs().max()) <= 0.95
    reach = draw.translation.abs() + diagonal.abs() * 15.5
    assert float(reach.max()) <= 15.5 + 1e-9


@pytest.mark.parametrize("name", ["pix2rep", "pix2rep-v2"])
def test_gradient_reaches_backbone_and_projection_from_both_views(name: str) -> None:
    torch.manual_seed(0)
    settings = pretraining_settings(name)
    objective = objective_class(name)(build_network(settings.network), settings, textured_cohort())
    assert isinstance(objective, PixelObjective)
    first, second, grid = objective.draw(_generator())
    first.requires_grad_()
    second.requires_grad_()
    index, positions = pick_visible(grid, 32, _generator())
    objective.loss(first, second, index, positions)["loss"].backward()
    for view in (first, second):
        assert view.grad is not None
        assert float(view.grad.abs().max()) > 0
    assert all(p.grad is None for p in objective.network.deformer.parameters())
    assert objective.project[0].weight.grad is not None


def test_training_makes_pixels_of_two_views_tell_each_other(tmp_path: object) -> None:
    calm = PixelSettings(
        pixels=128,
        projection=16,
        rotation_degrees=20,
        smallest_crop=0.8,
        flip_probability=0,
        intensity_share=0.2,
    )
    settings = pretraining_settings(
        "pix2rep",
        steps=40,
        learning_rate=5e-3,
        checkpoint_every=100,
        pixel=calm,
        network=NetworkSettings(dimension=2, base_width=8),
    )
    curve = Curve()
    pretrainer(tmp_path, settings, curve, textured_cohort()).fit()  # type: ignore[arg-type]
    first, last = (curve.mean("loss_pixels", part) for part in (slice(0, 1), slice(-2, None)))
    assert last < 0.92 * first

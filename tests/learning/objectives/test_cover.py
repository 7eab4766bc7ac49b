"""COVER: template vectors, the vector unit, the pyramid, and the known field."""

from __future__ import annotations

import pytest
import torch

from napari_gemini.correspondence.vectors import (
    OUTSIDE,
    VectorPyramid,
    VectorUnit,
    expected_vectors,
    neighbourhood_scores,
    refine_vectors,
    template_vectors,
)
from napari_gemini.correspondence.warp import field_of_view_mask, warp
from napari_gemini.learning.objectives import cover
from napari_gemini.learning.objectives.cover import Cover, cropped_shape, draw_known_field
from napari_gemini.networks.gemini import build_network
from napari_gemini.settings import CoverSettings, NetworkSettings
from tests.learning.objectives.helpers import (
    Curve,
    pretrainer,
    pretraining_settings,
    textured_cohort,
)

MILD = CoverSettings(
    neighbourhood=3,
    crop=1.0,
    rotation_degrees=10,
    scale_range=0.05,
    translation_fraction=0.12,
    shear_degrees=2,
)


def test_templates_are_all_offsets_of_the_neighbourhood() -> None:
    assert template_vectors(3, 2).tolist() == [[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)]
    seven = template_vectors(7, 3)
    assert len(seven) == 343
    assert float(seven.min()) == -3
    assert float(seven.max()) == 3
    assert torch.equal(seven.mean(0), torch.zeros(3))


@pytest.mark.parametrize(("dimension", "shift"), [(2, (1, -2)), (3, (0, 2, -1))])
def test_a_shift_inside_the_neighbourhood_is_read_off_exactly(
    dimension: int, shift: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    query = 60 * torch.nn.functional.normalize(torch.randn(1, 8, *[9] * dimension), dim=1)
    # The feature of voxel p is found at p + shift of the moving scan.
    key = query.roll(shift, dims=tuple(range(2, 2 + dimension)))
    vectors = expected_vectors(neighbourhood_scores(query, key, 5), 5)
    inner = vectors[(0, slice(None), *[slice(2, -2)] * dimension)]
    truth = torch.tensor(shift, dtype=torch.float32).reshape(-1, *[1] * dimension)
    assert torch.allclose(inner, truth.expand_as(inner), atol=1e-2)


def test_scores_are_scaled_products_and_nothing_lies_outside() -> None:
    query, key = torch.randn(1, 8, 5, 6), torch.randn(1, 8, 5, 6)
    scores = neighbourhood_scores(query, key, 3)
    expected = (query[0, :, 2, 3] * key[0, :, 1, 4]).sum() / 8**0.5
    assert torch.allclose(scores[0, 2, 2, 3], expected, atol=1e-5)  # offset (-1, 1)
    assert bool((scores[0, :3, 0] == OUTSIDE).all())
    assert bool((scores[0, [0, 3, 6], :, 0] == OUTSIDE).all())


def test_groups_vote_apart_and_their_vectors_are_averaged() -> None:
    torch.manual_seed(0)
    unit = VectorUnit(2, 4, groups=2, neighbourhood=3)
    moving, fixed = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    query, key = unit.project(fixed), unit.project(moving)
    votes = [
        expected_vectors(neighbourhood_scores(query[:, g::2], key[:, g::2], 3), 3) for g in (0, 1)
    ]
    assert torch.allclose(unit(moving, fixed), (votes[0] + votes[1]) / 2, atol=1e-6)
    assert query.shape[1] == 16


class _Constant(torch.nn.Module):
    def __init__(self, vector: list[float]) -> None:
        super().__init__()
        self.vector = torch.tensor(vector)

    def forward(self, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        return self.vector.reshape(1, 2, 1, 1).expand(1, 2, *fixed.shape[2:])


def test_the_pyramid_doubles_and_adds_vectors_from_coarse_to_fine() -> None:
    pyramid = VectorPyramid(2, [4, 4, 4], [1, 1, 1], 3)
    for index, vector in enumerate(([1.0, 0.0], [0.0, -1.0], [0.5, 0.25])):
        pyramid.units[index] = _Constant(vector)
    maps = [torch.rand(1, 4, size, size) for size in (4, 8, 16)]
    total = pyramid(maps, maps)
    assert torch.allclose(total[0, :, 8, 8], torch.tensor([4 * 1 + 0.5, 2 * -1 + 0.25]))


def test_vectors_of_a_linear_map_stay_those_of_the_map_at_a_finer_stage() -> None:
    """u(p) = p / 8 about the middle of the scan, on a grid of half and of full size."""
    coarse, fine = (
        (torch.arange(n, dtype=torch.float32) - (n - 1) / 2).expand(n, n) / 8 for n in (8, 16)
    )
    refined = refine_vectors(torch.stack([coarse.T, coarse])[None], (16, 16))
    expected = torch.stack([fine.T, fine])[None]
    assert torch.allclose(refined[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], atol=1e-5)


def test_published_reach_of_the_pyramid() -> None:
    """N = 5 reaches 62 voxels over five stages and N = 7 reaches 93."""
    assert sum(2 * 2**k for k in range(5)) == 62
    assert CoverSettings().neighbourhood == 7
    assert CoverSettings().groups == (4, 4, 4, 1, 1)
    assert sum((CoverSettings().neighbourhood // 2) * 2**k for k in range(5)) == 93


@pytest.mark.parametrize("dimension", [2, 3])
def test_the_drawn_field_is_the_truth_inside_the_window(
    dimension: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a change of appearance, the moving view warped by the field is the fixed view."""
    monkeypatch.setattr(cover, "change_appearance", lambda images, generator: images)
    settings = pretraining_settings(
        "cover", dimension, cover=CoverSettings(neighbourhood=3, crop=0.5)
    )
    objective = Cover(
        build_network(settings.network), settings, textured_cohort(dimension=dimension)
    )
    moving, fixed, field = objective.draw(torch.Generator().manual_seed(3))
    assert fixed.shape[2:] == (16,) * dimension
    mask = field_of_view_mask(field)
    assert 0.02 < float(mask.mean()) < 1
    assert float(((warp(moving, field) - fixed) * mask).abs().max()) < 1e-4


def test_the_window_is_a_multiple_of_sixteen() -> None:
    assert cropped_shape((576, 64, 16), 2 / 3) == (384, 48, 16)
    assert cropped_shape((48, 48), 1.0) == (48, 48)


def test_no_strength_is_the_identity() -> None:
    still = CoverSettings(
        rotation_degrees=0, scale_range=0, translation_fraction=0, shear_degrees=0
    )
    field = draw_known_field(torch.Generator().manual_seed(0), still, (16, 24, 8), 2)
    assert float(field.abs().max()) < 1e-6


def test_a_known_field_is_recovered(tmp_path: object) -> None:
    """After a short training the vectors are off by far less than they are long."""
    settings = pretraining_settings(
        "cover",
        steps=70,
        learning_rate=5e-3,
        checkpoint_every=100,
        cover=MILD,
        network=NetworkSettings(dimension=2, base_width=8),
    )
    curve = Curve()
    trainer = pretrainer(tmp_path, settings, curve, textured_cohort())  # type: ignore[arg-type]
    trainer.fit()
    objective = trainer.objective
    assert isinstance(objective, Cover)
    error = length = 0.0
    generator = torch.Generator().manual_seed(99)
    for _ in range(6):
        moving, fixed, field = objective.draw(generator)
        mask = field_of_view_mask(field)
        with torch.no_grad():
            error += float(objective.loss(moving, fixed, field)["vector_error"])
        length += float((field.abs().sum(1, keepdim=True) * mask).sum() / mask.sum())
    assert error < 0.7 * length
    first, last = (curve.mean("vector_error", part) for part in (slice(0, 1), slice(-2, None)))
    assert last < 0.6 * first

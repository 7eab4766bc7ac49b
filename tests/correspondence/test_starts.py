"""Where a refinement starts: the draft under which the images are most alike."""

from __future__ import annotations

import pytest
import torch

from napari_gemini.correspondence.affine import AffineMap
from napari_gemini.correspondence.pair import match_pair
from napari_gemini.correspondence.resampling import gaussian_smooth
from napari_gemini.correspondence.starts import best_start, similarity_under
from napari_gemini.correspondence.warp import identity_grid, warp
from napari_gemini.progress import SilentReporter

SHAPE = (48, 48)


def picture() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    image = gaussian_smooth(torch.rand(1, 1, *SHAPE, generator=generator), 2.0)
    return (image - image.min()) / (image.max() - image.min())


def turned() -> torch.Tensor:
    """A displacement that turns by 15 degrees and shifts by 3 voxels."""
    angle = torch.tensor(15.0).deg2rad()
    matrix = torch.stack(
        [torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])]
    )
    grid = identity_grid(SHAPE)
    return AffineMap(matrix, torch.tensor([3.0, -2.0]), SHAPE).apply(grid) - grid


def nothing(moving: torch.Tensor) -> torch.Tensor:
    """A network that has learned nothing."""
    return torch.zeros(1, 2, *SHAPE)


def test_a_network_that_fails_is_replaced_by_the_affine_map() -> None:
    moving = picture()
    fixed = warp(moving, turned())
    start = best_start(
        torch.zeros(1, 2, *SHAPE), nothing, moving, fixed, affine_steps=60,
        reporter=SilentReporter(),
    )  # fmt: skip
    assert start.name == "affine"
    inner = (..., slice(12, -12), slice(12, -12))
    assert float((start.displacement - turned())[inner].abs().mean()) < 1


def test_a_network_that_is_right_keeps_its_field() -> None:
    moving = picture()
    fixed = warp(moving, turned())
    start = best_start(turned(), nothing, moving, fixed, affine_steps=5, reporter=SilentReporter())
    assert start.name == "network"
    assert torch.equal(start.displacement, turned())


def test_the_network_adds_to_the_affine_map_what_that_cannot_do() -> None:
    """The composed draft samples the moving image where network and then affine map send it."""
    moving = picture()
    bump = torch.zeros(1, 2, *SHAPE)
    bump[:, 0] = 4 * torch.exp(-((identity_grid(SHAPE) - 24) ** 2).sum(1) / 60)
    fixed = warp(warp(moving, turned()), bump)
    start = best_start(
        torch.zeros(1, 2, *SHAPE), lambda moving: bump, moving, fixed, affine_steps=60,
        reporter=SilentReporter(),
    )  # fmt: skip
    assert start.name == "affine and network"
    assert start.similarity > similarity_under(turned(), moving, fixed) - 0.1


def test_without_affine_steps_the_network_stands_alone() -> None:
    moving = picture()
    start = best_start(
        torch.zeros(1, 2, *SHAPE), nothing, moving, moving.roll(5, 2), affine_steps=0,
        reporter=SilentReporter(),
    )  # fmt: skip
    assert start.name == "network"


def test_what_is_out_of_view_or_ignored() -> None:
    moving = picture()
    none = torch.zeros(1, 2, *SHAPE)
    assert similarity_under(none, moving, moving) == pytest.approx(1, abs=1e-3)
    # A map that sees half of the moving image explains half of the fixed one.
    away = none.clone()
    away[:, 0] = SHAPE[0] / 2
    assert similarity_under(away, moving, moving.roll(-SHAPE[0] // 2, 2)) < 0.6
    spoiled = moving.clone()
    spoiled[..., 10:20, 10:20] = torch.rand(10, 10)
    ignore = torch.zeros_like(moving)
    ignore[..., 10:20, 10:20] = 1
    assert similarity_under(none, spoiled, moving) < 0.97
    assert similarity_under(none, spoiled, moving, ignore, ignore) == pytest.approx(1, abs=1e-3)


def test_a_pair_far_apart_is_matched_in_spite_of_its_network() -> None:
    class Useless:
        def features(self, image: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(image), 4, *SHAPE)

        def displacement(self, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(moving), 2, *SHAPE)

    moving = picture()
    fixed = warp(moving, turned())
    found = match_pair(Useless(), moving, fixed, refine=20).u_fixed_to_moving
    inner = (..., slice(12, -12), slice(12, -12))
    assert float((found - turned())[inner].abs().mean()) < 1
    # As it lies, nothing is moved: the network's own word is kept without refinement.
    assert float(match_pair(Useless(), moving, fixed).u_fixed_to_moving.abs().max()) == 0

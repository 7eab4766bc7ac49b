"""GVSL: its affine head learns, maps compose, and a known shift is found."""

from __future__ import annotations

import math

import pytest
import torch

from napari_gemini.correspondence.warp import compose, warp
from napari_gemini.learning.objectives.base import PairBatch
from napari_gemini.learning.objectives.gvsl import Gvsl
from napari_gemini.networks.affine_head import (
    AffineHead,
    affine_displacement,
    rotations,
    shears,
)
from napari_gemini.networks.gemini import build_network
from napari_gemini.settings import LossWeights, NetworkSettings
from tests.learning.objectives.helpers import pretraining_settings, textured_cohort


def _objective(dimension: int = 2, **changes: object) -> Gvsl:
    torch.manual_seed(0)
    settings = pretraining_settings("gvsl", dimension, **changes)
    network = build_network(settings.network)
    return Gvsl(network, settings, textured_cohort(2, dimension))


@pytest.mark.parametrize("dimension", [2, 3])
def test_the_affine_head_gets_a_gradient_and_so_does_the_encoder_below(dimension: int) -> None:
    objective = _objective(dimension)
    images = objective.cohort.images
    batch = PairBatch(images[:1], images[1:])
    # From its identity start the last layers learn first, then all below them.
    with torch.no_grad():
        for layer in ("rotation", "scale", "shear", "translation"):
            getattr(objective.affine, layer).weight.normal_(std=0.02)
    objective.network.deformer.requires_grad_(False)
    weights = LossWeights(gvs=1, smooth=0, restoration=0)
    objective.settings = objective.settings.model_copy(update={"weights": weights})
    objective.loss(batch, batch.first)["loss"].backward()
    for name, parameter in objective.affine.named_parameters():
        # A bias before a group norm of one channel changes nothing; all others must learn.
        if name.endswith("weight"):
            assert parameter.grad is not None, name
            assert float(parameter.grad.abs().max()) > 0, name
    deepest = objective.network.backbone.encoder[-1][1][0].weight.grad  # type: ignore[index]
    assert float(deepest.abs().max()) > 0


@pytest.mark.parametrize("dimension", [2, 3])
def test_the_head_starts_as_the_identity_and_keeps_its_limits(dimension: int) -> None:
    torch.manual_seed(0)
    head = AffineHead(dimension, 16)
    features = torch.rand(2, 16, *[3] * dimension)
    linear, shift = head(features, features.flip(0))
    assert torch.allclose(linear, torch.eye(dimension).expand_as(linear), atol=1e-3)
    assert float(shift.abs().max()) < 1e-3
    angles = torch.full((1, 1 if dimension == 2 else 3), math.radians(20))
    turn = rotations(angles, dimension)
    assert torch.allclose(turn @ turn.mT, torch.eye(dimension).expand_as(turn), atol=1e-5)
    slant = torch.arange(1.0, dimension * (dimension - 1) + 1)[None]
    assert torch.equal(shears(slant, dimension)[0][~torch.eye(dimension, dtype=bool)], slant[0])


def test_an_affine_field_moves_positions_as_its_matrix_says() -> None:
    linear = torch.tensor([[[1.1, 0.2], [-0.1, 0.9]]])
    shift = torch.tensor([[2.0, -3.0]])
    field = affine_displacement(linear, shift, (9, 11))
    p = torch.tensor([7.0, 2.0])
    centre = torch.tensor([4.0, 5.0])
    expected = linear[0] @ (p - centre) + centre + shift[0] - p
    assert torch.allclose(field[0, :, 7, 2], expected, atol=1e-5)


def test_composing_both_maps_equals_warping_twice() -> None:
    images = textured_cohort(1 + 1).images[:1]
    linear = torch.eye(2)[None] * 1.02
    affine = affine_displacement(linear, torch.tensor([[1.0, -1.0]]), (32, 32))
    deformation = torch.nn.functional.interpolate(
        torch.randn(1, 2, 4, 4), size=(32, 32), mode="bicubic"
    )
    once = warp(images, compose(affine, deformation))
    twice = warp(warp(images, affine), deformation)
    inner = (slice(None), slice(None), slice(6, -6), slice(6, -6))
    # The second interpolation blurs a little; positions are the same.
    assert float((once - twice)[inner].abs().mean()) < 0.01


def test_a_known_shift_is_found_by_the_affine_head() -> None:
    objective = _objective(network=NetworkSettings(dimension=2, base_width=8))
    moving = objective.cohort.images[:1]
    truth = torch.zeros(1, 2, 32, 32)
    truth[:, 0] = 2.0
    batch = PairBatch(warp(moving, truth), moving)
    parameters = [*objective.network.parameters(), *objective.affine.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=3e-3)
    for _ in range(60):
        loss = objective.loss(batch, batch.first)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        _, field, _ = objective.match(batch.second, batch.first)
    inner = field[0, :, 6:-6, 6:-6]
    assert float((inner[0] - 2).abs().mean()) < 0.5
    assert float(inner[1].abs().mean()) < 0.5

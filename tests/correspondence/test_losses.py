"""Smoothness, gradient scaling and the gradient paths of the semantic similarity."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from napari_gemini.correspondence.gradient_scaling import scale_gradient
from napari_gemini.correspondence.losses import (
    cosine_map,
    field_of_view_mask,
    gss_loss,
    smoothness_loss,
)
from napari_gemini.correspondence.velocity import integrate_velocity
from napari_gemini.correspondence.warp import compose, identity_grid, warp


def test_smoothness_of_a_ramp() -> None:
    field = torch.zeros(2, 2, 6, 8)
    field[1, 0] = 3 * torch.arange(6.0).reshape(6, 1)
    # Along axis 0 one of two channels has squared differences of 9; along axis 1 none has.
    assert smoothness_loss(field, reduction="none").tolist() == [0, 9 / 2 / 2]
    assert smoothness_loss(field) == 9 / 8
    assert smoothness_loss(field.bfloat16()).dtype == torch.float32


def test_smoothness_is_the_mean_over_the_axes_in_3d() -> None:
    field = torch.rand(1, 3, 5, 6, 7, dtype=torch.float64)
    expected = sum(field.diff(dim=axis).square().mean() for axis in (2, 3, 4)) / 3
    assert torch.allclose(smoothness_loss(field), expected)


def test_smoothness_survives_a_single_plane() -> None:
    assert torch.isfinite(smoothness_loss(torch.rand(1, 3, 1, 4, 4)))


def test_scale_gradient() -> None:
    x = torch.rand(3, requires_grad=True)
    y = scale_gradient(x, 0.1)
    assert torch.equal(y, x)
    y.sum().backward()
    assert torch.allclose(x.grad, torch.full((3,), 0.1))  # type: ignore[arg-type]
    assert not scale_gradient(x, 0).requires_grad
    assert scale_gradient(x, 1) is x


def test_cosine_of_known_vectors() -> None:
    a = torch.tensor([[3.0, 1.0, 0.0], [4.0, 0.0, 0.0]]).reshape(1, 2, 3, 1).requires_grad_()
    b = torch.tensor([[4.0, -2.0, 1.0], [3.0, 0.0, 1.0]]).reshape(1, 2, 3, 1)
    cosine = cosine_map(a, b)
    assert torch.allclose(cosine.flatten(), torch.tensor([24 / 25, -1.0, 0.0]))
    cosine.sum().backward()
    assert a.grad is not None
    assert a.grad.abs().max() < 10  # also at the vanished vector


class Tiny(nn.Module):
    """A backbone and a deformer, small but of the method's structure."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        convolution = nn.Conv2d if dimension == 2 else nn.Conv3d
        self.backbone = convolution(1, 4, 3, padding=1)
        self.deformer = convolution(8, dimension, 3, padding=1)

    def features(self, image: torch.Tensor) -> torch.Tensor:
        return nn.functional.leaky_relu(self.backbone(image), 0.2)

    def displacement(self, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.deformer(torch.cat([moving, fixed], 1))
        return result


def setting(dimension: int) -> tuple[Tiny, torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    shape = (12, 10) if dimension == 2 else (8, 9, 7)
    network = Tiny(dimension).double()
    a, b = torch.rand(2, 2, 1, *shape, dtype=torch.float64)
    return network, a, b


def gradients(network: Tiny) -> dict[str, torch.Tensor | None]:
    return {name: value.grad for name, value in network.named_parameters()}


def literal_loss(
    f_a: torch.Tensor,
    f_b: torch.Tensor,
    u: torch.Tensor,
    red: float,
    blue: float = 1.0,
) -> torch.Tensor:
    """Two warps and two cosines with stop-gradients, as the method is written."""
    mask = field_of_view_mask(u)

    def one(moving: torch.Tensor, fixed: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
        normalise = nn.functional.normalize
        cosine = (normalise(warp(moving, flow)) * normalise(fixed)).sum(1, keepdim=True)
        return 1 - ((cosine * mask).flatten(1).sum(1) / mask.flatten(1).sum(1)).mean()

    return red * one(f_a, f_b, u.detach()) + blue * one(f_a.detach(), f_b.detach(), u)


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("red", [0.0, 0.1, 1.0])
def test_one_warp_equals_the_literal_two(dimension: int, red: float) -> None:
    network, a, b = setting(dimension)
    collected = []
    for loss_of in (gss_loss, literal_loss):
        network.zero_grad(set_to_none=True)
        f_a, f_b = network.features(a), network.features(b)
        u = network.displacement(f_a, f_b)
        if loss_of is gss_loss:
            loss = gss_loss(f_a, f_b, u, red_weight=red)
        else:
            loss = literal_loss(f_a, f_b, u, red)
        loss.backward()
        collected.append((loss.detach(), gradients(network)))
    (ours, our_gradients), (theirs, their_gradients) = collected
    assert abs(float(ours - theirs)) < 1e-6
    for name, gradient in our_gradients.items():
        other = their_gradients[name]
        assert gradient is not None
        assert other is not None
        assert (gradient - other).norm() <= 1e-6 * other.norm()


def test_red_path_reaches_the_features_and_not_the_deformer() -> None:
    network, a, b = setting(2)
    f_a, f_b = network.features(a), network.features(b)
    u = network.displacement(f_a, f_b).detach()
    gss_loss(f_a, f_b, u, red_weight=0.1).backward()
    grads = gradients(network)
    assert grads["deformer.weight"] is None
    assert grads["backbone.weight"] is not None
    assert grads["backbone.weight"].abs().max() > 0


def test_blue_path_reaches_the_backbone_only_through_the_deformer() -> None:
    network, a, b = setting(2)
    f_a, f_b = network.features(a), network.features(b)
    gss_loss(f_a, f_b, network.displacement(f_a, f_b), red_weight=0).backward()
    through = gradients(network)
    assert through["deformer.weight"] is not None
    assert through["backbone.weight"] is not None
    assert through["backbone.weight"].abs().max() > 0

    network.zero_grad(set_to_none=True)
    f_a, f_b = network.features(a), network.features(b)
    u = network.displacement(f_a.detach(), f_b.detach())
    gss_loss(f_a, f_b, u, red_weight=0).backward()
    cut = gradients(network)
    assert cut["deformer.weight"] is not None
    assert cut["deformer.weight"].abs().max() > 0
    assert cut["backbone.weight"] is None


def test_both_images_learn_from_the_red_path() -> None:
    f_a = torch.rand(1, 3, 6, 6, requires_grad=True)
    f_b = torch.rand(1, 3, 6, 6, requires_grad=True)
    gss_loss(f_a, f_b, torch.zeros(1, 2, 6, 6)).backward()
    assert f_a.grad is not None
    assert f_b.grad is not None
    assert f_a.grad.abs().max() > 0
    assert f_b.grad.abs().max() > 0


def test_value_counts_both_paths_and_the_mask() -> None:
    f_a, f_b = torch.rand(2, 2, 3, 6, 6)
    u = torch.zeros(2, 2, 6, 6)
    mask = torch.zeros(2, 1, 6, 6)
    mask[:, :, 2:4, 2:4] = 1
    expected = 1.1 * (1 - cosine_map(f_a, f_b)[:, :, 2:4, 2:4].mean((1, 2, 3)))
    result = gss_loss(f_a, f_b, u, mask, red_weight=0.1, reduction="none")
    assert torch.allclose(result, expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(24, 20), (16, 18, 14)])
def test_integration_of_a_constant_and_its_inverse(shape: tuple[int, ...]) -> None:
    constant = torch.full((1, len(shape), *shape), 1.5)
    assert torch.allclose(integrate_velocity(constant), constant, atol=1e-4)
    points = identity_grid(shape)
    wave = torch.sin(points.sum(1, keepdim=True) / 3).expand_as(points)
    forward, backward = integrate_velocity(wave), integrate_velocity(-wave)
    inner = (..., *(slice(5, -5),) * len(shape))
    assert compose(forward, backward)[inner].abs().max() < 0.1
    assert torch.equal(integrate_velocity(wave, steps=0), wave)
    with pytest.raises(ValueError, match="negative"):
        integrate_velocity(wave, steps=-1)


def test_integration_matches_the_flow_of_a_linear_field() -> None:
    points = identity_grid((33, 33), dtype=torch.float64) - 16
    velocity = torch.cat([-0.2 * points[:, :1], 0.1 * points[:, 1:]], 1)
    u = integrate_velocity(velocity, steps=10)
    exact = torch.cat([math.expm1(-0.2) * points[:, :1], math.expm1(0.1) * points[:, 1:]], 1)
    inner = (slice(None), slice(None), slice(6, -6), slice(6, -6))
    assert (u - exact)[inner].abs().max() < 2e-3

"""Layouts against the paper's numbers, receptive field, conventions, both backbones."""

from __future__ import annotations

import math

import pytest
import torch

from napari_gemini.networks.blocks import count_parameters, pad_to_multiple
from napari_gemini.networks.deformer import Deformer, average_blocks, spread_blocks
from napari_gemini.networks.gemini import GeminiNetwork, build_network
from napari_gemini.networks.unet import UNet
from napari_gemini.settings import NetworkSettings


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("dimension", "backbone", "deformer", "head"),
    [(2, 7_851_936, 176_450, 4_673), (3, 23_538_144, 528_675, 13_889)],
)
def test_parameter_counts_are_those_of_the_paper(
    dimension: int, backbone: int, deformer: int, head: int
) -> None:
    network = build_network(NetworkSettings(dimension=dimension, base_width=32, classes=1))
    assert count_parameters(network.backbone) == backbone
    assert count_parameters(network.deformer) == deformer
    assert count_parameters(network.head) == head


@pytest.mark.parametrize(
    ("width", "millions"), [(4, 0.12), (8, 0.49), (16, 1.97), (32, 7.85), (64, 31.39)]
)
def test_widths_give_the_series_of_appendix_c(width: int, millions: float) -> None:
    assert count_parameters(UNet(2, width)) / 1e6 == pytest.approx(millions, abs=0.006)


@pytest.mark.parametrize(
    ("features", "outputs", "hidden"),
    [(32, 1, 16), (32, 8, 16), (64, 8, 32), (8, 1, 16), (8, 3, 16), (8, 27, 28), (16, 140, 32)],
)
def test_a_head_is_no_bottleneck_for_its_classes(features: int, outputs: int, hidden: int) -> None:
    head = build_network(NetworkSettings(dimension=2, base_width=features, classes=outputs)).head
    assert head[0].out_channels == hidden


def test_a_set_width_of_the_head_is_kept() -> None:
    settings = NetworkSettings(dimension=2, base_width=32, classes=29, head_width=16)
    assert build_network(settings).head[0].out_channels == 16


@pytest.mark.parametrize("dimension", [2, 3])
def test_a_head_of_no_width_is_linear(dimension: int) -> None:
    settings = NetworkSettings(dimension=dimension, base_width=8, classes=5, head_width=0)
    network = build_network(settings)
    assert count_parameters(network.head) == 8 * 5 + 5
    a, b = torch.randn(2, 1, 8, *[6] * dimension)
    with torch.no_grad():
        mean = network.segment((a + b) / 2)
        torch.testing.assert_close(mean, (network.segment(a) + network.segment(b)) / 2)


@pytest.mark.parametrize("width", [12, 20, 28, 44])
def test_every_width_that_is_allowed_can_be_built(width: int) -> None:
    network = build_network(NetworkSettings(dimension=2, base_width=width, classes=5))
    features = network.features(torch.rand(1, 1, 16, 16))
    assert network.segment(features).shape == (1, 5, 16, 16)


def test_receptive_field_of_the_deformer_is_26(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch.nn.functional as F

    import napari_gemini.networks.deformer as module

    monkeypatch.setattr(
        module, "upsample", lambda x, size: F.interpolate(x, size=tuple(size), mode="nearest")
    )
    # Normalisation over the whole map would make every voxel depend on every other one.
    monkeypatch.setattr(torch.nn.GroupNorm, "forward", lambda self, x: x)
    monkeypatch.setattr(torch.nn.MaxPool2d, "forward", lambda self, x: F.avg_pool2d(x, 2))
    deformer = Deformer(2, 4, flow_init="kaiming").double()
    x = torch.rand(1, 4, 96, 96, dtype=torch.float64, requires_grad=True)
    reach = 0
    for position in range(44, 52):
        (gradient,) = torch.autograd.grad(deformer(x, x)[0, 0, position, position], x)
        touched = gradient.abs().sum((0, 1, 3)).nonzero()[:, 0]
        reach = max(reach, int(touched.max() - touched.min()) + 1)
    assert reach == 26


@pytest.mark.parametrize("dimension", [2, 3])
def test_the_field_starts_as_the_identity_and_kaiming_does_not(dimension: int) -> None:
    features = torch.randn(2, 8, *[16] * dimension)
    start = Deformer(dimension, 8)(features, features.flip(0))
    assert start.shape == (2, dimension, *[16] * dimension)
    assert float(start.abs().max()) < 1e-2
    wild = Deformer(dimension, 8, flow_init="kaiming")(features, features.flip(0))
    assert 0.3 < float(wild.std()) < 3


def test_the_order_of_moving_and_fixed_matters() -> None:
    first, second = torch.randn(2, 1, 8, 16, 16).unbind(0)
    deformer = Deformer(2, 8, flow_init="kaiming")
    assert not torch.allclose(deformer(first, second), deformer(second, first), atol=1e-3)


@pytest.mark.parametrize("backbone", ["unet", "swin-unetr"])
@pytest.mark.parametrize("dimension", [2, 3])
def test_every_backbone_takes_any_size(backbone: str, dimension: int) -> None:
    settings = NetworkSettings(dimension=dimension, backbone=backbone, base_width=8, classes=3)
    network = build_network(settings).eval()
    shape = (37, 50, 21)[:dimension]
    with torch.no_grad():
        features = network.features(torch.rand(2, 1, *shape))
        field = network.displacement(features, features.flip(0))
        logits = network.segment(features)
    assert features.shape == (2, 8, *shape)
    assert field.shape == (2, dimension, *shape)
    assert logits.shape == (2, 3, *shape)
    assert torch.isfinite(features).all()


def test_padding_puts_the_smaller_half_before() -> None:
    x = torch.ones(1, 1, 5, 16)
    padded, crop = pad_to_multiple(x, 16)
    assert padded.shape == (1, 1, 16, 16)
    assert crop == (slice(5, 10), slice(0, 16))
    assert float(padded[0, 0, crop[0], crop[1]].min()) == 1
    assert float(padded.sum()) == 5 * 16


@pytest.mark.parametrize("stride", [2, 4])
def test_a_field_on_blocks_keeps_its_position_and_unit(stride: int) -> None:
    n = 32
    ramp = torch.arange(n, dtype=torch.float32).expand(1, 1, n, n)
    averaged = average_blocks(ramp, stride)
    spread = spread_blocks(averaged, stride, ramp.shape[2:]) / stride
    inner = slice(stride, n - stride)
    assert torch.allclose(spread[..., inner], ramp[..., inner], atol=1e-5)


def test_velocity_gives_a_map_without_folds() -> None:
    settings = NetworkSettings(dimension=2, base_width=8, velocity_steps=7, flow_init="kaiming")
    network = GeminiNetwork(settings)
    smooth = torch.nn.functional.interpolate(torch.randn(1, 8, 4, 4), size=(32, 32), mode="bicubic")
    field = network.displacement(smooth, smooth.flip(2))
    dx = field[:, :, 1:, :-1] - field[:, :, :-1, :-1]
    dy = field[:, :, :-1, 1:] - field[:, :, :-1, :-1]
    determinant = (1 + dx[:, 0]) * (1 + dy[:, 1]) - dx[:, 1] * dy[:, 0]
    assert float(determinant[:, 1:-1, 1:-1].min()) > 0
    assert math.isfinite(float(field.abs().max()))


def test_bfloat16_gradients_of_a_small_grid_are_right_and_repeatable() -> None:
    """A bottleneck of 2 x 3 x 2 voxels, where bfloat16 kernels have returned garbage."""
    network = build_network(NetworkSettings(dimension=3, base_width=8, classes=2))
    image = torch.rand(1, 1, 32, 48, 32)

    def gradients(reduced: bool) -> torch.Tensor:
        network.zero_grad()
        poison = [torch.full((n,), float("nan")) for n in (1000, 100_000, 4_000_000)]
        del poison
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=reduced):
            logits = network.segment(network.features(image))
        logits.float().square().mean().backward()
        stage = network.backbone.encoder[4]
        return torch.cat([p.grad.flatten() for p in stage.parameters()])

    exact = gradients(reduced=False)
    first, second = gradients(reduced=True), gradients(reduced=True)
    assert torch.equal(first, second)
    cosine = torch.nn.functional.cosine_similarity(first, exact, dim=0)
    assert float(cosine) > 0.98

"""Our 3D convolution equals PyTorch's, and never falls to PyTorch's slow kernel."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from napari_gemini.networks import conv3d
from napari_gemini.networks.blocks import conv
from napari_gemini.networks.conv3d import Conv3d, goes_to_fallback

FALLBACK = "aten::slow_conv3d_forward"


def layers(inputs: int, outputs: int) -> tuple[Conv3d, torch.nn.Conv3d]:
    ours = Conv3d(inputs, outputs)
    theirs = torch.nn.Conv3d(inputs, outputs, 3, padding=1)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def kernels(run) -> set[str]:
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        run()
    return {event.key for event in seen.key_averages()}


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    batch=st.integers(1, 2),
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 2**16),
)
def test_output_and_gradients_are_those_of_the_plain_layer(shape, batch, channels, seed) -> None:
    torch.manual_seed(seed)
    ours, theirs = layers(*channels)
    x = torch.randn(batch, channels[0], *shape)
    cotangent = torch.randn(batch, channels[1], *shape)
    results = []
    for layer in (ours, theirs):
        own = x.clone().requires_grad_()
        y = layer(own)
        y.backward(cotangent)
        results.append((y.detach(), own.grad, layer.weight.grad, layer.bias.grad))
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("train", [True, False])
def test_a_small_single_scan_does_not_take_the_slow_kernel(train: bool) -> None:
    ours, theirs = layers(4, 4)
    x = torch.randn(1, 4, 9, 8, 8)
    assert goes_to_fallback(x)
    with torch.set_grad_enabled(train):
        assert FALLBACK in kernels(lambda: theirs(x))
        assert FALLBACK not in kernels(lambda: ours(x))


def test_the_limit_is_that_of_pytorch() -> None:
    ours, _ = layers(20, 2)
    below, above = torch.randn(1, 20, 30, 30, 3), torch.randn(1, 20, 30, 31, 3)
    assert goes_to_fallback(below)
    assert not goes_to_fallback(above)
    plain = torch.nn.functional.conv3d
    assert FALLBACK in kernels(lambda: plain(conv3d._padded(below), ours.weight))
    assert FALLBACK not in kernels(lambda: plain(conv3d._padded(above), ours.weight))


def test_large_inputs_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv3d, "FALLBACK_SIZE", 0)
    monkeypatch.setattr(conv3d, "LARGEST_COPY", 100)
    layer, _ = layers(1, 1)
    pad = "aten::constant_pad_nd"
    assert pad in kernels(lambda: layer(torch.randn(1, 1, 4, 5, 5)))
    assert pad not in kernels(lambda: layer(torch.randn(1, 1, 5, 5, 5)))


def test_other_precisions_are_left_to_pytorch() -> None:
    ours, theirs = layers(3, 5)
    x = torch.randn(1, 3, 4, 4, 4)
    assert torch.equal(ours.double()(x.double()), theirs.double()(x.double()))
    ours, theirs = layers(3, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ours(x), theirs(x))


def test_the_networks_use_it_for_their_3d_kernels_alone() -> None:
    assert isinstance(conv(3, 2, 2), Conv3d)
    assert not isinstance(conv(3, 2, 2, kernel=1), Conv3d)
    assert not isinstance(conv(2, 2, 2), Conv3d)

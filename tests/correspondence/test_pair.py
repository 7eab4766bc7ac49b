"""Matching of a pair with a network, with refinement and with both."""

from __future__ import annotations

import pytest
import torch

from napari_gemini.correspondence.pair import is_out_of_memory, match_pair
from napari_gemini.correspondence.resampling import gaussian_smooth
from napari_gemini.correspondence.warp import field_of_view_mask, warp
from napari_gemini.errors import DeviceError, InputError
from napari_gemini.networks.gemini import build_network
from napari_gemini.progress import Cancelled, SilentReporter
from napari_gemini.settings import NetworkSettings, RefineSettings


class Stopping(SilentReporter):
    """Cancels from the n-th question on."""

    def __init__(self, after: int) -> None:
        self.left = after

    def cancelled(self) -> bool:
        self.left -= 1
        return self.left < 0


class Tight:
    """A network that only has memory for a limited batch."""

    def __init__(self, network: torch.nn.Module, most: int) -> None:
        self.network, self.most = network, most
        self.batches: list[int] = []

    def _check(self, batch: torch.Tensor) -> None:
        self.batches.append(len(batch))
        if len(batch) > self.most:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried")

    def features(self, image: torch.Tensor) -> torch.Tensor:
        self._check(image)
        result: torch.Tensor = self.network.features(image)
        return result

    def displacement(self, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        self._check(moving)
        result: torch.Tensor = self.network.displacement(moving, fixed)
        return result


def pair(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = gaussian_smooth(torch.rand(1, 1, *shape, generator=generator), 1.5)
    image = (image - image.min()) / (image.max() - image.min())
    return image, image.roll(1, dims=2)


def network(dimension: int) -> torch.nn.Module:
    torch.manual_seed(0)
    settings = NetworkSettings(dimension=dimension, base_width=4, flow_init="kaiming")
    return build_network(settings)


@pytest.mark.parametrize("shape", [(32, 48), (16, 32, 16)])
def test_both_directions_come_from_the_network(shape: tuple[int, ...]) -> None:
    moving, fixed = pair(shape)
    net = network(len(shape)).train()
    result = match_pair(net, moving, fixed)
    assert net.training
    with torch.no_grad():
        f_m, f_f = net.features(moving), net.features(fixed)
        there, back = net.displacement(f_m, f_f), net.displacement(f_f, f_m)
    assert torch.allclose(result.u_fixed_to_moving, there, atol=1e-4)
    assert torch.allclose(result.u_moving_to_fixed, back, atol=1e-4)
    assert result.gss is not None
    expected = torch.nn.functional.cosine_similarity(warp(f_m, there), f_f).unsqueeze(1)
    inside = field_of_view_mask(there)
    assert torch.equal(result.mask, inside)
    assert torch.allclose(result.gss * inside, expected * inside, atol=1e-3)
    assert result.gvs.shape == moving.shape
    assert result.refinement is None


def test_bf16_is_close_and_everything_else_stays_float32() -> None:
    moving, fixed = pair((32, 32))
    net = network(2)
    exact = match_pair(net, moving, fixed)
    fast = match_pair(net, moving, fixed, autocast=torch.bfloat16)
    assert fast.u_fixed_to_moving.dtype == torch.float32
    assert fast.gvs.dtype == torch.float32
    assert (fast.u_fixed_to_moving - exact.u_fixed_to_moving).abs().mean() < 0.2


def test_short_memory_is_met_one_by_one() -> None:
    moving, fixed = pair((32, 32))
    net = network(2)
    tight = Tight(net, most=1)
    result = match_pair(tight, moving, fixed)
    assert tight.batches == [2, 1, 1, 2, 1, 1]
    expected = match_pair(net, moving, fixed).u_fixed_to_moving
    assert torch.allclose(result.u_fixed_to_moving, expected, atol=1e-4)
    with pytest.raises(DeviceError, match=r"memory of cpu; .* or a smaller model\.$"):
        match_pair(Tight(net, most=0), moving, fixed)


def test_other_errors_are_not_taken_for_short_memory() -> None:
    class Broken(Tight):
        def features(self, image: torch.Tensor) -> torch.Tensor:
            if len(image) < self.most:
                raise RuntimeError("size mismatch")
            return super().features(image)

    moving, fixed = pair((32, 32))
    with pytest.raises(RuntimeError, match="size mismatch"):
        match_pair(Broken(network(2), most=3), moving, fixed)
    broken_later = Broken(network(2), most=1)
    broken_later.most = 2
    broken_later._check = lambda batch: (_ for _ in ()).throw(MemoryError())  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="size mismatch"):
        match_pair(broken_later, moving, fixed)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("x"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_without_network_refinement_does_the_work() -> None:
    moving, fixed = pair((48, 48))
    identity = match_pair(None, moving, fixed)
    assert identity.gss is None
    assert identity.u_fixed_to_moving.abs().max() == 0
    refined = match_pair(None, moving, fixed, refine=40, settings=RefineSettings(steps=3))
    assert refined.refinement is not None
    assert len(refined.refinement.history) == 40
    assert refined.gvs.mean() > identity.gvs.mean() + 0.1
    # The fixed image is the moving one rolled by one voxel along the first axis.
    inner = refined.u_fixed_to_moving[0, 0, 8:-8, 8:-8]
    assert float(inner.mean()) == pytest.approx(-1, abs=0.2)
    assert float(refined.u_moving_to_fixed[0, 0, 8:-8, 8:-8].mean()) == pytest.approx(1, abs=0.2)


def test_refinement_starts_from_the_network_and_uses_its_features() -> None:
    moving, fixed = pair((32, 32))
    result = match_pair(network(2), moving, fixed, refine=4)
    assert result.refinement is not None
    assert "gss" in result.refinement.history[0]
    assert result.refinement.fold_percent_digital == 0


def test_ignored_regions_are_in_no_map() -> None:
    moving, fixed = pair((32, 32))
    ignore = torch.zeros(1, 1, 32, 32)
    ignore[..., 10:14, 10:14] = 1
    spoiled = torch.where(ignore > 0, 9.0, fixed)
    clean = match_pair(None, moving, fixed, ignore_mask=ignore)
    result = match_pair(None, moving, spoiled, ignore_mask=ignore, ignore_moving=ignore)
    assert result.mask[ignore > 0].max() == 0
    assert torch.allclose(result.gvs * result.mask, clean.gvs * result.mask, atol=1e-5)


@pytest.mark.parametrize("after", [0, 1, 2, 5])
def test_cancelling(after: int) -> None:
    moving, fixed = pair((32, 32))
    with pytest.raises(Cancelled):
        match_pair(network(2), moving, fixed, refine=30, reporter=Stopping(after))


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="one pair of images"):
        match_pair(None, torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 8))


def test_padding_does_not_resemble_padding() -> None:
    """Two scans of noise in one box on a larger grid: nothing is alike, at the border neither."""
    generator = torch.Generator().manual_seed(0)
    inside = torch.zeros(1, 1, 48, 48)
    inside[..., 8:40, 8:40] = 1
    moving, fixed = (torch.rand(1, 1, 48, 48, generator=generator) * inside for _ in range(2))
    naive = match_pair(None, moving, fixed)
    unseen = 1 - inside
    result = match_pair(None, moving, fixed, unseen_fixed=unseen, unseen_moving=unseen, both=True)
    border = inside.bool() & (torch.nn.functional.max_pool2d(unseen, 3, 1, 1) > 0)
    assert result.gvs_back is not None
    assert float(naive.gvs[border].mean()) > 0.3
    for found in (result.gvs, result.gvs_back):
        assert float(found[border].mean()) < 0.1
        # Nor beyond it, where a window holds next to nothing.
        assert float(found[unseen.bool()].max()) < 0.3
        assert float(found[..., :6, :].abs().max()) == 0
    # A moving scan that ends inside the fixed one explains nothing beyond its end.
    shifted = match_pair(None, moving, moving.clone(), unseen_moving=torch.roll(unseen, 8, 2))
    assert float(shifted.gvs[..., 8:14, 8:40].max()) == 0
    assert float(shifted.gvs[..., 20:36, 12:36].min()) > 0.99

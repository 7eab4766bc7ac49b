"""Devices, precision, repeatability and full memory, on the hardware that is here."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_gemini.engine import device
from napari_gemini.engine.device import (
    bf16_available,
    choose_precision,
    format_bytes,
    free_memory,
    import_torch,
    is_out_of_memory,
    list_devices,
    out_of_memory_advice,
    peak_memory_mb,
    select_device,
    set_threads,
    setup_determinism,
)
from napari_gemini.engine.memory import (
    LIMIT_VARIABLE,
    check_memory,
    estimate_pair_bytes,
    estimate_training_bytes,
)
from napari_gemini.errors import DeviceError, EngineError
from napari_gemini.settings import NetworkSettings, TrainSettings

no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
no_mps = pytest.mark.skipif(torch.backends.mps.is_available(), reason="an Apple GPU is here")


class FakeCuda:
    """What a machine with GPUs says; choosing among them needs no GPU."""

    def __init__(self, free: list[int], capability: tuple[int, int] = (9, 0)) -> None:
        self.free = free
        self.capability = capability

    def torch(self) -> types.SimpleNamespace:
        cuda = types.SimpleNamespace(
            is_available=lambda: True,
            device_count=lambda: len(self.free),
            mem_get_info=lambda where: (self.free[getattr(where, "index", where)], 100),
            memory_reserved=lambda where: 30,
            memory_allocated=lambda where: 10,
            max_memory_allocated=lambda where: 5_000_000,
            get_device_capability=lambda where: self.capability,
            get_device_name=lambda index: f"GPU {index}",
        )
        return types.SimpleNamespace(
            cuda=cuda,
            device=torch.device,
            version=types.SimpleNamespace(cuda="12", hip=None),
            backends=torch.backends,
            cpu=torch.cpu,
        )


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda([20, 60])
    monkeypatch.setattr(device, "import_torch", fake.torch)
    return fake


def test_cpu_is_always_there() -> None:
    assert select_device("cpu") == torch.device("cpu")
    assert select_device(" CPU ").type == "cpu"
    assert select_device("auto").type in ("cpu", "cuda", "mps")
    assert list_devices()[-1]["name"] == "cpu"
    free = free_memory("cpu")
    assert free
    assert 0 < free <= (device.memory(torch.device("cpu"))[1] or 0)


@pytest.mark.parametrize("spec", ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cpu:0", "mps:0"])
def test_unknown_devices(spec: str) -> None:
    with pytest.raises(DeviceError, match="choose auto, cpu, cuda, cuda:N"):
        select_device(spec)


@no_cuda
@pytest.mark.parametrize("spec", ["cuda", "cuda:0", "CUDA:3"])
def test_no_cuda_is_one_sentence(spec: str) -> None:
    with pytest.raises(DeviceError, match=r"CUDA cannot be used, because .*; use --device cpu"):
        select_device(spec)


@no_mps
def test_no_mps_is_one_sentence() -> None:
    with pytest.raises(DeviceError, match="Apple GPU"):
        select_device("mps")


def test_of_several_gpus_the_roomiest_is_taken(two_gpus: FakeCuda) -> None:
    assert select_device("auto") == torch.device("cuda:1")
    assert select_device("cuda") == torch.device("cuda:1")
    assert select_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(DeviceError, match="no device cuda:2 here; the last one is cuda:1"):
        select_device("cuda:2")
    two_gpus.free = [5]
    assert select_device("auto") == torch.device("cuda:0")


def test_facts_of_a_gpu(two_gpus: FakeCuda) -> None:
    assert free_memory("cuda:0") == 40
    assert [entry["name"] for entry in list_devices()][:2] == ["cuda:0", "cuda:1"]
    assert peak_memory_mb("cuda:0") == 5.0
    assert choose_precision("auto", "cuda:0") == "bf16"
    two_gpus.capability = (7, 5)
    assert choose_precision("auto", "cuda:0") == "fp32"
    with pytest.raises(DeviceError, match="has no bf16"):
        choose_precision("bf16", "cuda:0")


@no_cuda
@no_mps
def test_an_apple_gpu_is_chosen_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_has_mps", lambda torch: True)
    assert select_device("auto").type == "mps"
    assert select_device("mps").type == "mps"
    assert not bf16_available("mps")
    assert "mps" in [entry["name"] for entry in list_devices()]


def test_containers_limits_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert device._cgroup_limit(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    assert device._cgroup_limit(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    monkeypatch.setattr(device, "_cgroup_limit", lambda: 1000)
    monkeypatch.setattr(device, "_cgroup_usage", lambda: 400)
    assert device.memory("cpu") == (600, 1000)


def test_missing_torch_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(EngineError, match=r"pip install 'napari-gemini\[engine\]'"):
        import_torch()


def test_precision_on_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert choose_precision("fp32", "cpu") == "fp32"
    assert choose_precision("bf16", "cpu") == "bf16"
    assert choose_precision("auto", "cpu") == ("bf16" if bf16_available("cpu") else "fp32")
    bare = types.SimpleNamespace(cpu=types.SimpleNamespace())
    info = tmp_path / "cpuinfo"
    for flags, has in (("fpu avx512f", False), ("fpu amx_bf16", True), ("avx512_bf16", True)):
        info.write_text(f"processor : 0\nflags\t\t: {flags}\n\nprocessor : 1\n")
        found = device._cpu_flags(info)
        monkeypatch.setattr(device, "_cpu_flags", lambda found=found: found)
        assert device._cpu_has_bf16(bare) is has  # type: ignore[arg-type]
        monkeypatch.undo()
    assert device._cpu_flags(tmp_path / "missing") == frozenset()
    info.write_text("nothing")
    assert device._cpu_flags(info) == frozenset()


def test_seeding_repeats_everything() -> None:
    threads = torch.get_num_threads()

    def draw() -> list[Any]:
        import random

        facts = setup_determinism(3, threads=1)
        assert facts["threads"] == 1
        assert facts["seed"] == 3
        return [random.random(), np.random.rand(), torch.rand(2).tolist()]

    try:
        assert draw() == draw()
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
        set_threads(threads)
    assert set_threads(None) == threads


def test_full_memory_is_recognised_and_explained() -> None:
    advice = "use a coarser grid"
    with (
        pytest.raises(DeviceError, match=r"memory of cpu is full when 4 PB.*use a coarser grid"),
        out_of_memory_advice(advice, "cpu"),
    ):
        torch.empty(10**15)
    with (
        pytest.raises(DeviceError, match=r"full when 7\.\d* PiB more .* use a coarser grid\."),
        out_of_memory_advice(advice),
    ):
        np.empty(10**15)
    with pytest.raises(KeyError), out_of_memory_advice(advice):
        raise KeyError
    with out_of_memory_advice(advice):
        pass
    cuda = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has")
    assert is_out_of_memory(cuda)
    assert "when 2.50 GiB more" in str(device.out_of_memory_error(advice, "cuda:0", cuda))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(ValueError("out of memory"))


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (4e15, "4 PB")]
)
def test_sizes(size: float, text: str) -> None:
    assert format_bytes(size) == text


def test_peak_memory_grows() -> None:
    before = peak_memory_mb("cpu") or 0
    block = np.ones(30_000_000)
    after = peak_memory_mb("cpu") or 0
    assert before > 10
    assert after >= before
    assert after > block.nbytes / 1e6


# -- estimates -------------------------------------------------------------------------------


@pytest.mark.parametrize(("dimension", "width", "stride", "size"), [(3, 8, 2, 32), (2, 16, 1, 128)])
def test_the_estimate_fits_what_torch_keeps(
    dimension: int, width: int, stride: int, size: int
) -> None:
    from napari_gemini.learning.objectives.base import PairBatch
    from napari_gemini.learning.objectives.gemini_semi import gemini_loss
    from napari_gemini.networks.gemini import build_network

    network = NetworkSettings(dimension=dimension, base_width=width, field_stride=stride)  # type: ignore[arg-type]
    settings = TrainSettings(network=network, precision="fp32")
    shape = (size,) * dimension
    model = build_network(network)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    first, second = torch.rand(2, 1, 1, *shape).unbind()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        gemini_loss(model, PairBatch(first, second, None, None), settings.weights, 9)
    need = estimate_training_bytes(settings, shape)
    assert 1.0 < need / sum(kept.values()) < 2.0


def test_estimates_grow_with_everything() -> None:
    def need(**changes: Any) -> int:
        network = NetworkSettings(**changes.pop("network", {}))
        return estimate_training_bytes(TrainSettings(network=network, **changes), (64, 64, 64))

    base = need()
    assert need(network={"base_width": 32}) > 1.8 * base
    assert need(pairs_per_step=2) > 1.8 * base
    assert need(network={"field_stride": 2}) < base
    assert need(objective="supervised") < base
    assert need(precision="bf16") < base
    pair = estimate_pair_bytes(NetworkSettings(), (64, 64, 64))
    assert pair < base
    assert estimate_pair_bytes(None, (64, 64, 64)) < pair
    assert estimate_pair_bytes(NetworkSettings(), (64, 64, 64), refine=10) > pair


def test_what_cannot_fit_is_refused_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_gemini.engine.memory.free_memory", lambda where: 1_000_000_000)
    check_memory(1_900_000_000, "cpu", "x")
    with pytest.raises(DeviceError, match=r"about 2\.1 GB .* has 1 GB free.*lower it"):
        check_memory(2_100_000_000, "cpu", "lower it")
    monkeypatch.setattr("napari_gemini.engine.memory.free_memory", lambda where: None)
    check_memory(10**18, "cpu", "x")


@pytest.mark.parametrize(
    ("limit", "refused"), [("2", True), ("2.2", False), ("0", False), ("", False), ("x", False)]
)
def test_a_limit_that_is_set_is_kept(
    monkeypatch: pytest.MonkeyPatch, limit: str, refused: bool
) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, limit)
    if not refused:
        check_memory(2_100_000_000, "cpu", "lower it")
        return
    with pytest.raises(DeviceError, match=r"limit that is set is 2 GB; .*lower it, or raise"):
        check_memory(2_100_000_000, "cpu", "lower it")

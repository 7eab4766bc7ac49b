"""Compute devices: choosing one, what it can do, and what to say when its memory is full.

torch is imported inside the functions, so this module can be imported anywhere.
"""

from __future__ import annotations

import contextlib
import os
import platform
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from napari_gemini.errors import DeviceError, EngineError
from napari_gemini.settings import Precision

if TYPE_CHECKING:
    import torch

_SPEC = re.compile(r"auto|cpu|mps|cuda(?::(\d+))?")
#: Words in the RuntimeErrors by which torch's allocators say that memory is full.
_FULL_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "cudnn_status_alloc_failed",
    "cublas_status_alloc_failed",
    "std::bad_alloc",
)


def import_torch() -> ModuleType:
    """Return torch.

    Raises
    ------
    EngineError
        If it is not installed or cannot be loaded.
    """
    try:
        import torch
    except ImportError as error:
        raise EngineError(
            f"This needs PyTorch, which cannot be loaded ({error}); install it with "
            "pip install 'napari-gemini[engine]'."
        ) from error
    return torch


def select_device(spec: str = "auto") -> torch.device:
    """Return the device that a user's word names.

    Parameters
    ----------
    spec
        ``auto`` (the CUDA device with most free memory, else MPS, else CPU), ``cpu``, ``cuda``,
        ``cuda:N`` or ``mps``.

    Raises
    ------
    DeviceError
        If the word is unknown or this machine has no such device.
    """
    match = _SPEC.fullmatch(spec.strip().lower())
    if match is None:
        raise DeviceError(
            f"There is no device {spec!r}; choose auto, cpu, cuda, cuda:N (N from 0) or mps."
        )
    torch = import_torch()
    word = match.group()
    if word == "auto":
        return _best_device(torch)
    if word == "mps" and not _has_mps(torch):
        raise DeviceError("This machine has no Apple GPU that PyTorch can use; use --device cpu.")
    if word.startswith("cuda"):
        _check_cuda(torch, match.group(1))
        return torch.device(word if match.group(1) else _roomiest_cuda(torch))
    return torch.device(word)


def _best_device(torch: ModuleType) -> torch.device:
    if torch.cuda.is_available():
        return torch.device(_roomiest_cuda(torch))
    return torch.device("mps" if _has_mps(torch) else "cpu")


def _roomiest_cuda(torch: ModuleType) -> str:
    count = torch.cuda.device_count()
    if count == 1:
        return "cuda:0"
    free = [torch.cuda.mem_get_info(index)[0] for index in range(count)]
    return f"cuda:{free.index(max(free))}"


def _has_mps(torch: ModuleType) -> bool:
    return bool(torch.backends.mps.is_available())


def _check_cuda(torch: ModuleType, index: str | None) -> None:
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        reason = (
            "this PyTorch was built without CUDA"
            if not built
            else "no NVIDIA driver or GPU answers"
        )
        raise DeviceError(
            f"CUDA cannot be used, because {reason}; use --device cpu, or run "
            "napari-gemini doctor to see what is missing."
        )
    count = torch.cuda.device_count()
    if index is not None and int(index) >= count:
        raise DeviceError(
            f"There is no device cuda:{index} here; the last one is cuda:{count - 1}."
        )


def list_devices() -> list[dict[str, Any]]:
    """Return what can be chosen here: name, description, total and free bytes of each device."""
    torch = import_torch()
    devices: list[dict[str, Any]] = [
        {"name": f"cuda:{index}", "description": torch.cuda.get_device_name(index)}
        for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    ]
    if _has_mps(torch):
        devices.append({"name": "mps", "description": "Apple GPU"})
    devices.append({"name": "cpu", "description": platform.processor() or platform.machine()})
    for device in devices:
        free, total = memory(device["name"])
        device.update(free=free, total=total, bf16=bf16_available(device["name"]))
    return devices


def memory(device: torch.device | str) -> tuple[int | None, int | None]:
    """Return free and total bytes of a device's memory, None where it does not say."""
    word = str(device)
    if word.startswith("cuda"):
        torch = import_torch()
        free, total = torch.cuda.mem_get_info(torch.device(word))
        # What the caching allocator holds without using it is free for us.
        free += torch.cuda.memory_reserved(word) - torch.cuda.memory_allocated(word)
        return int(free), int(total)
    import psutil

    machine = psutil.virtual_memory()
    free, total = int(machine.available), int(machine.total)
    limit = _cgroup_limit()
    if limit is not None and limit < total:
        # A container's limit counts, not the machine's memory.
        free, total = min(free, max(0, limit - _cgroup_usage())), limit
    return free, total


def free_memory(device: torch.device | str) -> int | None:
    """Return the free bytes of a device's memory, None where it does not say."""
    return memory(device)[0]


def _cgroup_limit(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    return _read_number(root / "memory.max")


def _cgroup_usage(root: Path = Path("/sys/fs/cgroup")) -> int:
    return _read_number(root / "memory.current") or 0


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def peak_memory_mb(device: torch.device | str) -> float | None:
    """Return the highest use of memory so far in MB: of the device, on CPU of this process."""
    word = str(device)
    if word.startswith("cuda"):
        return float(import_torch().cuda.max_memory_allocated(word)) / 1e6
    if sys.platform == "win32":  # pragma: no cover
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 1e6
    if sys.platform == "linux":
        # Not getrusage: its maximum begins with the size of whoever forked this process.
        peak = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
        if peak is not None:
            return int(peak.group(1)) * 1024 / 1e6
    import resource

    # Kilobytes, on macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


# -- precision -------------------------------------------------------------------------------


def bf16_available(device: torch.device | str) -> bool:
    """Whether bf16 is computed in hardware and therefore faster than fp32."""
    word = str(device)
    torch = import_torch()
    if word.startswith("cuda"):
        major, _ = torch.cuda.get_device_capability(torch.device(word))
        return bool(major >= 8 or torch.version.hip)
    return word == "cpu" and _cpu_has_bf16(torch)


def _cpu_has_bf16(torch: ModuleType) -> bool:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        supported = getattr(torch.cpu, name, None)
        if supported is not None and supported():
            return True
    return any(flag in _cpu_flags() for flag in ("avx512_bf16", "amx_bf16"))


def _cpu_flags(path: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    match = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return frozenset(match.group(1).split()) if match else frozenset()


def choose_precision(setting: Precision, device: torch.device | str) -> Literal["fp32", "bf16"]:
    """Return the precision to compute in; ``auto`` means bf16 where the hardware has it.

    Raises
    ------
    DeviceError
        If bf16 is asked for on a GPU that cannot do it.
    """
    if setting == "fp32":
        return "fp32"
    if bf16_available(device):
        return "bf16"
    if setting == "bf16" and str(device) != "cpu":
        raise DeviceError(f"The device {device} has no bf16; use precision fp32 or auto.")
    return "bf16" if setting == "bf16" else "fp32"


# -- repeatability ---------------------------------------------------------------------------


def set_threads(threads: int | None) -> int:
    """Set the number of CPU threads (None leaves it) and return the number in force."""
    torch = import_torch()
    if threads is not None and threads != torch.get_num_threads():
        torch.set_num_threads(threads)
    return int(torch.get_num_threads())


def setup_determinism(seed: int, threads: int | None = None) -> dict[str, Any]:
    """Seed every generator and ask for deterministic algorithms.

    Results are then repeated bit for bit on the same machine, torch version, precision and number
    of threads, which is why these facts are returned for the run's record.

    Parameters
    ----------
    seed
        For Python, numpy and torch (all devices).
    threads
        CPU threads, None leaves what torch chose.

    Returns
    -------
    dict
        ``seed``, ``threads``, ``torch`` (version), ``cpu_capability``.
    """
    import numpy as np

    # cuBLAS reads it when it starts; without it deterministic algorithms refuse to run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch = import_torch()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    return {
        "seed": seed,
        "threads": set_threads(threads),
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


# -- full memory -----------------------------------------------------------------------------


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device's or the machine's memory is full.

    torch is looked up and not imported: without it no error can be torch's.
    """
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in _FULL_MEMORY)


def out_of_memory_error(
    advice: str, device: torch.device | str | None = None, error: BaseException | None = None
) -> DeviceError:
    """Return the error to show when memory is full.

    Parameters
    ----------
    advice
        What to lower, continuing "To make it fit, ...".
    device
        Where it happened, if known.
    error
        What was raised; a request's size in it is repeated.
    """
    where = f" of {device}" if device is not None else ""
    size = re.search(r"allocate\s+([\d.]+\s*[KMGTPE]i?B|\d+\s+bytes)", str(error), re.IGNORECASE)
    asked = f" when {_readable(size.group(1))} more were asked for" if size else ""
    return DeviceError(f"The memory{where} is full{asked}; to make it fit, {advice}.")


def _readable(amount: str) -> str:
    number, unit = re.split(r"\s+|(?<=\d)(?=[A-Za-z])", amount.strip(), maxsplit=1)
    return format_bytes(int(number)) if unit == "bytes" else amount


def format_bytes(size: float) -> str:
    """Return a size with a fitting unit: ``1.5 GB``."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if abs(size) < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} PB"


@contextlib.contextmanager
def out_of_memory_advice(advice: str, device: torch.device | str | None = None) -> Iterator[None]:
    """Turn every out-of-memory error of the block into a :class:`DeviceError` with `advice`.

    Raises
    ------
    DeviceError
        In place of torch's, numpy's or Python's own error.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        release_memory()
        raise out_of_memory_error(advice, device, error) from error


def release_memory() -> None:
    """Give cached GPU memory back, so that a smaller try can follow."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():  # pragma: no cover
        torch.cuda.empty_cache()

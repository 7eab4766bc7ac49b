"""Tensors into safetensors files that the people of a shared folder can read."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors by name, with the permissions that any new file gets there.

    Newer releases of safetensors create files that their owner alone can read, and a study is often
    shared.

    Parameters
    ----------
    tensors
        By name, contiguous and on the CPU.
    path
        File to write; replaced where it exists.
    """
    path.unlink(missing_ok=True)
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    save_file(dict(tensors), path)
    path.chmod(mode)

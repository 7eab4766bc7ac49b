"""Small scans and label maps as files."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from napari_gemini.volumes.volume import Volume
from napari_gemini.volumes.writing import write_labels, write_volume

SHAPE = (12, 10, 8)


def affine(spacing: float = 2.0, shift: float = 0.0) -> np.ndarray:
    matrix = np.diag([spacing, spacing, spacing, 1.0])
    matrix[:3, 3] = shift
    return matrix


def scan(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    data = np.random.default_rng(seed).integers(0, 200, shape).astype(np.int16)
    data[tuple(slice(n // 4, n // 2) for n in shape)] += 500
    return data


def labels(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed + 100).integers(0, 3, shape).astype(np.uint8)


def write_scan(path: Path, seed: int, shape: tuple[int, ...] = SHAPE, **place: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        pixels = np.diag([-1.0, -1.0, 1.0, 1.0])
        write_volume(
            path, scan(seed, shape).astype(np.uint8), Volume(scan(seed, shape), pixels, False)
        )
        return
    matrix = affine(**place)
    if len(shape) == 2:
        matrix[2] = matrix[:, 2] = np.eye(4)[2]
    write_volume(path, scan(seed, shape), Volume(scan(seed, shape), matrix))


def write_map(path: Path, data: np.ndarray, **place: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_labels(path, data, Volume(data, affine(**place)))


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, to see that nothing changed."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@contextmanager
def read_only_copy(source: Path) -> Iterator[Path]:
    """Yield a copy of a folder that an ordinary user may read and not write."""
    place = Path(tempfile.mkdtemp(prefix="read-only-"))
    try:
        copy = place / source.name
        shutil.copytree(source, copy)
        for path in [place, *place.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        yield copy
    finally:
        for path in [place, *place.rglob("*")]:
            path.chmod(0o755)
        shutil.rmtree(place)


def as_ordinary_user(code: str, *arguments: object) -> str:
    """Run Python code as a user whom permissions stop (root passes them), return what it prints.

    Root gives up its rights after importing: its interpreter may lie where others see nothing.
    """
    prelude = (
        "import os, sys, numpy as np\n"
        "from napari_gemini.errors import InputError\n"
        "from napari_gemini.study.study import Study\n"
        "if os.geteuid() == 0:\n"
        "    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    )
    command = [sys.executable, "-c", prelude + code, *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()

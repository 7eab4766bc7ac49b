"""Nothing that a window imports brings torch along."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.engine.helpers import environment

LIGHT = (
    "arrays",
    "batch",
    "child",
    "client",
    "console",
    "device",
    "dispatch",
    "events",
    "jobs",
    "launch",
    "memory",
    "reporting",
    "run_folder",
    "run_session",
    "schema",
)


def loaded_by(code: str) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint('\\n'.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    return {name.partition(".")[0] for name in run.stdout.split()}


def test_no_torch_no_qt_no_dask() -> None:
    code = "\n".join(f"import napari_gemini.engine.{name}" for name in LIGHT)
    heavy = {"torch", "monai", "qtpy", "PyQt6", "napari", "dask", "distributed", "SimpleITK"}
    assert not heavy & loaded_by(code)


@pytest.mark.parametrize("name", ["client", "launch"])
def test_windows_need_little(name: str) -> None:
    heavy = {"torch", "numpy", "scipy", "nibabel", "rich", "matplotlib"}
    assert not heavy & loaded_by(f"import napari_gemini.engine.{name}")

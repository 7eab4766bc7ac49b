"""The doctor: what it finds on this machine and on machines that lack something."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from packaging.requirements import Requirement

from napari_gemini import doctor
from napari_gemini.doctor import Check


@pytest.fixture(scope="module")
def checks() -> dict[str, Check]:
    return {check.name: check for check in doctor.run_doctor()}


def environment_with(folder: Path, **variables: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder), **variables}


def test_everything_needed_is_fine_here(checks: dict[str, Check]) -> None:
    assert [check for check in checks.values() if check.needed and not check.ok] == []


def test_it_looks_at_everything(checks: dict[str, Check]) -> None:
    expected = {"Python", "torch", "GPU", "bfloat16", "monai", "safetensors", "openTSNE"}
    expected |= {"SimpleITK", "nibabel", "napari", "Qt", "Window", "Disk", "Memory", "Models"}
    assert set(checks) == expected


def test_details_are_sentences(checks: dict[str, Check]) -> None:
    for check in checks.values():
        assert check.detail.endswith((".", ")")), check
        assert "\n" not in check.detail


def test_the_calling_process_stays_free_of_torch_and_qt() -> None:
    code = "import sys; from napari_gemini.doctor import run_doctor; run_doctor(); "
    code += "sys.exit(any(name in sys.modules for name in ('torch', 'qtpy', 'monai', 'napari')))"
    assert subprocess.run([sys.executable, "-c", code], timeout=200).returncode == 0


def test_an_old_python_is_named() -> None:
    check = doctor.check_python((3, 10, 14))
    assert not check.ok
    assert "3.10.14" in check.detail
    assert check.command == "python3.11 -m venv .venv"


def test_a_missing_library_gets_its_install_command() -> None:
    answer = doctor.probe(["surely_not_installed"])["surely_not_installed"]
    check = doctor.check_library("surely_not_installed", answer)
    assert not check.ok
    assert check.detail == "surely_not_installed is not installed."
    assert check.command is not None
    assert shlex.split(check.command) == [sys.executable, "-m", "pip", "install", check.name]


def test_an_old_library_is_too_old(tmp_path: Path) -> None:
    (tmp_path / "safetensors.py").write_text("__version__ = '0.1.2'")
    answer = doctor.probe(["safetensors"], environment_with(tmp_path))["safetensors"]
    check = doctor.check_library("safetensors", answer)
    assert not check.ok
    assert "0.1.2 is too old" in check.detail
    assert check.command is not None
    assert "safetensors>=" in check.command


@pytest.mark.parametrize(
    ("version", "ok"),
    [
        ("2.9.1", False),
        ("2.10.0", True),
        ("2.10.0+cpu", True),
        ("2.13.0+cu128", True),
        ("2.14.0.dev20260101", True),
        ("2.10.0a0+gitabc", True),
        ("1.13.1", False),
    ],
)
def test_the_floor_of_torch(version: str, ok: bool) -> None:
    assert doctor.check_library("torch", {"version": version}).ok is ok


def test_the_floor_comes_from_the_package_metadata() -> None:
    assert doctor.requirement_of("torch") == Requirement("torch>=2.10")
    assert doctor.requirement_of("opentsne").specifier
    assert doctor.requirement_of("no-such-library") == Requirement("no-such-library")


def test_a_library_that_raises_is_broken_not_missing(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('DLL load failed: fbgemm.dll')")
    answer = doctor.probe(["torch"], environment_with(tmp_path))["torch"]
    check = doctor.check_library("torch", answer)
    assert not check.ok
    assert "broken" in check.detail
    assert "fbgemm.dll" in check.detail


def test_a_library_that_lacks_a_library_is_broken_not_missing(tmp_path: Path) -> None:
    (tmp_path / "monai.py").write_text("import something_else_entirely")
    answer = doctor.probe(["monai"], environment_with(tmp_path))["monai"]
    check = doctor.check_library("monai", answer)
    assert "broken" in check.detail
    assert "something_else_entirely" in check.detail


def test_a_crash_costs_only_its_own_answer(tmp_path: Path) -> None:
    (tmp_path / "monai.py").write_text("import os; print('noise'); os._exit(139)")
    answers = doctor.probe(["nibabel", "monai", "safetensors"], environment_with(tmp_path))
    assert "139" in answers["monai"]["error"]
    assert "version" in answers["nibabel"]
    assert "version" in answers["safetensors"]


def test_a_file_in_the_current_folder_is_not_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nibabel.py").write_text("__version__ = '0.0.0'")
    monkeypatch.chdir(tmp_path)
    assert doctor.probe(["nibabel"])["nibabel"]["version"] != "0.0.0"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="displays of X11 and Wayland")
def test_no_display_is_said_and_is_no_failure() -> None:
    check = doctor.check_window({"PATH": os.environ["PATH"]})
    assert not check.ok
    assert not check.needed
    assert "No display" in check.detail


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="displays of X11 and Wayland")
def test_a_display_that_is_not_there_does_not_take_us_along() -> None:
    environment = {**os.environ, "DISPLAY": ":3141", "QT_QPA_PLATFORM": "xcb"}
    environment.pop("WAYLAND_DISPLAY", None)
    check = doctor.check_window(environment)
    assert not check.ok
    assert "Qt or OpenGL" in check.detail


@pytest.mark.gui
@pytest.mark.skipif(not os.environ.get("DISPLAY"), reason="no display")
def test_a_display_has_opengl() -> None:
    check = doctor.check_window()
    assert check.ok, check
    assert "OpenGL" in check.detail


def test_broken_qt_releases_are_named() -> None:
    assert not doctor.check_qt({"binding": "PyQt6", "version": "6.11.0"}).ok
    assert doctor.check_qt({"binding": "PyQt6", "version": "6.11.2"}).ok
    check = doctor.check_qt({"error": "QtBindingsNotFoundError: no binding"})
    assert not check.ok
    assert check.command is not None
    assert "napari[pyqt6]" in check.command


def torch_answer(**changes: object) -> dict[str, object]:
    found = {"version": "2.13.0", "cuda_build": None, "cuda": False, "mps": False, "devices": []}
    return {**found, "bf16": False, **changes}


def test_gpus_are_listed() -> None:
    card = ["A Card", 24 * doctor.GIGABYTE]
    check = doctor.check_accelerator(torch_answer(cuda=True, cuda_build="12.8", devices=[card]))
    assert check.ok
    assert check.detail == "CUDA 12.8: A Card (24 GB)."


def test_a_gpu_that_torch_does_not_use_is_no_silent_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "nvidia-smi.exe" if sys.platform == "win32" else "nvidia-smi"
    (tmp_path / name).write_text("#!/bin/sh\n")
    (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    check = doctor.check_accelerator(torch_answer())
    assert not check.ok
    assert not check.needed
    assert "without CUDA" in check.detail
    assert check.command is not None
    assert "torch>=" in check.command
    old_driver = doctor.check_accelerator(torch_answer(cuda_build="13.0"))
    assert not old_driver.ok
    assert "driver" in old_driver.detail


def test_no_gpu_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.check_accelerator(torch_answer()).ok
    assert doctor.check_accelerator(torch_answer(mps=True)).ok


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    assert doctor.check_disk(tmp_path, least_gb=0).ok
    check = doctor.check_disk(tmp_path, least_gb=1e9)
    assert not check.ok
    assert str(tmp_path) in check.detail
    assert check.command is not None


def test_little_memory_is_said() -> None:
    assert doctor.check_memory(least_gb=0).ok
    more_than_there_is = psutil.virtual_memory().total / doctor.GIGABYTE + 1
    assert not doctor.check_memory(more_than_there_is).ok

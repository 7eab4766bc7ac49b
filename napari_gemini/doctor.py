"""What works on this machine, and the exact command that mends what does not.

Libraries are tried in another process (:mod:`napari_gemini.probe`): this module never imports torch
or Qt, and a library that crashes while it loads is reported instead of taking the report along.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from napari_gemini.errors import GeminiError
from napari_gemini.resources import models_folder

GIGABYTE = 1024**3
OLDEST_PYTHON = (3, 11)
LEAST_DISK_GB = 5.0
LEAST_MEMORY_GB = 4.0
PROBE_SECONDS = 180

_PROBE = Path(__file__).with_name("probe.py")
_ENGINE_LIBRARIES = ("monai", "safetensors", "openTSNE")
_FILE_LIBRARIES = ("SimpleITK", "nibabel")
_QT_LIBRARIES = (
    "libegl1 libgl1 libgl1-mesa-dri libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 "
    "libxcb-keysyms1 libxcb-render-util0 libxcb-xinerama0 libdbus-1-3 fontconfig fonts-dejavu-core"
)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name
        What was looked at, for instance ``torch``.
    ok
        Whether it is as it should be.
    detail
        One sentence: what was found.
    command
        The exact command that mends it, None where it is fine or no command helps.
    needed
        Whether the main job (train, predict, correspond) fails without it.
    """

    name: str
    ok: bool
    detail: str
    command: str | None = None
    needed: bool = True


def run_doctor(folder: Path | None = None) -> list[Check]:
    """Look at everything that the product needs on this machine.

    Parameters
    ----------
    folder
        Where the user wants to work (free disk space is looked at there); the current folder
        when None.

    Returns
    -------
    list of Check
        In the order in which a user would mend them. The machine is fine when every check with
        ``needed`` is ``ok``.
    """
    answers = probe(["torch", *_ENGINE_LIBRARIES, *_FILE_LIBRARIES, "napari", "qt"])
    checks = [check_python()]
    checks += [check_library(name, answers[name]) for name in _FILE_LIBRARIES]
    checks.append(check_library("torch", answers["torch"]))
    if "error" not in answers["torch"]:
        checks += [check_accelerator(answers["torch"]), check_bfloat16(answers["torch"])]
    checks += [check_library(name, answers[name]) for name in _ENGINE_LIBRARIES]
    checks.append(check_library("napari", answers["napari"], needed=False))
    checks.append(check_qt(answers["qt"]))
    if "error" not in answers["qt"] and "error" not in answers["napari"]:
        checks.append(check_window())
    checks += [check_disk(folder or Path.cwd()), check_memory(), check_models()]
    return checks


def probe(names: Sequence[str], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Try libraries in another process and return what each answered.

    Parameters
    ----------
    names
        What :mod:`napari_gemini.probe` knows, or names of modules.
    environment
        The process's environment, this one's when None.

    Returns
    -------
    dict
        Per name the probe's answer; ``{"error": ...}`` where it failed or died.
    """
    answers: dict[str, Any] = {}
    remaining = list(names)
    while remaining:
        # -P: a torch.py in the user's folder is not torch.
        command = [sys.executable, "-P", str(_PROBE), *remaining]
        try:
            run = subprocess.run(
                command, capture_output=True, text=True, env=environment, timeout=PROBE_SECONDS
            )
            output, end = run.stdout, _how_it_died(run.returncode, run.stderr)
        except subprocess.TimeoutExpired as error:
            output = (
                error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
            )
            end = f"did not load within {PROBE_SECONDS} seconds"
        for line in output.splitlines():
            answer = json.loads(line)
            answers[answer.pop("name")] = answer
        remaining = [name for name in remaining if name not in answers]
        if remaining:
            answers[remaining.pop(0)] = {"error": end}
    return answers


def _how_it_died(code: int, stderr: str) -> str:
    last = next((line.strip() for line in reversed(stderr.splitlines()) if line.strip()), "")
    return f"its process ended with exit code {code}{': ' + last if last else ''}"


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Check:
    """Check the interpreter's version."""
    found = ".".join(map(str, version))
    if tuple(version[:2]) < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return Check(
            "Python",
            False,
            f"Python {found} is too old, {oldest} is the oldest that works.",
            f"python{oldest} -m venv .venv",
        )
    return Check("Python", True, f"Python {found} on {platform.system()} ({sys.executable}).")


def check_library(name: str, answer: Mapping[str, Any], *, needed: bool = True) -> Check:
    """Check that a library loads and is as new as the package's metadata asks.

    Parameters
    ----------
    name
        The library's name, as a module and (up to case) on the package index.
    answer
        What the probe found.
    needed
        Whether the main job fails without it.
    """
    requirement = requirement_of(name)
    command = pip_install(requirement)
    if "error" in answer:
        missing = answer["error"].startswith("ModuleNotFoundError") and name in answer["error"]
        detail = f"{name} is not installed." if missing else f"{name} is broken: {answer['error']}."
        return Check(name, False, detail, command, needed)
    found = answer["version"]
    if not _new_enough(found, requirement):
        detail = f"{name} {found} is too old, {requirement.specifier} is needed."
        return Check(name, False, detail, command, needed)
    return Check(name, True, f"{name} {found}.", None, needed)


def check_accelerator(answer: Mapping[str, Any]) -> Check:
    """Check that torch uses the graphics card where there is one."""
    name = "GPU"
    if answer["cuda"]:
        cards = ", ".join(f"{card} ({size / GIGABYTE:.0f} GB)" for card, size in answer["devices"])
        return Check(name, True, f"CUDA {answer['cuda_build']}: {cards}.", None, False)
    if answer["mps"]:
        return Check(name, True, "Apple's GPU is used through MPS.", None, False)
    if shutil.which("nvidia-smi") is None:
        return Check(name, True, "No GPU found; everything runs on the CPU.", None, False)
    if answer["cuda_build"]:
        detail = (
            f"There is an NVIDIA driver, but torch's CUDA {answer['cuda_build']} cannot use it."
        )
        return Check(name, False, detail + " Update the driver.", "nvidia-smi", False)
    return Check(
        name,
        False,
        "There is an NVIDIA GPU, but this torch was built without CUDA: see the CUDA line in "
        "README.md, or on Linux reinstall it.",
        f"{_pip()} install --force-reinstall --no-deps '{requirement_of('torch')}'",
        False,
    )


def check_bfloat16(answer: Mapping[str, Any]) -> Check:
    """Say whether the device has bfloat16, which makes training about twice as fast."""
    if answer["bf16"]:
        return Check("bfloat16", True, "Used where it is faster.", None, False)
    return Check("bfloat16", True, "Not on this device; float32 is used instead.", None, False)


def check_qt(answer: Mapping[str, Any]) -> Check:
    """Check that there is a Qt binding for the docks."""
    if "error" in answer:
        return Check(
            "Qt",
            False,
            f"No Qt binding for napari's window ({answer['error']}).",
            f"{_pip()} install 'napari[pyqt6]'",
            False,
        )
    if answer["version"] in {"6.11.0", "6.11.1"}:
        detail = f"Qt {answer['version']} breaks napari's docks."
        return Check("Qt", False, detail, f"{_pip()} install --upgrade 'napari[pyqt6]'", False)
    return Check("Qt", True, f"{answer['binding']} with Qt {answer['version']}.", None, False)


def check_window(environment: Mapping[str, str] | None = None) -> Check:
    """Check that a window with OpenGL can be opened, as napari needs.

    Parameters
    ----------
    environment
        The environment to try it in, this process's when None.
    """
    environment = os.environ if environment is None else environment
    has_display = any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    if sys.platform.startswith("linux") and not has_display:
        return Check(
            "Window",
            False,
            "No display: napari cannot open a window here; every command works without one "
            "(the demo with --headless), and so do pictures under a virtual display.",
            "xvfb-run -a napari",
            False,
        )
    answer = probe(["window"], environment)["window"]
    if "error" in answer:
        command = f"sudo apt-get install {_QT_LIBRARIES}" if shutil.which("apt-get") else None
        detail = f"Qt or OpenGL cannot open a window: {answer['error']}."
        return Check("Window", False, detail, command, False)
    detail = f"OpenGL {answer['version']} ({answer['renderer']})."
    return Check("Window", True, detail, None, False)


def check_disk(folder: Path, least_gb: float = LEAST_DISK_GB) -> Check:
    """Check the free space of the disk that holds a folder."""
    free = shutil.disk_usage(folder).free / GIGABYTE
    detail = f"{free:.1f} GB free at {folder}"
    if free < least_gb:
        detail += f", less than the {least_gb:g} GB that a study with a few runs may take"
        return Check("Disk", False, detail + "; free some or work elsewhere.", f"df -h '{folder}'")
    return Check("Disk", True, detail + ".")


def check_memory(least_gb: float = LEAST_MEMORY_GB) -> Check:
    """Check the memory that is free now."""
    memory = psutil.virtual_memory()
    free, total = memory.available / GIGABYTE, memory.total / GIGABYTE
    detail = f"{free:.1f} of {total:.1f} GB free"
    if free < least_gb:
        detail += f", less than the {least_gb:g} GB that training a small 3D study takes"
        return Check("Memory", False, detail + "; close other programs or use --preset quick.")
    return Check("Memory", True, detail + ".")


def check_models() -> Check:
    """Check that the folder of shipped models is found, and name what is in it."""
    try:
        folder = models_folder()
    except GeminiError as error:
        command = f"{_pip()} install --force-reinstall --no-deps napari-gemini"
        return Check("Models", False, str(error), command)
    names = sorted(card.parent.name for card in folder.glob("*/model.json"))
    detail = f"Shipped: {', '.join(names)}." if names else "None is shipped with this version."
    return Check("Models", True, f"{detail} ({folder})")


def requirement_of(name: str) -> Requirement:
    """Return what the package's metadata asks of a library, just its name when it says nothing."""
    try:
        lines = importlib.metadata.requires("napari-gemini") or []
    except importlib.metadata.PackageNotFoundError:  # a source tree that was never installed
        lines = []
    for requirement in map(Requirement, lines):
        if canonicalize_name(requirement.name) == canonicalize_name(name) and requirement.specifier:
            requirement.marker = None
            requirement.extras = set()
            return requirement
    return Requirement(name)


def pip_install(requirement: Requirement) -> str:
    """Return the command that installs a requirement into this Python."""
    return f"{_pip()} install '{requirement}'"


def _pip() -> str:
    return f"{sys.executable} -m pip"


def _new_enough(version: str, requirement: Requirement) -> bool:
    try:
        # Its base version: 2.13.0+cpu and a nightly of 2.14 are as good as the release.
        return requirement.specifier.contains(Version(version).base_version, prereleases=True)
    except InvalidVersion:
        return True

"""Where a result came from: versions, data hashes, machine and settings, as plain data."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from napari_gemini import __version__
from napari_gemini.engine.plain import to_plain
from napari_gemini.errors import InputError

#: Libraries whose version can change a number.
LIBRARIES = (
    "torch",
    "monai",
    "numpy",
    "scipy",
    "nibabel",
    "SimpleITK",
    "safetensors",
    "scikit-learn",
    "openTSNE",
)
_CHUNK = 1 << 20


def collect_provenance(
    files: Mapping[str, str | Path] | None = None, settings: BaseModel | None = None
) -> dict[str, Any]:
    """Return all facts that are needed to repeat or to judge a result.

    Parameters
    ----------
    files
        Input files or folders by name; their sha256 is recorded.
    settings
        Settings that the result was made with.

    Returns
    -------
    dict
        ``created``, ``command``, ``versions``, ``host`` and, when given, ``data`` and ``settings``.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    facts: dict[str, Any] = {
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "versions": library_versions(),
        "host": host_facts(),
    }
    if files is not None:
        facts["data"] = {
            name: {"path": str(path), "sha256": sha256_of(path)} for name, path in files.items()
        }
    if settings is not None:
        facts["settings"] = settings.model_dump(mode="json")
    return dict(to_plain(facts))


def library_versions() -> dict[str, str]:
    """Return versions of Python, this package and the libraries that compute, without importing."""
    versions = {"napari-gemini": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def host_facts() -> dict[str, Any]:
    """Return what the machine is; GPUs only where torch was loaded already."""
    facts: dict[str, Any] = {
        "name": platform.node(),
        "system": platform.platform(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        facts["threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            facts["gpus"] = [
                torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
            ]
    return facts


def cpu_name(path: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match.group(1) if match else platform.processor() or platform.machine()


def sha256_of(path: str | Path) -> str:
    """Return the sha256 of a file, or of the names and contents in a folder (a DICOM series).

    Raises
    ------
    InputError
        If something cannot be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _sha256_of_folder(path)
        with path.open("rb") as stream:
            digest = hashlib.sha256()
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
            return digest.hexdigest()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); check its name and permissions."
        ) from error


def _sha256_of_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            digest.update(f"{name}\0{sha256_of(path)}\n".encode())
    return digest.hexdigest()

"""Install napari-gemini into the Python that runs this file, and replace nothing it already has.

Runs as a program of its own (``PythonSlicer guarded_install.py PACKAGE [pip options]``), never
inside Slicer. Standard library alone.

Slicer's own builds of SimpleITK, numpy and vtk belong together with its libraries: another build
disables readers of Slicer or crashes it. So they, and a PyTorch that is there already, are taken
out of the list of what pip has to install, and pip is told to keep every version it finds.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

#: Never installed where they can be imported, and never changed.
PROTECTED = ("numpy", "SimpleITK", "vtk", "torch")
DISTRIBUTION = "napari-gemini"
EXTRA = "engine"


def canonical(name: str) -> str:
    """Return a distribution's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def protected_versions() -> dict[str, str | None]:
    """Return the versions of what must not change; None: there is none, or it has no metadata."""
    versions: dict[str, str | None] = {}
    for name in PROTECTED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def constraints_for(versions: Mapping[str, str | None], present: Iterable[str]) -> list[str]:
    """Return what pip must keep to.

    Parameters
    ----------
    versions
        Of :func:`protected_versions`.
    present
        Names that can be imported.

    Returns
    -------
    list of str
        The version that is there. Slicer builds some of them itself and leaves no metadata, so
        that pip would not know they are there and install another one over it: for those no
        version at all is allowed, and what insists on one fails.
    """
    kept = {name: f"{name}=={version}" for name, version in versions.items() if version}
    return [kept.get(name, f"{name}<0") for name in versions if name in kept or name in present]


def wanted(requirements: Iterable[str], present: Iterable[str]) -> list[str]:
    """Choose what pip has to install.

    Parameters
    ----------
    requirements
        As the metadata of a distribution lists them (``torch>=2.10; extra == "engine"``).
    present
        Names that are there and stay as they are.

    Returns
    -------
    list of str
        Those without an extra and those of the extra ``engine``, for pip.
    """
    kept = {canonical(name) for name in present}
    chosen = []
    for requirement in requirements:
        specifier, _, marker = requirement.partition(";")
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
        if extra and extra.group(1) != EXTRA:
            continue
        name = re.match(r"\s*([A-Za-z0-9._-]+)", specifier)
        if name is None or canonical(name.group(1)) in kept | {DISTRIBUTION}:
            continue
        rest = re.sub(r"(\s*and\s*)?extra\s*==\s*['\"][^'\"]+['\"]", "", marker).strip()
        chosen.append(f"{specifier.strip()}; {rest}" if rest else specifier.strip())
    return chosen


def pip(*arguments: str) -> None:
    """Run pip of this Python; ends the program where it fails."""
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    print("pip install " + " ".join(arguments), flush=True)
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        sys.exit(code)


def main(arguments: Sequence[str]) -> int:
    """Install and return the exit code."""
    package, *options = arguments
    before = protected_versions()
    present = [name for name in PROTECTED if importlib.util.find_spec(name) is not None]
    constraints = constraints_for(before, present)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "constraints.txt"
        file.write_text("\n".join(constraints) + "\n")
        guard = ("--constraint", str(file), *options)
        pip("--no-deps", "--upgrade", package, *guard)
        requirements = wanted(importlib.metadata.requires(DISTRIBUTION) or [], present)
        if requirements:
            pip(*requirements, *guard)
    after = protected_versions()
    changed = [name for name in present if after[name] != before[name]]
    if changed:
        print(f"Error: pip replaced {', '.join(changed)}; reinstall Slicer.", flush=True)
        return 1
    if "torch" not in present:
        print("Error: PyTorch is missing; install it with Slicer's extension PyTorch.", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

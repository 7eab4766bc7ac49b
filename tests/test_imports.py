"""What comes along with an import, found out in a fresh Python each time."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "napari_gemini"
HEAVY = {"torch", "monai", "qtpy", "PyQt6", "PySide6", "napari", "vispy", "openTSNE", "sklearn"}
# Inside these nothing heavy may come along; engine's tasks and learning are where torch lives.
LIGHT_PARTS = ("volumes", "study", "phantom", "evaluation", "commands", "widgets")
LIGHT_ENGINE_EXCEPTIONS = ("tasks",)


def loaded_by(*modules: str) -> set[str]:
    """Import modules in a fresh Python and return every module that is loaded then."""
    code = (
        "import sys, importlib, json\n"
        "before = set(sys.modules)\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))\n"
    )
    command = [sys.executable, "-c", code, *modules]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout.splitlines()[-1]))


def top_names(modules: set[str]) -> set[str]:
    return {name.split(".")[0] for name in modules}


def modules_in(folder: Path) -> list[str]:
    """Dotted names of every module below a folder of the package."""
    files = sorted(path for path in folder.rglob("*.py") if path.name != "__main__.py")
    dotted = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in files]
    return [name.removesuffix(".__init__") for name in dotted]


def test_the_package_itself_imports_only_the_standard_library() -> None:
    tops = top_names(loaded_by("napari_gemini"))
    others = tops - set(sys.stdlib_module_names) - {"napari_gemini"}
    assert {name for name in others if not name.startswith("__editable__")} == set()


@pytest.mark.parametrize("part", LIGHT_PARTS)
def test_light_parts_bring_nothing_heavy(part: str) -> None:
    modules = modules_in(PACKAGE / part)
    allowed = {"qtpy", "PyQt6", "PySide6", "napari", "vispy"} if part == "widgets" else set()
    assert top_names(loaded_by(*modules)) & (HEAVY - allowed) == set()


def test_engine_outside_its_tasks_brings_nothing_heavy() -> None:
    folder = PACKAGE / "engine"
    modules = [
        name
        for name in modules_in(folder)
        if not any(f".engine.{part}" in name for part in LIGHT_ENGINE_EXCEPTIONS)
    ]
    assert {"napari_gemini.engine.events", "napari_gemini.engine.jobs"} <= set(modules)
    assert "napari_gemini.engine.client" in modules
    assert top_names(loaded_by(*modules)) & HEAVY == set()


@pytest.mark.parametrize(
    "module", ["cli", "doctor", "probe", "settings", "resources", "errors", "progress"]
)
def test_light_modules_bring_nothing_heavy(module: str) -> None:
    assert top_names(loaded_by(f"napari_gemini.{module}")) & HEAVY == set()


def test_the_check_notices_torch() -> None:
    assert importlib.util.find_spec("torch") is not None
    assert "torch" in top_names(loaded_by("napari_gemini.networks.gemini"))

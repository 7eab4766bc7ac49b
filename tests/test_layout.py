"""The walls of the package: which part may import which, held on the source alone (no imports)."""

from __future__ import annotations

import ast
import configparser
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "napari_gemini"

# Plain helpers that stand below everything.
BASE = {"", "errors", "progress", "settings", "resources"}
FILES = {"volumes", "study"}
# Who may import whom: the arrows of the architecture point one way.
ALLOWED: dict[str, set[str]] = {
    "volumes": set(),
    "study": {"volumes"},
    "phantom": FILES,
    "networks": FILES,
    "correspondence": FILES | {"networks"},
    "learning": FILES | {"networks", "correspondence"},
    "evaluation": FILES | {"networks", "correspondence"},
    "engine": FILES | {"phantom", "networks", "correspondence", "learning", "evaluation"},
    "doctor": {"probe"},
    "probe": set(),
    "widgets": FILES | {"phantom", "engine", "evaluation", "doctor"},
    "commands": FILES | {"phantom", "engine", "evaluation", "doctor"},
    "cli": FILES | {"phantom", "engine", "evaluation", "doctor", "commands"},
}
TORCH = {"torch", "monai"}
QT = {"qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6", "napari", "superqt", "magicgui", "vispy"}
NO_TORCH = {"volumes", "study", "phantom", "widgets", "doctor"}
# The only parts that draw; the probe looks at Qt in a process of its own.
QT_ALLOWED = {"widgets", "probe"}
# A name to import that differs from the name to install.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "simpleitk": "SimpleITK",
}


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    """Name of the subpackage or top-level module; '' for the package's own __init__."""
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    """Every imported module with its statement; ``from a import b`` also gives ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            assert node.module is not None
            yield node.module, node
            yield from ((f"{node.module}.{alias.name}", node) for alias in node.names)


def at_module_level(tree: ast.Module) -> set[int]:
    """Lines of the statements that run on import (also inside if and try, not in functions)."""
    lines: set[int] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import | ast.ImportFrom):
                lines.add(child.lineno)
            visit(child)

    visit(tree)
    return lines


def own_part(module: str) -> str | None:
    """The part of this package that a dotted name belongs to, None for other packages."""
    names = module.split(".")
    if names[0] != "napari_gemini":
        return None
    return names[1] if len(names) > 1 else ""


def is_part(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


def violations(tree: ast.Module, part: str) -> list[str]:
    """What the walls forbid in a source that belongs to `part`."""
    found = []
    at_import = at_module_level(tree)
    allowed = ALLOWED.get(part, set()) | BASE | {part}
    for module, node in imports(tree):
        top = module.split(".")[0]
        other = own_part(module)
        if other is not None and is_part(other) and other not in allowed:
            found.append(f"line {node.lineno}: {part} may not import {module}")
        if top in TORCH and part in NO_TORCH:
            found.append(f"line {node.lineno}: {part} may not import {top}, not even later")
        if top in TORCH and part in {"commands", "cli"} and node.lineno in at_import:
            found.append(f"line {node.lineno}: {part} may import {top} only inside functions")
        if top in QT and part not in QT_ALLOWED and (node.lineno in at_import or part in NO_TORCH):
            found.append(f"line {node.lineno}: {part} may not import {top}")
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_point_one_way(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    assert violations(tree, part_of(path)) == []


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("volumes", "import napari_gemini.study.study"),
        ("volumes", "def f():\n    import torch"),
        ("study", "from napari_gemini import engine"),
        ("networks", "from napari_gemini.correspondence.warp import warp"),
        ("learning", "from napari_gemini.engine.events import Event"),
        ("widgets", "from napari_gemini.networks.gemini import build_network"),
        ("commands", "import torch"),
        ("commands", "try:\n    from monai import losses\nexcept ImportError:\n    pass"),
        ("correspondence", "from qtpy.QtCore import QObject"),
    ],
)
def test_the_rules_notice(part: str, source: str) -> None:
    assert violations(ast.parse(source), part)


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("engine", "from napari_gemini.learning.trainer import train"),
        ("commands", "def f():\n    import torch"),
        ("widgets", "from qtpy.QtWidgets import QWidget"),
        ("volumes", "from napari_gemini.errors import InputError"),
    ],
)
def test_the_rules_allow(part: str, source: str) -> None:
    assert violations(ast.parse(source), part) == []


def test_every_part_has_a_rule() -> None:
    parts = {part_of(path) for path in sources()}
    assert parts - BASE <= set(ALLOWED)


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def test_setup_cfg_names_every_package() -> None:
    folders = {path.parent for path in sources()}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    listed = setup_cfg()["options"]["packages"].split()
    assert sorted(listed) == sorted(names | {"napari_gemini._models", "napari_gemini._resources"})


@pytest.mark.parametrize("folder", sorted({p.parent for p in sources()}), ids=lambda p: p.name)
def test_every_package_has_an_init(folder: Path) -> None:
    assert (folder / "__init__.py").is_file()


def declared(*sections: str) -> dict[str, Requirement]:
    """Requirements of the base install and the named extras, by normalised name."""
    parser = setup_cfg()
    lines = parser["options"]["install_requires"].splitlines()
    for section in sections:
        lines += parser["options.extras_require"][section].splitlines()
    # configparser keeps comment lines that stand inside a value.
    requirements = [Requirement(line) for line in lines if line.strip() and line.strip()[0] != "#"]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def third_party(path: Path, *, on_import: bool) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    lines = at_module_level(tree)
    tops = {
        module.split(".")[0]
        for module, node in imports(tree)
        if not on_import or node.lineno in lines
    }
    return {
        canonicalize_name(DISTRIBUTIONS.get(top, top))
        for top in tops - set(sys.stdlib_module_names) - {"napari_gemini"}
    }


def test_every_import_is_declared() -> None:
    known = set(declared("engine", "napari", "cluster"))
    missing = {
        (str(path.relative_to(PACKAGE)), name)
        for path in sources()
        for name in third_party(path, on_import=False) - known
    }
    assert missing == set()


def test_torch_free_parts_import_what_the_base_install_has() -> None:
    known = set(declared())
    parts = {"", "errors", "progress", "settings", "resources", "doctor", "probe"}
    parts |= {"volumes", "study", "phantom", "commands", "cli"}
    missing = {
        (str(path.relative_to(PACKAGE)), name)
        for path in sources()
        if part_of(path) in parts
        for name in third_party(path, on_import=True) - known
    }
    assert missing == set()


def test_every_base_requirement_is_used() -> None:
    used = {name for path in sources() for name in third_party(path, on_import=False)}
    assert set(declared()) - used == set()


def test_no_requirement_has_a_cap() -> None:
    extras = setup_cfg()["options.extras_require"]
    for requirement in declared(*extras).values():
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators <= {">="}, requirement
    assert setup_cfg()["options"]["python_requires"] == ">=3.11"


def test_base_install_has_neither_torch_nor_qt() -> None:
    names = set(declared())
    forbidden = TORCH | QT | {"napari", "safetensors", "opentsne"}
    assert names.isdisjoint(canonicalize_name(name) for name in forbidden)

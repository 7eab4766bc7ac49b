"""The module against the names that Slicer 5.10 and 5.12 have, from a manifest of its sources."""

from __future__ import annotations

import ast
import gzip
import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
MODULE = ROOT / "slicer_module"
SOURCES = [
    MODULE / "GeminiPropagate" / "GeminiPropagate.py",
    *(MODULE / "GeminiPropagate" / "GeminiPropagateLib").glob("*.py"),
]
UI = MODULE / "GeminiPropagate" / "Resources" / "UI" / "GeminiPropagate.ui"
CHECKER = ROOT.parent / "shared" / "tools" / "check_slicer_module.py"
MANIFEST = ROOT.parent / "shared" / "slicer_api.json.gz"
TAGS = ("v5.10.0", "v5.12.3")

pytestmark = pytest.mark.skipif(
    not (CHECKER.is_file() and MANIFEST.is_file()),
    reason="the manifest of Slicer's names is not beside this checkout (../shared)",
)


def test_every_name_exists_in_slicer() -> None:
    command = [sys.executable, str(CHECKER), str(MANIFEST), str(MODULE), *TAGS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    for tag in TAGS:
        assert f"@ {tag}: 0 findings" in done.stdout


@cache
def manifest() -> dict[str, Any]:
    with gzip.open(MANIFEST, "rt") as file:
        found: dict[str, Any] = json.load(file)
    return found


#: Prints what the classes of Qt that it is given have; PySide6 and the PyQt6 of other tests do not
#: bear each other in one process.
_ASK_QT = """
import json, sys
from PySide6 import QtCore, QtWidgets
found = {}
for name in sys.argv[1:]:
    kind = getattr(QtWidgets, name, None) or getattr(QtCore, name)
    about = kind.staticMetaObject
    found[name] = [about.property(n).name() for n in range(about.propertyCount())] + dir(kind)
print(json.dumps(found))
"""


@cache
def qt_members() -> dict[str, list[str]]:
    """Return what the classes of Qt have that widgets of the panel are or derive from."""
    names = {name for name in _widget_classes() if name.startswith("Q")}
    done = subprocess.run(
        [sys.executable, "-c", _ASK_QT, *sorted(names)], capture_output=True, text=True, check=True
    )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def _widget_classes() -> set[str]:
    """Return the widgets' classes and all that they derive from."""
    found: set[str] = set()
    for tag in TAGS:
        todo = [*widgets().values(), "qMRMLSortFilterProxyModel"]
        while todo:
            name = todo.pop()
            found.add(name)
            todo += manifest()[tag]["qt"].get(name, {}).get("bases", [])
    return found


def members(tag: str, widget: str) -> set[str]:
    """Return what a widget has in Slicer: of its own classes, and of Qt from PySide6."""
    known = manifest()[tag]["qt"]
    found: set[str] = set()
    todo = [widget]
    while todo:
        name = todo.pop()
        if name not in known:
            found |= set(qt_members()[name])
            continue
        entry = known[name]
        found |= set(entry["props"])
        for kind in ("slots", "invokable", "signals"):
            found |= set(entry[kind])
        todo += entry["bases"]
    return found


def widgets() -> dict[str, str]:
    root = ElementTree.parse(UI).getroot()
    return {widget.get("name", ""): widget.get("class", "") for widget in root.iter("widget")}


def uses(path: Path) -> Iterator[tuple[str, str, int]]:
    """Yield widget, member and line wherever a file uses a widget of the .ui file by its name.

    The checker of the test above sees ``self.ui.x.y`` alone; the panel writes ``ui.x.y`` and
    ``self._ui.x.y``.
    """
    names = set(widgets())
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            holder = ast.unparse(node.value.value).rsplit(".", 1)[-1]
            if holder in {"ui", "_ui"} and node.value.attr in names:
                yield node.value.attr, node.attr, node.lineno


@pytest.mark.parametrize("tag", TAGS)
def test_widgets_have_what_the_panel_uses_of_them(tag: str) -> None:
    classes = widgets()
    have = {name: members(tag, name) for name in set(classes.values())}
    found = [(path.name, *use) for path in SOURCES for use in uses(path)]
    assert len(found) > 100, "the panel's widgets were not found"
    wrong = [use for use in found if use[2] not in have[classes[use[1]]]]
    assert not wrong


@pytest.mark.parametrize("tag", TAGS)
def test_selectors_have_what_hides_nodes(tag: str) -> None:
    assert "sortFilterProxyModel" in members(tag, "qMRMLCheckableNodeComboBox")
    property_ = manifest()[tag]["qt"]["qMRMLSortFilterProxyModel"]["props"]["hiddenNodeIDs"]
    assert property_ == {"type": "QStringList", "write": True}

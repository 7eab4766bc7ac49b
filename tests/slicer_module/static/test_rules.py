"""Rules of the extension, held on its files alone: imports, packaging, names, the index."""

from __future__ import annotations

import ast
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]
EXTENSION = ROOT / "slicer_module"
MODULE = EXTENSION / "GeminiPropagate"
LIBRARY = MODULE / "GeminiPropagateLib"
UI = MODULE / "Resources" / "UI" / "GeminiPropagate.ui"
PYTHON = sorted(EXTENSION.rglob("*.py"))
TEXT = [
    path
    for path in sorted(EXTENSION.rglob("*"))
    if path.suffix in {".py", ".ui", ".md", ".txt", ".json"} or path.name == "LICENSE"
]
SLICER = {"slicer", "vtk", "qt", "ctk"}
#: What a base Slicer has besides; nothing else may be needed.
LIBRARIES = {"numpy"}
#: Parts that run without Slicer, and in other interpreters.
PLAIN = (
    *("banner", "client", "command_run", "errors", "guarded_install", "install", "interpreters"),
    *("jobs", "processes", "sentences", "session", "training_run", "translations"),
)
#: The one place where a part that runs without Slicer asks for Slicer.
ASKS_FOR_SLICER = {"translations": {"slicer"}}
#: What the index of extensions knows.
INDEX_KEYS = {
    "$schema",
    "category",
    "scm_url",
    "scm_revision",
    "scm_type",
    "build_dependencies",
    "build_subdirectory",
    "enabled",
    "tier",
}


def imports(path: Path) -> set[str]:
    """Return the top-level packages that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.stem)
def test_no_torch_and_no_engine_in_slicers_process(path: Path) -> None:
    assert not imports(path) & {"torch", "monai", "napari_gemini"}
    if "Testing" not in path.parts:
        allowed = set(sys.stdlib_module_names) | SLICER | LIBRARIES
        assert imports(path) - allowed <= {"GeminiPropagate", "GeminiPropagateLib"}


def is_translation(node: ast.AST) -> bool:
    """Say whether a node is a call of the function that translates."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) in {"_", "translate"}


#: Speak with people; the other files make files, nodes and processes of what they are given.
SPOKEN = sorted({*LIBRARY.glob("ui_*.py"), LIBRARY / "banner.py", MODULE / "GeminiPropagate.py"})


def texts(tree: ast.Module) -> list[ast.expr]:
    """Return the texts of a file outside docstrings, logs and translations."""
    left: list[ast.expr] = []
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if is_translation(node) or (
            isinstance(node, ast.Call) and "logging" in ast.unparse(node.func)
        ):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and isinstance(node.value, str)
        ):
            left.append(node)
            continue
        todo += ast.iter_child_nodes(node)
    return left


def words(text: ast.expr) -> str:
    """Return the fixed part of a text."""
    parts = text.values if isinstance(text, ast.JoinedStr) else [text]
    return "".join(str(part.value) for part in parts if isinstance(part, ast.Constant))


@pytest.mark.parametrize("path", SPOKEN, ids=lambda path: path.stem)
def test_what_the_panel_says_is_translated(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    said = [
        words(text)
        for text in texts(tree)
        if re.search(r"[A-Za-z]{2}\S* \S*[A-Za-z]{2}", words(text))
    ]
    assert said == ["napari-gemini contributors"] * said.count("napari-gemini contributors")


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.stem)
def test_sentences_of_errors_are_translated_whole(path: Path) -> None:
    """Slicer's tools collect literals; a value stands in them as a named place."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "PropagateError":
            assert not isinstance(node.args[0], ast.JoinedStr | ast.BinOp), ast.unparse(node)
            literal = isinstance(node.args[0], ast.Constant) and node.args[0].value
            assert not literal, ast.unparse(node)
        if is_translation(node):
            assert all(isinstance(given, ast.Constant) for given in node.args), ast.unparse(node)
            places = re.findall(r"\{([^{}]*)\}", node.args[-1].value)
            assert all(re.match(r"[a-z_]+", place) for place in places), ast.unparse(node)


def test_names_in_the_ui_file_are_not_translated() -> None:
    """A translated name of a parameter or of a node's class would be another one."""
    for property_ in ElementTree.parse(UI).getroot().iter("property"):
        if property_.get("name") in {"SlicerParameterName", "nodeTypes"}:
            assert property_[0].get("notr") == "true", ElementTree.tostring(property_)


@pytest.mark.parametrize("name", PLAIN)
def test_plain_parts_need_the_standard_library_alone(name: str) -> None:
    allowed = (
        set(sys.stdlib_module_names) | {"GeminiPropagateLib"} | ASKS_FOR_SLICER.get(name, set())
    )
    assert imports(LIBRARY / f"{name}.py") <= allowed


def test_plain_parts_import_plain_parts_alone() -> None:
    for name in PLAIN:
        for used in re.findall(
            r"from GeminiPropagateLib\.(\w+)", (LIBRARY / f"{name}.py").read_text()
        ):
            assert used in PLAIN, f"{name} imports {used}"


def test_windows_are_made_in_the_panel_alone() -> None:
    for path in LIBRARY.glob("*.py"):
        if not path.stem.startswith("ui_"):
            assert not imports(path) & {"qt", "ctk"}, path.name


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.stem)
def test_loading_a_file_does_nothing(path: Path) -> None:
    """Calls at file scope may only build values, and no pip is called in Slicer's process."""
    if "Testing" in path.parts:
        pytest.skip("a script for the command line")
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.If):
            assert "__name__" in ast.unparse(statement.test), ast.unparse(statement)
        elif isinstance(statement, ast.Expr):
            assert isinstance(statement.value, ast.Constant), ast.unparse(statement)
        elif isinstance(statement, ast.Try):
            assert path.stem in ASKS_FOR_SLICER, ast.unparse(statement)
        else:
            kinds = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef)
            assert isinstance(statement, (*kinds, ast.Assign, ast.AnnAssign)), statement
            # A text that is translated while the module loads keeps the language of that moment.
            outside = [] if isinstance(statement, kinds) else list(ast.walk(statement))
            assert not any(is_translation(node) for node in outside), ast.unparse(statement)
    assert not re.search(r"pip_install|pip_ensure|pip\._internal|pip\.main", path.read_text())


def test_every_file_is_packaged() -> None:
    text = (MODULE / "CMakeLists.txt").read_text()
    name = re.search(r"set\(MODULE_NAME (\w+)\)", text).group(1)
    assert name == MODULE.name
    listed = re.findall(r"^  (\S+\.\w+)$", text.replace("${MODULE_NAME}", name), re.MULTILINE)
    files = {
        path.relative_to(MODULE).as_posix()
        for path in MODULE.rglob("*")
        if path.is_file()
        and path.suffix in {".py", ".ui", ".png", ".svg", ".json"}
        and "Testing" not in path.parts
    }
    assert sorted(listed) == sorted(files)


def test_only_the_module_lies_beside_the_module() -> None:
    """Slicer takes every Python file of that folder for a module."""
    assert [path.name for path in MODULE.glob("*.py")] == ["GeminiPropagate.py"]


def widgets() -> dict[str, str]:
    root = ElementTree.parse(UI).getroot()
    return {widget.get("name"): widget.get("class") for widget in root.iter("widget")}


def test_widgets_are_used_and_exist() -> None:
    sources = [MODULE / "GeminiPropagate.py", *LIBRARY.glob("ui_*.py")]
    text = "\n".join(path.read_text() for path in sources)
    used = set(re.findall(r"(?<![A-Za-z])ui\.(\w+)", text)) - {"ui"}
    names = widgets()
    assert used <= set(names), used - set(names)
    passive = re.compile(r"label\d+|.*Section|.*Group|.*Frame|GeminiPropagate")
    bound = set(parameters().values())
    idle = {name for name in names if not passive.fullmatch(name)} - used - bound
    assert not idle, idle


def parameters() -> dict[str, str]:
    """Return the parameter and name of each widget that is bound to one."""
    found = {}
    for widget in ElementTree.parse(UI).getroot().iter("widget"):
        for property_ in widget.findall("property"):
            if property_.get("name") == "SlicerParameterName":
                found[property_.findtext("string")] = widget.get("name")
    return found


def test_bound_widgets_have_fields_of_a_type_slicer_binds() -> None:
    tree = ast.parse((MODULE / "GeminiPropagate.py").read_text())
    fields = {
        statement.target.id: ast.unparse(statement.annotation)
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name.endswith("ParameterNode")
        for statement in node.body
        if isinstance(statement, ast.AnnAssign)
    }
    binds = {
        "qMRMLNodeComboBox": r"vtkMRML\w+Node",
        "QComboBox": r"Annotated\[str, Choice.*",
        "QSpinBox": r"Annotated\[int, WithinRange.*",
        "QDoubleSpinBox": r"Annotated\[float, WithinRange.*",
        "QLineEdit": "str",
    }
    assert parameters()
    for field, name in parameters().items():
        assert re.fullmatch(binds[widgets()[name]], fields[field]), field


@pytest.mark.parametrize("path", TEXT, ids=lambda path: path.name)
def test_lines_end_as_the_index_wants(path: Path) -> None:
    content = path.read_bytes()
    assert b"\r" not in content
    assert content.endswith(b"\n")


def meta() -> dict[str, str]:
    text = (EXTENSION / "CMakeLists.txt").read_text()
    found = dict(re.findall(r'^set\(EXTENSION_(\w+) "([^"\n]*)"\)$', text, re.MULTILINE))
    found["project"] = re.search(r"^project\((\w+)\)$", text, re.MULTILINE).group(1)
    return found


def test_description_for_the_index() -> None:
    (file,) = EXTENSION.glob("*.json")
    entry = json.loads(file.read_text())
    assert set(entry) <= INDEX_KEYS
    assert set(entry) >= {"$schema", "category", "scm_url"}
    assert entry["category"] == "Registration"
    assert entry["tier"] in {1, 3, 5}
    repository = re.fullmatch(r"https://github\.com/[\w-]+/([\w-]+)\.git", entry["scm_url"])
    assert repository.group(1).startswith("Slicer")
    assert not file.stem.startswith("Slicer")
    assert file.stem == meta()["project"]
    assert meta()["DEPENDS"].split() == entry["build_dependencies"]


def test_placeholders_are_the_ones_that_the_docs_name() -> None:
    """An address that looks real and is not would be taken for one."""
    docs = (ROOT / "docs" / "slicer.md").read_text()
    for name in ("CMakeLists.txt", "GeminiAtlas.json"):
        addresses = re.findall(r"https://[^\s\"]*github[^\s\"]*", (EXTENSION / name).read_text())
        own = [address for address in addresses if "/Slicer/Slicer/" not in address]
        assert own
        assert all("/OWNER/SlicerGeminiAtlas" in address for address in own), own
        assert re.search(rf"\| `{re.escape(name)}` \| `OWNER`", docs)


def test_pictures_of_the_extension_are_there() -> None:
    described = meta()
    assert described["DESCRIPTION"]
    assert described["CONTRIBUTORS"]
    assert described["HOMEPAGE"].startswith("https://")
    for url in (described["ICONURL"], *described["SCREENSHOTURLS"].split()):
        path = EXTENSION / url.split("/main/")[1]
        with Image.open(path) as image:
            assert image.format == "PNG"
    assert (EXTENSION / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_the_readme_shows_pictures_that_are_there() -> None:
    text = (EXTENSION / "README.md").read_text()
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert pictures
    for picture in pictures:
        assert (EXTENSION / picture).is_file(), picture

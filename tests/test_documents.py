"""The documents keep what they promise: commands, options, links, functions and files exist."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
import typer

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "models/README.md"])
LINK = re.compile(r"!?\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)", re.DOTALL)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def links() -> Iterator[tuple[Path, str, str]]:
    for document in DOCUMENTS:
        text = FENCE.sub("", document.read_text(encoding="utf-8"))
        for match in LINK.finditer(text):
            yield document, match["text"], match["target"]


def heading_anchors(document: Path) -> set[str]:
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("document", "target"), [(d, t) for d, _, t in links()], ids=lambda value: Path(value).name
)
def test_links_lead_somewhere(document: Path, target: str) -> None:
    if target.startswith("https://"):
        return
    name, _, anchor = target.partition("#")
    path = (document.parent / name).resolve() if name else document
    assert path.exists(), target
    if anchor:
        assert anchor in heading_anchors(path), target


@cache
def definitions(path: Path) -> frozenset[str]:
    """Names that a module defines at its top level, and ``Class.method``."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = (item for item in node.body if isinstance(item, ast.FunctionDef))
            names |= {f"{node.name}.{method.name}" for method in methods}
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(names)


CODE_LINKS = [(d, x.strip("`"), t) for d, x, t in links() if t.endswith(".py") and x[0] == "`"]


@pytest.mark.parametrize(("document", "name", "target"), CODE_LINKS, ids=lambda v: Path(v).name)
def test_code_that_is_named_exists_there(document: Path, name: str, target: str) -> None:
    path = (document.parent / target).resolve()
    assert name == path.name or name in definitions(path), f"{name} is not in {target}"


def test_equations_and_functions_name_each_other() -> None:
    """The functions that the method page gives for a numbered equation say so themselves."""
    text = (ROOT / "docs/method.md").read_text(encoding="utf-8")
    # A paragraph that starts with a numbered equation and the function linked nearest after it.
    expected = {
        3: "correspondence/smoothness.py",
        4: "learning/objectives/gemini_semi.py",
        6: "correspondence/local_ncc.py",
        7: "correspondence/similarity.py",
        10: "learning/segmentation_loss.py",
    }
    for number, module in expected.items():
        assert re.search(rf"Eq\. (\d+ and )?{number}\b", text), number
        assert module in text
        source = (ROOT / "napari_gemini" / module).read_text(encoding="utf-8")
        assert re.search(rf"Eq\. ?[\d, -]*\b{number}\b", source), (number, module)


def shell_lines(text: str) -> Iterator[str]:
    """Lines of shell blocks, comments and continuations resolved, and inline code."""
    for language, block in FENCE.findall(text):
        if language in {"sh", "bash", "console"}:
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words:
                    yield shlex.join(words)
    yield from INLINE.findall(FENCE.sub("", text))


def documented_commands() -> list[tuple[str, str]]:
    lines = []
    for document in DOCUMENTS:
        for line in shell_lines(document.read_text(encoding="utf-8")):
            words = line.split()
            if words and words[0] == "napari-gemini" and len(words) > 1:
                lines.append((named(document), line))
    return sorted(set(lines))


@cache
def command_line() -> click.Command:
    from napari_gemini import cli

    return typer.main.get_command(cli.app)


def find_command(words: list[str]) -> tuple[click.Command, list[str]]:
    """Follow the words to the innermost command; return it and the words that are left."""
    command = command_line()
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands, f"there is no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize(("document", "line"), documented_commands())
def test_documented_commands_exist_with_their_options(document: str, line: str) -> None:
    command, words = find_command(shlex.split(line)[1:])
    known = {option for parameter in command.params for option in parameter.opts}
    known |= {option for parameter in command.params for option in parameter.secondary_opts}
    known |= {"--help"}
    options = {word.split("=")[0] for word in words if word.startswith("--")}
    assert options <= known, document


def test_every_command_is_in_the_readme_or_the_guide() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = getattr(command_line(), "commands", {})
    hidden = {name for name, command in commands.items() if command.hidden}
    # The demo is reached through make.
    missing = {n for n in commands if f"napari-gemini {n}" not in text} - hidden - {"demo"}
    assert missing == set()


def test_every_command_has_help_with_an_example() -> None:
    def leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
        for name, child in getattr(command, "commands", {}).items():
            if child.hidden:
                continue
            if getattr(child, "commands", None):
                yield from leaves(child, f"{path} {name}")
            else:
                yield f"{path} {name}", child

    for path, command in leaves(command_line(), "napari-gemini"):
        words = f"{command.help or ''} {command.epilog or ''}"
        assert path in words, f"{path} --help shows no example"


def make_targets() -> set[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][a-z0-9-]*):", text, re.MULTILINE))


def test_documented_make_targets_exist() -> None:
    named_targets = set()
    for document in DOCUMENTS:
        for line in shell_lines(document.read_text(encoding="utf-8")):
            match = re.match(r"make ([a-z][a-z0-9-]*)", line)
            if match:
                named_targets.add(match[1])
    assert named_targets >= {"demo", "test", "lint", "coverage"}
    assert named_targets <= make_targets()


def test_presets_in_the_guide_are_those_of_the_settings() -> None:
    from typing import get_args

    from napari_gemini.settings import PresetName

    text = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) >= set(get_args(PresetName))


def project_files() -> list[Path]:
    """Every text file that is part of the project."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listing.returncode == 0:
        paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    else:  # an unpacked source distribution
        paths = [path for path in ROOT.rglob("*") if ".venv" not in path.parts]
    suffixes = {".py", ".md", ".cfg", ".toml", ".txt", ".yml", ".yaml", ".sh", ".json", ".j2", ""}
    suffixes |= {".html", ".csv"}
    return [path for path in paths if path.is_file() and path.suffix in suffixes]


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    # Put together here, so that this file does not find itself; Ann lives in examples only.
    folders = "|".join(
        ["ho" + "me", "ro" + "ot", "Us" + "ers", "wo" + "rk", "m" + "nt", "da" + "ta1"]
    )
    pattern = re.compile(rf"(?<![\w.\-)}}\]])/(?:{folders})/(?!ann/)[\w.]")
    found = [
        f"{named(path)}:{number}"
        for path in project_files()
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_only_the_readme_names_a_package_index() -> None:
    words = ["py" + "pi.org", "download." + "pytorch", "--index" + "-url", "extra-index" + "-url"]
    found = [
        f"{named(path)}: {word}"
        for path in project_files()
        if path.name != "README.md"
        for word in words
        if word in path.read_text("utf-8", "replace")
    ]
    assert found == []


def test_the_first_screen_of_the_readme() -> None:
    """What it is for, a picture, the two commands, the install with PyTorch's lines, the limits."""
    screen = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## ")[0]
    places = [
        screen.index(text)
        for text in ("label five", "![", "make demo", "make test", "whl/cu", "whl/cpu", "Limits")
    ]
    assert places == sorted(places)
    for limit in ("4D", "several channels", "irrored"):
        assert limit in screen

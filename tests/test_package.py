"""The package as users install it: metadata, contents, shipped files, for every kind of install.

The sdist is built from the checkout, the wheel from that sdist and the editable wheel from a copy
of the checkout; each is installed into a fresh environment of its own, without the network.
"""

from __future__ import annotations

import configparser
import email.message
import email.parser
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from napari_gemini import resources
from napari_gemini.errors import EngineError

ROOT = Path(__file__).resolve().parents[1]
NOT_SOURCE = (".git", ".venv*", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", "demo-*")
NOT_SOURCE += (".hypothesis", "htmlcov", ".coverage*", "tests", "docs", "benchmarks", "runs")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    answer = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=280
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@dataclass(frozen=True)
class Built:
    """One build of the package."""

    checkout: Path  # the copy it was built from
    sdist: Path
    wheel: Path
    editable: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("package")
    # A copy: builds leave files behind, and stale ones of the checkout must not get in.
    checkout = folder / "checkout"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, checkout)
    editable = "import sys, setuptools.build_meta as b; b.build_editable(sys.argv[1])"
    (folder / "editable").mkdir()
    run(sys.executable, "-c", editable, folder / "editable", cwd=checkout)
    return Built(
        checkout,
        next(folder.glob("*.tar.gz")),
        next(folder.glob("*.whl")),
        next((folder / "editable").glob("*.whl")),
    )


def fresh_environment(folder: Path, package: Path) -> Path:
    """Install one file without its dependencies into a new environment; return its Python."""
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", package)
    return python


def shipped_folders(python: Path, cwd: Path) -> tuple[Path, Path, Path]:
    code = (
        "import napari_gemini, napari_gemini.resources as r\n"
        "print(napari_gemini.__file__, r.models_folder(), r.resources_folder(), sep='\\n')"
    )
    package, models, data = run(python, "-I", "-c", code, cwd=cwd).splitlines()
    return Path(package).parent, Path(models), Path(data)


def shipped_files(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_wheel_ships_models_and_resources(built: Built, tmp_path: Path) -> None:
    python = fresh_environment(tmp_path / "env", built.wheel)
    package, models, data = shipped_folders(python, tmp_path)
    assert package.is_relative_to((tmp_path / "env").resolve())
    assert models.is_relative_to(package)
    assert data.is_relative_to(package)
    assert shipped_files(models) == shipped_files(ROOT / "models")
    assert shipped_files(data) == shipped_files(ROOT / "resources")


def test_sdist_builds_and_ships_them_too(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    source = next(path for path in tmp_path.iterdir() if path.is_dir())
    wheel = "import sys, setuptools.build_meta as b; b.build_wheel(sys.argv[1])"
    run(sys.executable, "-c", wheel, tmp_path, cwd=source)
    python = fresh_environment(tmp_path / "env", next(tmp_path.glob("*.whl")))
    package, models, data = shipped_folders(python, tmp_path)
    assert package.is_relative_to((tmp_path / "env").resolve())
    assert shipped_files(models) == shipped_files(ROOT / "models")
    assert shipped_files(data) == shipped_files(ROOT / "resources")


def test_unpacked_sdist_works_in_place(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    source = next(path for path in tmp_path.iterdir() if path.is_dir())
    code = "import napari_gemini.resources as r; print(r.models_folder(), r.resources_folder())"
    answer = run(sys.executable, "-S", "-c", code, cwd=source).split()
    assert [Path(path) for path in answer] == [source / "models", source / "resources"]


def test_editable_install_finds_the_checkouts_own(built: Built, tmp_path: Path) -> None:
    python = fresh_environment(tmp_path / "env", built.editable)
    package, models, data = shipped_folders(python, tmp_path)
    assert package == built.checkout / "napari_gemini"
    assert models == built.checkout / "models"
    assert data == built.checkout / "resources"
    # Editing is the point: a new model is there without installing again.
    (models / "new").mkdir()
    assert (shipped_folders(python, tmp_path)[1] / "new").is_dir()


def test_a_models_folder_of_somebody_else_is_not_ours(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "napari_gemini"
    package.mkdir(parents=True)
    (tmp_path / "site-packages" / "models").mkdir()
    with pytest.raises(EngineError, match="reinstall napari-gemini"):
        resources._shipped_folder("models", package)


def wheel_names(built: Built) -> set[str]:
    with zipfile.ZipFile(built.wheel) as archive:
        return set(archive.namelist())


def test_wheel_holds_the_whole_package(built: Built) -> None:
    files = (path for path in (ROOT / "napari_gemini").rglob("*") if path.is_file())
    expected = {
        path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts
    }
    assert {"napari_gemini/py.typed", "napari_gemini/napari.yaml"} <= expected
    assert expected - wheel_names(built) == set()


def test_wheel_holds_nothing_else(built: Built) -> None:
    tops = {name.split("/")[0] for name in wheel_names(built)}
    assert tops == {"napari_gemini", built.wheel.name.split("-py3")[0] + ".dist-info"}
    assert not any(name.endswith((".pyc", ".orig", "~")) for name in wheel_names(built))


def test_sdist_can_test_itself(tmp_path: Path) -> None:
    # From a checkout with its tests; the shared build leaves them out to be quick.
    needed = {"tests", "docs", "scripts", "Makefile", "constraints.txt", "CONTRIBUTING.md"}
    manifest = (ROOT / "MANIFEST.in").read_text(encoding="utf-8").split()
    assert needed <= set(manifest)
    assert all((ROOT / name).exists() for name in needed)


def wheel_metadata(built: Built) -> email.message.Message:
    name = next(name for name in wheel_names(built) if name.endswith(".dist-info/METADATA"))
    with zipfile.ZipFile(built.wheel) as archive:
        return email.parser.Parser().parsestr(archive.read(name).decode("utf-8"))


def test_metadata(built: Built) -> None:
    metadata = wheel_metadata(built)
    assert metadata["Name"] == "napari-gemini"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Author"] == "napari-gemini contributors"
    assert metadata["License-File"] == "LICENSE"
    extras = set(metadata.get_all("Provides-Extra") or [])
    assert extras == {"engine", "napari", "cluster", "all", "dev"}
    assert "Framework :: napari" in (metadata.get_all("Classifier") or [])
    assert "# napari-gemini" in metadata.get_payload()


def test_what_the_extras_add(built: Built) -> None:
    lines = wheel_metadata(built).get_all("Requires-Dist") or []

    def adds(extra: str, text: str) -> bool:
        return any(text in line and f'extra == "{extra}"' in line for line in lines)

    for library in ("torch>=2.10", "monai", "safetensors", "openTSNE"):
        assert adds("engine", library), library
    for extra, library in [
        ("napari", "napari>="),
        ("cluster", "distributed"),
        ("all", "napari-gemini[engine,napari]"),
        ("all", "PyQt6"),
        ("dev", "npe2"),
        ("dev", "slicer-core"),
        ("dev", "PySide6-Essentials"),
        ("dev", "pytest"),
    ]:
        assert adds(extra, library), (extra, library)


def test_entry_points(built: Built) -> None:
    name = next(name for name in wheel_names(built) if name.endswith("entry_points.txt"))
    parser = configparser.ConfigParser()
    with zipfile.ZipFile(built.wheel) as archive:
        parser.read_string(archive.read(name).decode("utf-8"))
    assert parser["console_scripts"]["napari-gemini"] == "napari_gemini.cli:main"
    assert parser["napari.manifest"]["napari-gemini"] == "napari_gemini:napari.yaml"


def test_pyproject_holds_no_metadata() -> None:
    assert "[project" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_licence_is_bsd_3_clause_of_the_contributors() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.startswith("BSD 3-Clause License")
    assert "napari-gemini contributors" in text
    assert "Neither the name of the copyright holder" in text


def test_manifest_is_valid() -> None:
    npe2 = pytest.importorskip("npe2")
    manifest = npe2.PluginManifest.from_file(ROOT / "napari_gemini" / "napari.yaml")
    manifest.validate_imports()
    assert manifest.name == "napari-gemini"


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name.lower().replace("_", "-"): version for name, version in pins}


def test_constraints_are_exact_and_cover_what_we_ask_for() -> None:
    from packaging.requirements import Requirement

    pins = constraints()
    assert pins["torch"] == "2.13.0"
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    blocks = [parser["options"]["install_requires"], *parser["options.extras_require"].values()]
    for line in "\n".join(blocks).splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        requirement = Requirement(line)
        if requirement.name == "napari-gemini":
            continue
        pin = pins[requirement.name.lower().replace("_", "-")]
        assert requirement.specifier.contains(pin), f"{requirement} and {pin}"

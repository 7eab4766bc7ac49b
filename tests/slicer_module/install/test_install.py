"""What an installation would do, and a guarded one into a real environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from GeminiPropagateLib import guarded_install
from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.install import find_package, plan_environment, plan_slicer

from tests.slicer_module.install.wheels import make_wheel


def test_find_package(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "wheels", "napari_gemini", "1.0")
    assert find_package(str(wheel)) == (wheel, ())
    assert find_package(str(wheel.parent)) == (wheel, ("--find-links", str(wheel.parent)))
    sources = tmp_path / "sources"
    sources.mkdir()
    for wrong in ("", str(sources), str(tmp_path / "nothing")):
        with pytest.raises(PropagateError):
            find_package(wrong)
    (sources / "pyproject.toml").touch()
    assert find_package(str(sources)) == (sources, ())


def test_an_environment_leaves_slicers_variables_behind(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "napari_gemini", "1.0")
    variables = {"PATH": "/bin", "PYTHONHOME": "/slicer"}
    plan = plan_environment(
        str(wheel), tmp_path / "environment", sys.executable, variables, "--find-links 'a b'"
    )
    assert "environment of its own" in plan.question
    assert [step.environment for step in plan.steps] == [{"PATH": "/bin"}] * 2
    assert plan.steps[1].command[0] == plan.python
    assert plan.steps[1].command[-2:] == ("--find-links", "a b")


def test_an_environment_is_made_nowhere_else(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "napari_gemini", "1.0")
    with pytest.raises(PropagateError, match="not empty"):
        plan_environment(str(wheel), tmp_path, sys.executable, {})
    with pytest.raises(PropagateError, match="Python of this machine"):
        plan_environment(str(wheel), tmp_path / "environment", "", {})
    with pytest.raises(PropagateError, match="options for pip"):
        plan_environment(str(wheel), tmp_path / "new", sys.executable, {}, "'open")


def test_slicers_own_python_goes_through_slicerpytorch(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "napari_gemini", "1.0")
    with pytest.raises(PropagateError, match="extension PyTorch"):
        plan_slicer(str(wheel), "PythonSlicer", "Slicer", has_torch_utils=False)
    plan = plan_slicer(str(wheel), "PythonSlicer", "Slicer", has_torch_utils=True)
    torch, package = plan.steps
    assert torch.command[0] == "Slicer"
    assert "installTorch" in torch.command[-1]
    compile(torch.command[-1], "slicer", "exec")
    assert package.command[:2] == ("PythonSlicer", guarded_install.__file__)
    assert "torch" not in " ".join(package.command[2:])


def test_wanted_leaves_out_what_is_there() -> None:
    requirements = [
        "numpy>=1.26",
        "SimpleITK>=2.4",
        "pooch>=1.8",
        'torch>=2.10; extra == "engine"',
        'monai>=1.5; extra == "engine"',
        'tomli; python_version < "3.11" and extra == "engine"',
        'napari>=0.9; extra == "napari"',
        'napari-gemini[engine]; extra == "engine"',
    ]
    assert guarded_install.wanted(requirements, ["numpy", "simpleitk", "torch"]) == [
        "pooch>=1.8",
        "monai>=1.5",
        'tomli; python_version < "3.11"',
    ]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that, like Slicer's, has numpy, SimpleITK and vtk of its own."""
    folder = tmp_path_factory.mktemp("slicer")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    wheels = [
        make_wheel(folder / "own", name, "1.0") for name in ("numpy", "SimpleITK", "vtk", "torch")
    ]
    install(folder, *map(str, wheels))
    return folder


def install(environment: Path, *arguments: str) -> None:
    python = environment / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-index", *arguments]
    subprocess.run(command, check=True)


def versions(environment: Path) -> dict[str, str]:
    command = [str(environment / "bin" / "python"), "-m", "pip", "list", "--format=json"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return {row["name"].lower(): row["version"] for row in json.loads(answer.stdout)}


def guarded(environment: Path, wheel: Path, offered: Path) -> subprocess.CompletedProcess[str]:
    python = str(environment / "bin" / "python")
    options = ["--no-index", "--find-links", str(offered)]
    return subprocess.run(
        [python, guarded_install.__file__, str(wheel), *options],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )


@pytest.mark.skipif(sys.platform == "win32", reason="environments keep their python elsewhere")
def test_guarded_installation_replaces_nothing(environment: Path, tmp_path: Path) -> None:
    offered = tmp_path / "offered"
    for name in ("numpy", "SimpleITK", "vtk", "torch"):
        make_wheel(offered, name, "2.0")
    make_wheel(offered, "pooch", "1.9", requires=["numpy"])
    requires = ["numpy>=2", "SimpleITK>=2", "pooch>=1.8", 'torch>=2; extra == "engine"']
    wheel = make_wheel(tmp_path, "napari_gemini", "1.0", requires=requires)
    done = guarded(environment, wheel, offered)
    assert done.returncode == 0, done.stdout + done.stderr
    after = versions(environment)
    assert after["napari-gemini"] == "1.0"
    assert after["pooch"] == "1.9"
    assert {after[name] for name in ("numpy", "simpleitk", "vtk", "torch")} == {"1.0"}


@pytest.mark.skipif(sys.platform == "win32", reason="environments keep their python elsewhere")
def test_a_dependency_that_wants_another_numpy_fails(environment: Path, tmp_path: Path) -> None:
    offered = tmp_path / "offered"
    make_wheel(offered, "numpy", "2.0")
    make_wheel(offered, "monai", "1.6", requires=["numpy>=2"])
    wheel = make_wheel(tmp_path, "napari_gemini", "1.1", requires=['monai>=1.5; extra == "engine"'])
    done = guarded(environment, wheel, offered)
    assert done.returncode != 0
    assert versions(environment)["numpy"] == "1.0"


@pytest.mark.skipif(sys.platform == "win32", reason="environments keep their python elsewhere")
@pytest.mark.parametrize("name", ["vtk", "SimpleITK"])
def test_what_slicer_built_without_metadata_is_not_installed_over(
    environment: Path, tmp_path: Path, name: str
) -> None:
    """pip sees no distribution, but Slicer's own build is there."""
    (site,) = (environment / "lib").glob("python*/site-packages")
    (metadata,) = site.glob(f"{name}-*.dist-info")
    hidden = metadata.rename(tmp_path / metadata.name)
    offered = tmp_path / "offered"
    make_wheel(offered, name, "2.0")
    make_wheel(offered, "viewer", "1.0", requires=[name])
    wheel = make_wheel(tmp_path, "napari_gemini", "1.2", requires=["viewer"])
    try:
        done = guarded(environment, wheel, offered)
        code = (site / name / "__init__.py").read_text()
    finally:
        hidden.rename(metadata)
    assert done.returncode != 0, done.stdout + done.stderr
    assert "1.0" in code

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from napari_gemini.phantom.cohort import make_cohort
from napari_gemini.phantom.files import write_cohort
from tests.cli.helpers import Run, run_in_process


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return lambda *words: run_in_process(capsys, *words)


@pytest.fixture(scope="session")
def cohort3d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "3d"
    return write_cohort(folder, make_cohort(8, 3, (16, 16, 16), spacing=4.0, crop=False), test=2)


@pytest.fixture(scope="session")
def cohort2d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "2d"
    return write_cohort(folder, make_cohort(8, 2, (32, 32), crop=False), test=2)


@pytest.fixture
def scans(cohort3d: Path) -> list[Path]:
    return sorted((cohort3d / "images").iterdir())


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    return tmp_path

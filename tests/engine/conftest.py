from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.engine.fake_tasks as fakes
from napari_gemini.engine import dispatch
from napari_gemini.engine.client import EngineClient
from napari_gemini.engine.launch import stop_run
from napari_gemini.engine.run_folder import RunFolder
from tests.engine.helpers import IMPORT_FAKES


@pytest.fixture
def client() -> Iterator[EngineClient]:
    """A client whose child knows the test jobs."""
    with EngineClient(arguments=IMPORT_FAKES) as engine:
        yield engine


@pytest.fixture
def fake_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings here and in children only count."""
    monkeypatch.setenv("FAKE_TRAINING", "1")
    monkeypatch.setitem(dispatch.TASKS, "train", fakes.FAKE_TRAINING)


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Path]:
    """A study folder whose runs are ended after the test."""
    folder = tmp_path / "study"
    folder.mkdir()
    yield folder
    for run in folder.glob("runs/*"):
        stop_run(RunFolder(run), timeout=0)

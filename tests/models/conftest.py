from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from napari_gemini.engine.models.registry import write_registry
from tests.cli.helpers import Run, run_in_process
from tests.models.helpers import Behaviour, web_server, write_model


@pytest.fixture(autouse=True)
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own models, in a folder of the test; no mirror is set."""
    monkeypatch.setenv("NAPARI_GEMINI_MODELS", str(tmp_path / "own"))
    monkeypatch.delenv("NAPARI_GEMINI_MIRROR", raising=False)
    return tmp_path / "own"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return lambda *words: run_in_process(capsys, *words)


@pytest.fixture
def offered(tmp_path: Path) -> Path:
    """A folder of models with its registry, as somebody would put on the web."""
    write_model(tmp_path / "offered" / "small-2d")
    write_registry(tmp_path / "offered")
    return tmp_path / "offered"


@pytest.fixture
def behaviour() -> Behaviour:
    return Behaviour()


@pytest.fixture
def server(offered: Path, behaviour: Behaviour) -> Iterator[str]:
    with web_server(offered, behaviour) as address:
        yield address

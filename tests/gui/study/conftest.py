"""Nothing of the tests reaches the user's list of recent studies."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_gemini.study.study import Study
from napari_gemini.widgets.common.session import get_session
from napari_gemini.widgets.study.recent import FOLDER_VARIABLE
from tests.gui.helpers import make_study


@pytest.fixture(autouse=True)
def _own_recent_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "config"))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return make_study(tmp_path)


@pytest.fixture
def session(make_napari_viewer, study):
    session = get_session(make_napari_viewer())
    session.open_study(study.folder)
    return session

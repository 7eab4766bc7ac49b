"""What tests of the correspondence dock share."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_gemini.widgets.common.engine import QtEngine
from tests.gui.pair.helpers import write_pair, write_phantoms


@pytest.fixture(autouse=True)
def _no_warm_engine(monkeypatch):
    """Let the child import torch only where a test needs it."""
    monkeypatch.setattr(QtEngine, "warm", lambda self: None)


@pytest.fixture(scope="session")
def result(tmp_path_factory) -> Path:
    """A folder of results whose map is known in closed form; not to be changed."""
    return write_pair(tmp_path_factory.mktemp("result"))


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> Path:
    """Seven oblique scans of 24^3 voxels with labels."""
    return write_phantoms(tmp_path_factory.mktemp("phantoms"))


@pytest.fixture
def open_pair(make_napari_viewer, qtbot):
    """Open a window with the dock and a pair in it: ``viewer, dock, session``."""
    from napari_gemini.widgets.common.session import get_session
    from napari_gemini.widgets.pair.dock import CorrespondenceDock

    def opened(pair=None, **options):
        viewer = make_napari_viewer(**options)
        dock = CorrespondenceDock(viewer)
        viewer.window.add_dock_widget(dock, name="Correspondence")
        session = get_session(viewer)
        if pair is not None:
            session.set_pair(pair)
        return viewer, dock, session

    return opened

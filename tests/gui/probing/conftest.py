"""A window with a pair whose map is known in closed form, and the Probe dock."""

from __future__ import annotations

import pytest

from napari_gemini.widgets.common.engine import QtEngine
from napari_gemini.widgets.common.session import get_session
from napari_gemini.widgets.pair.dock import CorrespondenceDock
from napari_gemini.widgets.probing.dock import ProbeDock


@pytest.fixture(autouse=True)
def _no_warm_engine(monkeypatch):
    """Let the child import torch only where a test needs it."""
    monkeypatch.setattr(QtEngine, "warm", lambda self: None)


@pytest.fixture
def probing(make_napari_viewer, qtbot, monkeypatch):
    """Open a window with both docks: ``viewer, pair's dock, probe dock``."""
    monkeypatch.setattr(ProbeDock, "ask_to_discard", lambda self, count: True)

    def opened(pair=None, **options):
        viewer = make_napari_viewer(**options)
        correspondence = CorrespondenceDock(viewer)
        viewer.window.add_dock_widget(correspondence, name="Correspondence")
        dock = ProbeDock(viewer)
        viewer.window.add_dock_widget(dock, name="Probe")
        if pair is not None:
            get_session(viewer).set_pair(pair)
            qtbot.waitUntil(lambda: dock.pair is pair)
        return viewer, correspondence, dock

    return opened

"""A window with the Features dock, phantoms to explore, and a small model."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_gemini.widgets.common.engine import QtEngine
from napari_gemini.widgets.features.dock import FeaturesDock
from tests.gui.pair.helpers import write_phantoms


@pytest.fixture(autouse=True)
def _no_warm_engine(monkeypatch):
    """Let the child import torch only where a test needs it."""
    monkeypatch.setattr(QtEngine, "warm", lambda self: None)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> Path:
    """Oblique scans of 24^3 voxels with labels."""
    return write_phantoms(tmp_path_factory.mktemp("phantoms"))


@pytest.fixture
def features(make_napari_viewer):
    """Open a window with the dock: ``viewer, dock``."""

    def opened(**options):
        viewer = make_napari_viewer(**options)
        dock = FeaturesDock(viewer)
        viewer.window.add_dock_widget(dock, name="Features")
        return viewer, dock

    return opened

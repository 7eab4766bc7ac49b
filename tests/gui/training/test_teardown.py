"""Nothing of the docks stays behind when they go."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from napari_gemini.widgets.review.dock import ReviewDock
from napari_gemini.widgets.training.dock import TrainDock
from tests.gui.review.helpers import reviewed_study


@pytest.mark.parametrize("kind", [TrainDock, ReviewDock])
def test_a_dock_that_is_closed_leaves_nothing(make_napari_viewer, qtbot, tmp_path, kind):
    viewer = make_napari_viewer()
    dock = kind(viewer)
    viewer.window.add_dock_widget(dock, name="ours")
    session = dock.session
    session.open_study(reviewed_study(tmp_path).folder)
    panel = dock.panel if kind is ReviewDock else dock.predictions.review
    qtbot.wait(700)  # a look or two at the runs
    dead = weakref.ref(dock), weakref.ref(panel)
    viewer.window.remove_dock_widget(dock)
    dock.close()
    dock.deleteLater()
    del dock, panel
    qtbot.waitUntil(lambda: not session.engine.busy, timeout=90_000)
    qtbot.wait(100)
    gc.collect()
    assert [ref() for ref in dead] == [None, None]
    assert not [t for t in threading.enumerate() if t.name.startswith("run-watch")]
    # What happens later reaches nobody.
    session.cases_changed.emit()
    session.models_changed.emit()
    session.close_study()

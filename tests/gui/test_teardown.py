"""A closed window leaves no dock, no thread and no process behind."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import psutil
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication

from napari_gemini.engine.jobs import PingJob
from napari_gemini.widgets.common.session import get_session
from napari_gemini.widgets.features.dock import FeaturesDock
from napari_gemini.widgets.pair.dock import CorrespondenceDock
from napari_gemini.widgets.probing.dock import ProbeDock
from napari_gemini.widgets.review.dock import ReviewDock
from napari_gemini.widgets.study.dock import StudyDock
from napari_gemini.widgets.training.dock import TrainDock
from tests.gui.helpers import make_study

DOCKS = (StudyDock, TrainDock, CorrespondenceDock, ReviewDock, ProbeDock, FeaturesDock)


def test_nothing_stays_when_the_window_closes(make_napari_viewer, qtbot, tmp_path):
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    threads = set(threading.enumerate())
    viewer = make_napari_viewer()
    docks = [kind(viewer) for kind in DOCKS]
    for dock in docks:
        viewer.window.add_dock_widget(dock, name=type(dock).__name__)
    session = get_session(viewer)
    session.open_study(make_study(tmp_path).folder)
    session.show_case("case0")
    answers: list[dict] = []
    session.engine.run(PingJob(), description="Asking", on_result=answers.append)
    qtbot.waitUntil(lambda: bool(answers), timeout=60_000)
    dead = {type(dock).__name__: weakref.ref(dock) for dock in docks}
    del docks, dock

    viewer.close()
    qtbot.waitUntil(lambda: session.closed, timeout=20_000)
    # Keys bound to the viewer may hold a dock for as long as the viewer lives.
    del viewer
    deadline = time.monotonic() + 20
    # Work that was on its way when the window closed ends by itself.
    while any(ref() is not None for ref in dead.values()) and time.monotonic() < deadline:
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        QApplication.processEvents()
        gc.collect()
        time.sleep(0.05)
    assert [name for name, ref in dead.items() if ref() is not None] == []
    children = psutil.Process().children(recursive=True)
    assert {child.pid for child in children if child.status() != psutil.STATUS_ZOMBIE} <= before
    ours = [
        thread
        for thread in set(threading.enumerate()) - threads
        if thread.is_alive() and "engine" in thread.name
    ]
    assert not ours
    assert not (tmp_path / "study" / "study.lock").exists()

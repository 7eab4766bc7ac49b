"""A smoke run of every dock on the other Qt binding, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.gui.helpers import make_study

pytest.importorskip("PySide6")

_RUN = """
import sys, time
import napari
from qtpy import API_NAME
from qtpy.QtWidgets import QApplication
from napari_gemini.widgets.common.session import get_session
from napari_gemini.widgets.features.dock import FeaturesDock
from napari_gemini.widgets.pair.dock import CorrespondenceDock
from napari_gemini.widgets.probing.dock import ProbeDock
from napari_gemini.widgets.review.dock import ReviewDock
from napari_gemini.widgets.study.dock import StudyDock
from napari_gemini.widgets.training.dock import TrainDock

assert API_NAME == "PySide6", API_NAME
assert not any(name.startswith("PyQt") for name in sys.modules)
viewer = napari.Viewer(show=True)
docks = [
    kind(viewer)
    for kind in (StudyDock, TrainDock, CorrespondenceDock, ReviewDock, ProbeDock, FeaturesDock)
]
for dock in docks:
    viewer.window.add_dock_widget(dock, name=type(dock).__name__, tabify=True)
session = get_session(viewer)
session.open_study(sys.argv[1])
session.show_case("case1")
end = time.monotonic() + 2
while time.monotonic() < end:
    QApplication.processEvents()
    time.sleep(0.01)
assert session.letters.text["top"] == "A"
assert len(viewer.layers) == 2
assert [dock.messages.text for dock in docks if dock.messages.level == "error"] == []
viewer.close()
end = time.monotonic() + 2
while not session.closed and time.monotonic() < end:
    QApplication.processEvents()
assert session.closed
assert "torch" not in sys.modules
print("all docks opened and closed")
"""


_LONG = """
import sys
from qtpy.QtWidgets import QApplication, QLabel
from napari_gemini.widgets.common.bindings import keep_none_alive

app = QApplication([])
label = QLabel()
if sys.argv[1] == "mended":
    keep_none_alive()
    keep_none_alive()
    assert sys.getrefcount(None) < 2**41
for _ in range(100_000):
    label.setText("a")
print("still there", flush=True)
"""


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None cannot be deallocated there")
def test_a_long_session_on_pyside6_does_not_end_by_itself():
    def run(how: str) -> str:
        environment = {**os.environ, "QT_API": "pyside6", "QT_QPA_PLATFORM": "offscreen"}
        command = [sys.executable, "-c", _LONG, how]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=200, check=False
        )
        return done.stdout + done.stderr

    if "still there" in run("plain"):
        pytest.skip("this PySide6 keeps count of None")
    assert "still there" in run("mended")


def test_every_dock_works_on_pyside6(tmp_path):
    study = make_study(tmp_path)
    environment = {**os.environ, "QT_API": "pyside6"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _RUN, str(study.folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert "all docks opened and closed" in done.stdout, done.stderr[-3000:]
    assert "Traceback" not in done.stderr, done.stderr[-3000:]

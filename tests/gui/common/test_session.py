"""The session of a viewer: one for all docks, studies, guards, and nothing left at the end."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import weakref

import psutil
import pytest
from qtpy.QtWidgets import QWidget

from napari_gemini.engine.jobs import LoadVolumeJob, PingJob
from napari_gemini.study.study import Study
from napari_gemini.widgets.common.dock import Dock
from napari_gemini.widgets.common.session import get_session
from tests.gui.helpers import make_study


def _window(viewer) -> QWidget:
    return viewer.window._qt_window


def test_all_docks_of_a_viewer_share_a_session(make_napari_viewer_proxy):
    viewer = make_napari_viewer_proxy()
    assert get_session(viewer) is get_session(viewer)


def test_a_job_runs_in_the_child_and_answers_on_the_gui_thread(make_napari_viewer, qtbot):
    session = get_session(make_napari_viewer())
    answers = []
    handle = session.engine.run(
        PingJob(echo="hello"), description="Asking", on_result=answers.append
    )
    qtbot.waitUntil(lambda: bool(answers), timeout=20_000)
    assert answers[0]["echo"] == "hello"
    assert not handle.active
    assert session.engine.client.pid != psutil.Process().pid


def test_a_failed_job_says_one_sentence(make_napari_viewer, qtbot, tmp_path):
    session = get_session(make_napari_viewer())
    said = []
    session.engine.run(
        LoadVolumeJob(path=tmp_path / "no.nrrd"), description="Reading", on_error=said.append
    )
    qtbot.waitUntil(lambda: bool(said), timeout=20_000)
    assert "no.nrrd" in said[0]
    assert "\n" not in said[0]


def test_a_killed_child_is_told_and_replaced(make_napari_viewer, qtbot, tmp_path):
    session = get_session(make_napari_viewer())
    said, answers = [], []
    session.engine.run(PingJob(devices=True), description="Slow", on_error=said.append)
    qtbot.waitUntil(lambda: session.engine.client.pid is not None, timeout=20_000)
    psutil.Process(session.engine.client.pid).kill()
    qtbot.waitUntil(lambda: bool(said), timeout=20_000)
    session.engine.run(PingJob(echo="again"), description="Asking", on_result=answers.append)
    qtbot.waitUntil(lambda: bool(answers), timeout=20_000)


def test_a_study_is_opened_by_one_window_and_taken_over(make_napari_viewer, tmp_path):
    folder = make_study(tmp_path).folder
    session = get_session(make_napari_viewer())
    owner = subprocess.Popen(
        [sys.executable, "-c", _HOLD.format(folder=str(folder))], stdout=subprocess.PIPE, text=True
    )
    try:
        assert owner.stdout.readline().strip() == "held"
        session.open_study(folder)
        assert session.read_only
        assert not session.take_lock()
    finally:
        owner.kill()
        owner.wait()
    assert session.take_lock()
    assert not session.read_only
    session.close_study()
    assert session.study is None


class _Guard:
    answer = False
    asked = 0

    def may_close(self) -> bool:
        self.asked += 1
        return self.answer


_HOLD = """
import time
from napari_gemini.study.study import Study
with Study.open({folder!r}).lock("elsewhere"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_guard_keeps_the_window_open(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    session = get_session(viewer)
    guard = _Guard()
    session.add_close_guard(guard.may_close)
    assert not _window(viewer).close()
    assert _window(viewer).isVisible()
    assert guard.asked == 1
    guard.answer = True


def test_a_closed_window_leaves_no_child_and_no_lock(make_napari_viewer, qtbot, tmp_path):
    viewer = make_napari_viewer()
    session = get_session(viewer)
    session.open_study(make_study(tmp_path).folder)
    answers = []
    session.engine.run(PingJob(), description="Asking", on_result=answers.append)
    qtbot.waitUntil(lambda: bool(answers), timeout=20_000)
    child = psutil.Process(session.engine.client.pid)
    viewer.close()
    qtbot.waitUntil(lambda: session.closed, timeout=5_000)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert not (tmp_path / "study" / "study.lock").exists()


class _Broken:
    def end(self) -> None:
        raise AttributeError("half a window")


def test_a_dock_that_fails_at_the_end_leaves_no_child_and_no_lock(
    make_napari_viewer, qtbot, tmp_path
):
    session = get_session(make_napari_viewer())
    study = make_study(tmp_path)
    session.open_study(study.folder)
    answers = []
    session.engine.run(PingJob(), description="Asking", on_result=answers.append)
    qtbot.waitUntil(lambda: bool(answers), timeout=20_000)
    child, broken = psutil.Process(session.engine.client.pid), _Broken()
    session.on_closed(broken.end)
    session.close()
    qtbot.waitUntil(
        lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, timeout=20_000
    )
    assert Study.open(study.folder).writable


_END = """
import atexit
import napari
from qtpy.QtWidgets import QApplication
atexit.register(print, "Python ends", flush=True)
from napari_gemini.widgets.common.dock import Dock

class Told(Dock):
    def tear_down(self):
        print("ended", "whole" if self.parent() is not None else "half", flush=True)
        super().tear_down()

viewer = napari.Viewer(show=False)
dock = Told(viewer)
viewer.window.add_dock_widget(dock)
QApplication.processEvents()
{close}
"""


@pytest.mark.parametrize("close", ["viewer.close()", "pass"])
def test_a_program_that_ends_at_once_ends_its_docks_first(close):
    """Later Python and Qt take the window apart, and ending half a dock aborts the program."""
    script = _END.format(close=close)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ended whole\nPython ends" in done.stdout


def test_a_dock_dies_with_its_window(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    dock = Dock(viewer)
    viewer.window.add_dock_widget(dock, name="ours")
    dead = weakref.ref(dock)
    session = dock.session
    # What the × of a dock does.
    viewer.window.remove_dock_widget(dock)
    del dock
    qtbot.wait(50)
    gc.collect()
    assert dead() is None
    session.message.emit("info", "nobody hears this")


def test_a_message_reaches_every_dock(make_napari_viewer):
    viewer = make_napari_viewer()
    docks = [Dock(viewer), Dock(viewer)]
    docks[0].session.message.emit("warning", "The disk is nearly full.")
    assert [dock.messages.text for dock in docks] == ["The disk is nearly full."] * 2
    docks[0].messages.clear()
    assert docks[0].messages.isHidden()
    for dock in docks:
        dock.close()


@pytest.mark.parametrize("name", ["standard", "quick"])
def test_a_form_is_made_from_the_settings(qtbot, name):
    from napari_gemini.errors import InputError
    from napari_gemini.settings import preset
    from napari_gemini.widgets.common.forms import settings_form

    model = preset(name)
    fields = ["steps", "network.base_width", "weights.gss", "schedule", "gradient_clip", "threads"]
    form = settings_form(model, fields)
    qtbot.addWidget(form.widget.native)
    assert form.value == model
    form.widget.steps.value = 77
    form.widget.threads.value = "2"
    form.widget.weights_gss.value = 0.25
    changed = form.value
    assert (changed.steps, changed.threads, changed.weights.gss) == (77, 2, 0.25)
    form.widget.threads.value = "many"
    with pytest.raises(InputError, match="threads"):
        _ = form.value


def test_the_memory_limit_of_the_preferences_reaches_the_child(make_napari_viewer, qtbot):
    from napari_gemini.engine.memory import LIMIT_VARIABLE
    from napari_gemini.widgets.common.engine import QtEngine

    make_napari_viewer()
    limit = [0.0]
    engine = QtEngine(memory_limit=lambda: limit[0])
    try:
        pids = []
        for gigabytes, known in ((0.0, None), (0.0, None), (1.5, "1.5"), (1.5, "1.5"), (0.0, "0")):
            limit[0] = gigabytes
            answers: list[dict] = []
            engine.run(PingJob(), description="Asking", on_result=answers.append)
            qtbot.waitUntil(lambda answers=answers: bool(answers), timeout=60_000)
            qtbot.waitUntil(lambda: not engine.busy, timeout=20_000)
            pids.append(engine.client.pid)
            assert psutil.Process(pids[-1]).environ().get(LIMIT_VARIABLE) == known
        # A new child only where the limit has changed.
        assert [a == b for a, b in itertools.pairwise(pids)] == [True, False, True, False]
    finally:
        engine.close()

"""Bad input and bad luck in the train dock: a sentence each, nothing lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from qtpy.QtCore import Qt

from napari_gemini.engine.client import EngineClient
from napari_gemini.engine.device import out_of_memory_error
from napari_gemini.engine.events import ProgressEvent, StartedEvent
from napari_gemini.engine.failures import error_event
from napari_gemini.engine.jobs import TrainJob
from napari_gemini.engine.run_folder import RunFolder
from napari_gemini.learning.card import ModelCard
from napari_gemini.settings import NetworkSettings, preset
from napari_gemini.study.study import Study
from napari_gemini.widgets.common.engine import QtEngine
from napari_gemini.widgets.common.session import get_session
from napari_gemini.widgets.training.closing import CANCEL, STOP
from napari_gemini.widgets.training.readiness import needed_bytes
from tests.gui.training.helpers import (
    end_runs,
    forget_window,
    open_dock,
    ready_study,
    wait_state,
)

TIMEOUT = 90_000


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    made = ready_study(tmp_path)
    yield made
    end_runs(made)


@pytest.fixture
def without_torch(tmp_path: Path) -> QtEngine:
    """An engine whose child finds a torch that cannot be loaded."""
    package = tmp_path / "path" / "torch"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError(\"No module named 'torch'\")\n")
    path = f"{package.parent}:{Path(__file__).resolve().parents[3]}"
    return QtEngine(EngineClient(environment={"PYTHONPATH": path}))


def begin(study: Study, name: str = "mine") -> RunFolder:
    """Make the folder of a run that this process is going to own."""
    folder = RunFolder(study.run_dir(name))
    folder.make()
    folder.write_config(TrainJob(study=study.folder, run=name, settings=preset("standard")))
    return folder


def test_without_a_study_nothing_can_be_started(make_napari_viewer, qtbot):
    dock = open_dock(make_napari_viewer(), None)
    assert not dock.start_button.isEnabled()
    assert any("Study dock" in line for line in dock.setup.readiness.lines)
    dock.start()
    assert "No study is open" in dock.messages.text
    assert not dock.predictions.predict_button.isEnabled()


def test_without_torch_the_command_is_named(make_napari_viewer, qtbot, study, without_torch):
    viewer = make_napari_viewer()
    get_session(viewer).engine = without_torch
    dock = open_dock(viewer, study)

    def told() -> bool:
        return "pip install 'napari-gemini[engine]'" in dock.setup.readiness.lines[3]

    qtbot.waitUntil(told, timeout=TIMEOUT)
    assert not dock.start_button.isEnabled()


def test_a_training_that_did_not_fit_is_offered_with_less(make_napari_viewer, qtbot, study):
    folder = begin(study)
    dock = open_dock(make_napari_viewer(), study)
    with folder.lock():
        folder.append(StartedEvent(kind="train", pid=1))
        folder.append(ProgressEvent(done=5, total=10, message="training", values={"gss": 1.0}))
        wait_state(qtbot, dock, "running")
        qtbot.waitUntil(lambda: "1 - GSS" in dock.run.loss_plot.curves, timeout=TIMEOUT)
        folder.append(error_event(out_of_memory_error(TrainJob.memory_advice, "cuda:0")))
    wait_state(qtbot, dock, "failed")
    assert "memory of cuda:0 is full" in dock.messages.text
    assert dock.question.answers == ["Use a smaller setting and start", "Not now"]
    before = folder.read_job().settings
    dock.question.choose("Use a smaller setting and start")
    now = dock.setup.settings()
    assert needed_bytes(now, study) < needed_bytes(before, study)
    assert dock.start_button.text() == "Starting ..." or "Engine" in dock.messages.text
    qtbot.waitUntil(lambda: not dock.run.starting, timeout=TIMEOUT)


def test_a_child_that_dies_while_predicting_is_told_of(make_napari_viewer, qtbot, study):
    folder = begin(study)
    folder.append(StartedEvent(kind="train", pid=1))
    dock = open_dock(make_napari_viewer(), study)
    qtbot.waitUntil(lambda: dock.run.folder is not None, timeout=TIMEOUT)
    panel = dock.predictions
    panel.predict()
    assert panel.busy
    assert panel.predict_button.text() == "Predicting ..."
    qtbot.waitUntil(lambda: dock.session.engine.client.pid is not None, timeout=TIMEOUT)
    psutil.Process(dock.session.engine.client.pid).kill()
    qtbot.waitUntil(lambda: not panel.busy, timeout=TIMEOUT)
    assert dock.messages.level == "error"
    assert "Traceback" not in dock.messages.text
    assert panel.predict_button.text() == "Predict all"


def test_closing_asks_once_and_can_stop_the_run(make_napari_viewer, qtbot, study):
    folder = begin(study)
    viewer = make_napari_viewer(show=True)
    dock = open_dock(viewer, study)
    window = viewer.window._qt_window
    with folder.lock():
        folder.append(StartedEvent(kind="train", pid=1))
        wait_state(qtbot, dock, "running")
        assert not window.close()
        assert not window.close()  # the same question, not a second one
        dock.closing.choose(CANCEL)
        assert window.isVisible()
        assert not folder.stop_requested()
        assert not window.close()
        dock.closing.choose(STOP)
        qtbot.waitUntil(lambda: dock.session.closed, timeout=TIMEOUT)
        forget_window(viewer)
        assert folder.stop_requested()


def test_a_model_to_start_from_decides_the_layout(make_napari_viewer, qtbot, study):
    layout = NetworkSettings(dimension=3, base_width=12, field_stride=1, classes=3)
    card = ModelCard(network=layout, spacing_mm=[2.0] * 3, grid_shape=[16] * 3)
    checkpoint = study.run_dir("before") / "checkpoints" / "0000007"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.json").write_text(card.model_dump_json())
    (study.run_dir("before") / "best.json").write_text('{"checkpoint": "0000007"}')
    dock = open_dock(make_napari_viewer(), study)
    box = dock.setup.model
    box.setCurrentIndex(box.findText("before", flags=Qt.MatchFlag.MatchContains))
    assert dock.setup.job().init == str(study.run_dir("before"))
    assert dock.setup.settings().network.base_width == 12
    # Its weights fit no other preset's network either.
    dock.setup.preset.setCurrentIndex(1)
    assert dock.setup.settings().network.base_width == 12
    box.setCurrentIndex(0)
    assert dock.setup.job().init is None
    assert dock.setup.settings().network.base_width == 16


def test_settings_that_do_not_go_together_are_a_sentence(make_napari_viewer, qtbot, study):
    dock = open_dock(make_napari_viewer(), study)
    dock.setup.form.widget.threads.value = "many"
    assert "threads" in dock.setup.readiness.summary.text()
    assert not dock.setup.ready
    dock.start()
    assert "threads" in dock.messages.text
    dock.setup.form.widget.threads.value = "2"
    assert dock.setup.settings().threads == 2

"""Tiny trainings in real windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_gemini.engine.launch import stop_run
from napari_gemini.engine.run_folder import RunFolder
from napari_gemini.settings import NetworkSettings, TrainSettings
from napari_gemini.study.study import Study
from napari_gemini.widgets.training.dock import TrainDock
from tests.gui.helpers import make_study


def tiny(**changes: Any) -> TrainSettings:
    """Return settings of a training that takes milliseconds a step."""
    values: dict[str, Any] = {
        "preset": None,
        "steps": 12,
        "checkpoint_every": 4,
        "validate_every": 4,
        "threads": 1,
        "precision": "fp32",
        "shape_transfer": 0,
        "network": NetworkSettings(dimension=3, base_width=4, field_stride=2),
    }
    return TrainSettings(**{**values, **changes})


def ready_study(folder: Path, cases: int = 4, labelled: int = 2) -> Study:
    """Make a study with finished labels on a grid of 16 x 16 x 16."""
    study = make_study(folder, cases, labelled)
    for case in study.cases_with("labelled", labels=True):
        study.set_case(case.id, status="done")
    return study


def end_runs(study: Study) -> None:
    """End whatever still trains."""
    for run in study.runs_dir.glob("*"):
        stop_run(RunFolder(run), timeout=0)


def open_dock(viewer: Any, study: Study | None) -> TrainDock:
    """Open a dock in a viewer as napari does, with a study."""
    dock = TrainDock(viewer)
    viewer.window.add_dock_widget(dock, name="Train", area="right")
    if study is not None:
        dock.session.open_study(study.folder)
    return dock


def wait_ready(qtbot: Any, dock: TrainDock) -> None:
    """Wait until all questions are answered with yes."""
    qtbot.waitUntil(lambda: dock.start_button.isEnabled(), timeout=90_000)


def start(qtbot: Any, dock: TrainDock, **changes: Any) -> RunFolder:
    """Start a tiny training by the button and return its folder once it runs."""
    wait_ready(qtbot, dock)
    dock.setup.form.value = tiny(**changes)
    dock.start_button.click()
    qtbot.waitUntil(lambda: dock.run.folder is not None and not dock.run.starting, timeout=90_000)
    folder = dock.run.folder
    assert folder is not None
    return folder


def wait_state(qtbot: Any, dock: TrainDock, state: str, timeout: int = 150_000) -> None:
    """Wait until the followed run is shown in a state."""
    qtbot.waitUntil(lambda: dock.run.state == state, timeout=timeout)


def forget_window(viewer: Any) -> None:
    """Tell the fixture, which closes windows, that the user has closed this one."""
    del viewer.window._qt_window

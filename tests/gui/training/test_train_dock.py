"""The train dock in real windows, with real trainings in processes of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_gemini.study.study import Study
from napari_gemini.volumes.reading import read_labels
from napari_gemini.widgets.canvas.layers import find_layers, layer_info
from napari_gemini.widgets.training.closing import KEEP
from tests.gui.training.helpers import (
    end_runs,
    forget_window,
    open_dock,
    ready_study,
    start,
    wait_state,
)

#: Trainings start slowly on a busy machine.
TIMEOUT = 150_000


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    made = ready_study(tmp_path)
    yield made
    end_runs(made)


def test_a_training_is_followed_watched_stopped_and_resumed(make_napari_viewer, qtbot, study):
    viewer = make_napari_viewer(show=True)
    dock = open_dock(viewer, study)
    folder = start(qtbot, dock, steps=100_000, checkpoint_every=5, validate_every=5)
    assert folder.path.parent == study.runs_dir

    # Curves grow.
    qtbot.waitUntil(lambda: len(dock.run.score_plot.curves) > 0, timeout=TIMEOUT)
    # A score of 0 or 1 is not on the axis or the edge, where nobody sees its curve.
    low, high = dock.run.score_plot.limits[1]
    assert low < 0
    assert high > 1
    terms = dock.run.loss_plot.curves
    assert {"1 - GSS", "1 - GVS", "smoothness", "segmentation"} == set(terms)
    assert all(len(curve.points) >= 1 for curve in terms.values())
    (low, high), _ = dock.run.loss_plot.limits
    assert low == 0
    assert high >= terms["segmentation"].points[-1, 0]

    # The present prediction is one layer that is updated in place.
    dock.run.preview.watch("case3")
    qtbot.waitUntil(lambda: bool(find_layers(viewer, "preview", "case3")), timeout=TIMEOUT)
    (layer,) = find_layers(viewer, "preview", "case3")
    first = dock.run.preview.preview.step
    assert first is not None
    qtbot.waitUntil(lambda: (dock.run.preview.preview.step or 0) > first, timeout=TIMEOUT)
    assert find_layers(viewer, "preview") == [layer]
    assert not layer.editable

    # Stop leaves a model.
    dock.run.stop_button.click()
    assert dock.run.stop_button.text() == "Stopping ..."
    wait_state(qtbot, dock, "stopped")
    assert "usable" in dock.messages.text
    assert dock.run.stop_button.text() == "Stop"
    assert any(choice.name == folder.name for choice in dock.session.models())
    reached = dock.run.progress.step

    # Resume goes on from there.
    dock.run.resume_button.click()
    qtbot.waitUntil(lambda: dock.run.progress.step > reached, timeout=TIMEOUT)
    steps = dock.run.progress.losses["gss"].steps
    assert steps == sorted(set(steps))
    dock.run.stop()
    wait_state(qtbot, dock, "stopped")


def test_a_run_outlives_its_window_and_the_next_dock_picks_it_up(make_napari_viewer, qtbot, study):
    viewer = make_napari_viewer(show=True)
    dock = open_dock(viewer, study)
    folder = start(qtbot, dock, steps=100_000, checkpoint_every=5)
    wait_state(qtbot, dock, "running")
    window = viewer.window._qt_window
    assert not window.close()
    assert window.isVisible()
    assert dock.closing.box is not None
    dock.closing.choose(KEEP)
    qtbot.waitUntil(lambda: dock.session.closed, timeout=10_000)
    forget_window(viewer)
    assert folder.owner() is not None

    again = open_dock(make_napari_viewer(show=True), study)
    qtbot.waitUntil(lambda: again.run.folder is not None, timeout=10_000)
    assert again.run.folder.path == folder.path
    wait_state(qtbot, again, "running")
    qtbot.waitUntil(lambda: bool(again.run.loss_plot.curves), timeout=TIMEOUT)
    again.run.stop()
    wait_state(qtbot, again, "stopped")


def test_a_killed_training_is_resumed_and_its_predictions_are_judged(
    make_napari_viewer, qtbot, study
):
    viewer = make_napari_viewer()
    dock = open_dock(viewer, study)
    folder = start(qtbot, dock, steps=15, checkpoint_every=5)
    qtbot.waitUntil(lambda: dock.run.progress.checkpoint is not None, timeout=TIMEOUT)
    assert dock.run.progress.state == "running"
    os.kill(folder.owner().pid, signal.SIGKILL)
    wait_state(qtbot, dock, "interrupted")
    assert "killed" in dock.messages.text
    assert dock.run.resume_button.isEnabled()
    dock.run.resume_button.click()
    wait_state(qtbot, dock, "finished")
    assert dock.run.progress.step == 15

    # Predict all: a table with evidence, most doubtful first.
    panel, review = dock.predictions, dock.predictions.review
    panel.predict_button.click()
    assert panel.predict_button.text() == "Predicting ..."
    qtbot.waitUntil(lambda: not panel.busy and bool(review.items), timeout=TIMEOUT)
    assert {item.case for item in review.items} == {"case2", "case3"}
    assert all({"agreement", "gss_mean", "fold_percent"} <= set(i.values) for i in review.items)
    doubts = [item.doubt for item in review.table.shown()]
    assert doubts == sorted(doubts, reverse=True)

    # Selecting shows the case and what was predicted; accepting makes it the labels.
    review.next_worst()
    first = review.table.selected()
    qtbot.waitUntil(lambda: bool(find_layers(viewer, "prediction", first.case)), timeout=TIMEOUT)
    (layer,) = find_layers(viewer, "prediction", first.case)
    predicted = read_labels(first.path).data
    (labels,) = find_layers(viewer, "labels", first.case)
    assert np.array_equal(layer.data, layer_info(labels).grid.to_canvas(predicted))
    review.accept()
    session = dock.session
    assert np.array_equal(session.study.load_labels(first.case).data, predicted)
    assert session.study.case(first.case).status == "done"
    row = session.study.review()[-1]
    assert (row.case, row.verdict, row.source) == (
        first.case,
        "accepted",
        f"predictions/{folder.name}",
    )

    # The other one is corrected: its prediction is what is painted on.
    second = review.table.selected()
    assert second.case != first.case
    review.correct()
    assert np.array_equal(
        session.study.load_labels(second.case).data, read_labels(second.path).data
    )

    def painting() -> bool:
        found = find_layers(viewer, "labels", second.case)
        return bool(found) and found[-1].editable and bool(found[-1].data.any())

    qtbot.waitUntil(painting, timeout=TIMEOUT)
    assert not find_layers(viewer, "prediction")


def test_a_training_that_does_not_stop_can_be_killed(make_napari_viewer, qtbot, study):
    dock = open_dock(make_napari_viewer(), study)
    dock.run.stop_patience = 0.3
    folder = start(qtbot, dock, steps=100_000)
    wait_state(qtbot, dock, "running")
    os.kill(folder.owner().pid, signal.SIGSTOP)
    dock.run.stop_button.click()
    qtbot.waitUntil(lambda: bool(dock.run.question.answers), timeout=10_000)
    assert dock.run.question.answers == ["Kill it", "Wait"]
    dock.run.question.choose("Kill it")
    wait_state(qtbot, dock, "stopped")
    assert folder.owner() is None

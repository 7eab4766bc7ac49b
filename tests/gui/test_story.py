"""The whole story in real windows: label, crash, reopen, train, predict, match, probe, explore."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_gemini.study.study import Study
from napari_gemini.widgets.canvas.layers import find_layers
from napari_gemini.widgets.common.session import get_session
from napari_gemini.widgets.features.dock import FeaturesDock
from napari_gemini.widgets.features.painting import SELECTION
from napari_gemini.widgets.pair.dock import CorrespondenceDock
from napari_gemini.widgets.probing.dock import ProbeDock
from napari_gemini.widgets.probing.marks import SIMILARITY
from napari_gemini.widgets.study.dock import StudyDock
from napari_gemini.widgets.study.labelling import labelling_of
from tests.gui.mouse import around, drag, wait_until_still
from tests.gui.study.helpers import on_disk
from tests.gui.study.test_safety import PAINTING
from tests.gui.training.helpers import end_runs, open_dock, ready_study, start, wait_state

TIMEOUT = 150_000


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    made = ready_study(tmp_path, cases=4, labelled=2)
    # case1 is labelled by hand in this story.
    made.set_case("case1", status="started")
    yield made
    end_runs(made)


def _paint_until_killed(study: Study) -> tuple[list[tuple[float, tuple[int, ...]]], float]:
    """Let another process paint for some seconds and kill it in the middle."""
    window = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PAINTING, str(study.folder)],
        stdout=subprocess.PIPE,
        text=True,
    )
    painted: list[tuple[float, tuple[int, ...]]] = []
    try:
        assert window.stdout is not None
        for line in window.stdout:
            moment, *voxel = line.split()
            painted.append((float(moment), tuple(map(int, voxel))))
            if painted[-1][0] - painted[0][0] > 5:
                break
    finally:
        window.kill()
        killed = time.time()
        window.wait()
    return painted, killed


@pytest.mark.slow
def test_from_a_stroke_to_a_lasso(make_napari_viewer, qtbot, study):
    # Paint; the process is killed; at most the last three seconds are gone.
    painted, killed = _paint_until_killed(study)
    found = on_disk(study, "case1")
    due = [voxel for moment, voxel in painted if moment < killed - 3]
    assert len(due) > 10
    assert all(found[voxel] == 1 for voxel in due)

    # Reopen, look, finish the case.
    viewer = make_napari_viewer(show=True)
    study_dock = StudyDock(viewer)
    viewer.window.add_dock_widget(study_dock, name="Study")
    session = get_session(viewer)
    study_dock.open_study(study.folder)
    session.show_case("case1")
    labelling = labelling_of(session)
    np.testing.assert_array_equal(labelling.view.values(), found)
    labelling.set_status("done")
    assert not labelling.view.labels.editable

    # Train in the background, stop, resume to the end.
    train = open_dock(viewer, None)
    start(qtbot, train, steps=40, checkpoint_every=4, validate_every=4)
    qtbot.waitUntil(lambda: train.run.progress.checkpoint is not None, timeout=TIMEOUT)
    train.run.stop_button.click()
    qtbot.waitUntil(lambda: train.run.progress.state in ("stopped", "finished"), timeout=TIMEOUT)
    if train.run.progress.state == "stopped":
        qtbot.waitUntil(train.run.resume_button.isEnabled, timeout=TIMEOUT)
        train.run.resume_button.click()
    wait_state(qtbot, train, "finished")
    run = train.run.folder.name

    # Predict all the rest.
    qtbot.waitUntil(train.predictions.predict_button.isEnabled, timeout=TIMEOUT)
    train.predictions.predict_button.click()
    qtbot.waitUntil(lambda: bool(train.predictions.review.items), timeout=TIMEOUT)
    assert study.prediction_path(run, "case3").is_file()

    # Correspondence of two cases with that model.
    pair_dock = CorrespondenceDock(viewer)
    viewer.window.add_dock_widget(pair_dock, name="Correspondence")
    match = pair_dock.match_panel
    qtbot.waitUntil(lambda: match.model.findText(run) >= 0, timeout=TIMEOUT)
    match.moving.setCurrentIndex(match.moving.findText("case0"))
    match.fixed.setCurrentIndex(match.fixed.findText("case2"))
    match.model.setCurrentIndex(match.model.findText(run))
    match.refine.setValue(10)
    match.start_button.click()
    qtbot.waitUntil(lambda: session.pair is not None, timeout=TIMEOUT)
    pair = session.pair
    assert pair.report["model"]
    pair_dock.evidence_panel.grid.click()
    assert pair_dock.view.deformation.shows_grid

    # Probe a voxel.
    probe = ProbeDock(viewer)
    viewer.window.add_dock_widget(probe, name="Probe")
    qtbot.waitUntil(lambda: probe.pair is pair, timeout=TIMEOUT)
    probe.probe_at("fixed", pair.fixed.voxel_to_world(np.array([6, 7, 8])))
    qtbot.waitUntil(lambda: probe.latency is not None, timeout=TIMEOUT)
    assert find_layers(pair_dock.partner.model, SIMILARITY)

    # Explore the features of the scan and take the left half in with the lasso.
    features = FeaturesDock(viewer)
    viewer.window.add_dock_widget(features, name="Features")
    qtbot.waitUntil(lambda: features.setup.scan.source is not None, timeout=TIMEOUT)
    features.setup.samples.setValue(100)
    features.start()
    qtbot.waitUntil(lambda: features.runner.busy, timeout=TIMEOUT)
    qtbot.waitUntil(lambda: not features.runner.busy, timeout=TIMEOUT)
    plot = features.map.plots[0]
    places = wait_until_still(qtbot, plot.on_canvas)
    chosen = places[:, 0] < np.median(places[:, 0])
    drag(qtbot, plot.canvas, around(places[chosen], margin=4))
    assert features.map.selection[chosen].all()
    assert find_layers(viewer, SELECTION)

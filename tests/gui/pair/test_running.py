"""Pairs computed in the child: progress, stop, failure, and where the results go."""

from __future__ import annotations

import json

import numpy as np
import psutil
import pytest

from napari_gemini.engine.client import EngineClient
from napari_gemini.study.study import Study
from napari_gemini.widgets.canvas.layers import image_layer
from napari_gemini.widgets.pair.inputs import Source
from tests.gui.pair.helpers import make_pair


@pytest.fixture
def study(phantoms, tmp_path):
    images = sorted((phantoms / "images").iterdir())[:2]
    return Study.create(tmp_path / "study", images, labels_dir=phantoms / "labels")


def finish(dock, qtbot):
    qtbot.waitUntil(lambda: not dock.runner.busy, timeout=240_000)


def test_a_pair_of_a_study(open_pair, qtbot, study):
    """Compute, look, stop, be killed, run out of memory: one window, one child."""
    _, dock, session = open_pair()
    session.open_study(study.folder)
    panel = dock.match_panel
    qtbot.waitUntil(lambda: panel.moving.count() == 3)
    first, second = (case.id for case in study.cases)
    assert panel.moving.source.case == first
    assert panel.fixed.source.case == second
    assert panel.moving_labels.source.case == first
    assert panel.fixed_labels.source.case == second
    assert panel.model.currentText().startswith(("none", "general"))

    panel.model.setCurrentIndex(panel.model.count() - 1)  # refinement only
    panel.refine.setValue(3)
    panel.similarity.setCurrentText("self-similarity")
    said = []
    dock.runner.progressed.connect(lambda done, total, words: said.append(words))
    dock.start()
    assert panel.start_button.text() == "Working..."
    assert not panel.start_button.isEnabled()
    finish(dock, qtbot)
    assert dock.messages.level == "info", dock.messages.text
    assert any("Refining" in words for words in said)

    folder = study.folder / "pairs" / f"{second}__{first}"
    report = json.loads((folder / "report.json").read_text())
    assert set(report["dice"]) == {"1", "2", "3", "4", "5", "6"} & set(report["dice"]) != set()
    assert report["settings"]["similarity"] == "self-similarity"
    assert (folder / "inverse" / "field.h5").is_file()
    pair = session.pair
    assert (pair.folder, pair.fixed_case, pair.moving_case) == (folder, second, first)
    assert session.case == second
    assert [panel.results.itemText(i) for i in range(panel.results.count())] == [
        f"{first} → {second}"
    ]
    # The map in the window is the one on disk, both ways.
    points = pair.fixed.voxel_to_world(np.array([[10.0, 11, 12], [12, 9, 13]]))
    home = pair.map_moving_to_fixed(pair.map_fixed_to_moving(points))
    assert np.abs(home - points).max() < 2.0
    # Contours have the labels of the study.
    qtbot.waitUntil(lambda: pair.known("moving_labels") is not None)

    # Stop: nothing is written, the former result stays.
    before = (folder / "report.json").read_text()
    panel.refine.setValue(2000)
    dock.start()
    qtbot.waitUntil(lambda: panel.bar.maximum() == 2000, timeout=60_000)
    panel.stop_button.click()
    assert panel.stop_button.text() == "Stopping..."
    finish(dock, qtbot)
    assert dock.messages.text.startswith("Stopped")
    assert panel.start_button.isEnabled()
    assert (folder / "report.json").read_text() == before

    # Kill: a sentence, and the next job gets a new child.
    dock.start()
    qtbot.waitUntil(lambda: panel.bar.maximum() == 2000, timeout=60_000)
    psutil.Process(session.engine.client.pid).kill()
    finish(dock, qtbot)
    assert dock.messages.level == "error"
    assert (folder / "report.json").read_text() == before
    assert session.pair is pair

    # Out of memory, found out before anything runs: a coarser grid is offered.
    panel.refine.setValue(1)
    panel.spacing.setValue(0.05)
    dock.start()
    finish(dock, qtbot)
    assert dock.messages.level == "error"
    assert "memory" in dock.messages.text
    qtbot.waitUntil(lambda: not panel.retry_button.isHidden())
    panel.spacing.setValue(3.0)
    panel.retry_button.click()
    assert panel.spacing.value() == pytest.approx(0.08, abs=0.01)
    assert panel.retry_button.isHidden()
    finish(dock, qtbot)

    # Another study on the canvas closes the pair.
    session.close_study()
    assert session.pair is None
    assert dock.view is None


def test_without_a_study_results_are_temporary(open_pair, qtbot):
    """Two layers that are in no file; the folder goes with the window."""
    pair = make_pair()
    viewer, dock, session = open_pair()
    viewer.add_layer(image_layer(pair.fixed, "a"))
    viewer.add_layer(image_layer(pair.moving, "b"))
    panel = dock.match_panel
    qtbot.waitUntil(lambda: panel.fixed.count() == 3)
    dock.start()
    assert dock.messages.text == "" or "Choose" not in dock.messages.text
    panel.moving.choose(next(s for s in panel.moving._sources if s.name == "layer: b"))
    panel.fixed.choose(next(s for s in panel.fixed._sources if s.name == "layer: a"))
    dock.runner.stop()
    finish(dock, qtbot)
    panel.refine.setValue(1)
    dock.start()
    finish(dock, qtbot)
    found = session.pair
    assert found is not None, dock.messages.text
    assert found.temporary
    assert "goes with the window" in dock.messages.text
    assert np.allclose(found.fixed.affine, pair.fixed.affine, atol=1e-4)
    # The other scan's layer is set aside while the pair is shown, and comes back.
    assert "b" not in viewer.layers
    session.set_pair(None)
    assert "b" in viewer.layers
    folder = found.folder
    assert folder.is_dir()
    dock.tear_down()
    assert not folder.exists()


def test_what_cannot_run_says_one_sentence(open_pair, qtbot, tmp_path):
    _, dock, session = open_pair()
    dock.start()
    assert "Choose a moving and a fixed scan" in dock.messages.text
    panel = dock.match_panel
    flat, deep = tmp_path / "flat.png", tmp_path / "deep.nii.gz"
    pair = make_pair()
    from napari_gemini.volumes.pictures import write_png
    from napari_gemini.volumes.writing import write_volume

    write_volume(deep, pair.fixed.data, pair.fixed)
    write_png(flat, np.random.default_rng(0).integers(0, 255, (40, 40)).astype(np.uint8))
    panel.moving.choose(Source("flat", path=flat))
    panel.fixed.choose(Source("deep", path=deep))
    dock.start()
    finish(dock, qtbot)
    assert dock.messages.level == "error"
    assert "2D" in dock.messages.text
    assert "3D" in dock.messages.text
    assert "\n" not in dock.messages.text

    session.engine.client = EngineClient(python=str(tmp_path / "no-python"))
    dock.start()
    finish(dock, qtbot)
    assert "no-python" in dock.messages.text
    assert panel.start_button.isEnabled()

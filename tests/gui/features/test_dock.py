"""The Features dock in real windows, with the real child and the mouse on the scatter."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import psutil
import pytest
from qtpy.QtWidgets import QLabel

from napari_gemini.volumes.reading import read_labels, read_volume
from napari_gemini.widgets.canvas.layers import find_layers, image_layer, labels_layer
from napari_gemini.widgets.features.painting import CLUSTERS, SELECTION
from tests.cli.models import write_model
from tests.gui.features.test_exploration import explored
from tests.gui.helpers import make_study
from tests.gui.mouse import around, drag, wait_until_still

SAMPLES = 150


def wait(qtbot, dock, seconds: float = 120):
    qtbot.waitUntil(lambda: not dock.runner.busy, timeout=int(seconds * 1000))


def choose(box, words: str):
    index = next(k for k in range(box.count()) if words in box.itemText(k))
    box.setCurrentIndex(index)


def test_two_models_are_compared_and_brushed(features, qtbot, phantoms, tmp_path):
    image = sorted((phantoms / "images").iterdir())[0]
    known = read_labels(phantoms / "labels" / image.name)
    viewer, dock = features(show=True)
    viewer.add_layer(image_layer(read_volume(image), "scan"))
    own = viewer.add_layer(labels_layer(known, "labels"))
    model = write_model(tmp_path / "model", 3)
    qtbot.waitUntil(lambda: dock.setup.scan.source is not None)
    choose(dock.setup.labels, "layer: labels")
    for box in (dock.setup.model, dock.setup.model2):
        box.addItem("small", str(model))
    dock.setup.model.setCurrentIndex(dock.setup.model.findData("none"))
    dock.setup.model2.setCurrentIndex(dock.setup.model2.count() - 1)
    dock.setup.samples.setValue(SAMPLES)
    layouts = []
    dock.runner.laid_out.connect(lambda which, found: layouts.append((which, found.coordinates)))
    dock.start()
    assert dock.runner.busy
    assert not dock.setup.start.isEnabled()
    wait(qtbot, dock)
    qtbot.waitUntil(lambda: dock.map.found[1] is not None and bool(dock.map.found[1].scores))
    first, second = dock.map.found
    # It took shape before the eyes, and both models have the same voxels.
    assert len([which for which, _ in layouts if which == 0]) > 10
    assert not np.allclose(layouts[0][1], layouts[5][1])
    assert first.same_voxels(second)
    assert first.facts["features"] == "local descriptors"
    assert second.facts["features"] == "network"
    assert np.array_equal(first.label, known.data[tuple(first.index.T)])
    assert dock.clusters.table.columnCount() == 2
    assert dock.map.by == "label"
    assert dock.map.plots[1].isVisible()

    # The lasso paints the voxels of the points, and marks them in the other layout.
    plot = dock.map.plots[0]
    places = wait_until_still(qtbot, plot.on_canvas)
    chosen = places[:, 0] < np.median(places[:, 0])
    drag(qtbot, plot.canvas, around(places[chosen], margin=4))
    mask = dock.map.selection
    assert mask[chosen].all()
    assert mask.sum() < SAMPLES
    assert np.array_equal(dock.map.plots[1].selection, mask)
    (layer,) = find_layers(viewer, SELECTION)
    painted = first.grids[0].from_canvas(np.asarray(layer.data)) > 0
    assert np.array_equal(painted[tuple(first.index.T)], mask)
    assert painted.sum() == mask.sum()

    # A label that is picked in the volume selects its points.
    value = int(first.label.max())
    viewer.layers.selection.active = own
    own.selected_label = value
    qtbot.waitUntil(lambda: np.array_equal(dock.map.selection, first.label == value))

    # A category that is picked in the list, and the layers the user deletes.
    viewer.layers.remove(find_layers(viewer, SELECTION)[0])
    dock.map.colour_by.setCurrentIndex(dock.map.colour_by.findData("kmeans"))
    dock.map.pick.setCurrentIndex(1)
    dock.map._on_pick(1)
    assert np.array_equal(dock.map.selection, first.kmeans == 1)

    # Clusters become a labels layer on the scan's grid.
    dock.map_clusters(0, "kmeans")
    wait(qtbot, dock)
    qtbot.waitUntil(lambda: bool(find_layers(viewer, CLUSTERS)))
    (clusters,) = find_layers(viewer, CLUSTERS)
    in_file = first.grids[0].from_canvas(np.asarray(clusters.data))
    assert (in_file[tuple(first.index.T)] == first.kmeans).mean() > 0.9

    # The child is killed: a sentence, and the next exploration works.
    dock.setup.model2.setCurrentIndex(0)
    dock.setup.samples.setValue(20_000)
    dock.start()
    qtbot.waitUntil(lambda: dock.map.found[0] is not None, timeout=60_000)
    psutil.Process(dock.session.engine.client.pid).kill()
    qtbot.waitUntil(lambda: dock.messages.level == "error", timeout=20_000)
    assert "\n" not in dock.messages.text
    dock.setup.samples.setValue(50)
    dock.start()
    assert dock.messages.isHidden()
    qtbot.waitUntil(lambda: dock.map.found[0] is not None, timeout=60_000)
    dock.stop.click()
    assert dock.stop.text() == "Stopping..."
    wait(qtbot, dock)
    assert "Stopped" in dock.status.text() or dock.map.found[0].scores


def test_a_study_offers_its_cases_and_labels(features, qtbot, tmp_path):
    _, dock = features()
    dock.start()
    assert "Choose a scan" in dock.messages.text
    study = make_study(tmp_path)
    dock.session.open_study(study.folder)
    qtbot.waitUntil(lambda: dock.setup.scan.source is not None)
    assert dock.setup.scan.source.case == study.cases[0].id
    assert dock.setup.labels.source is not None
    wanted = dock.setup.wanted
    assert wanted.labels.case == study.cases[0].id
    assert wanted.options["samples"] == 3000
    # A model that is gone is one sentence.
    dock.setup.model.addItem("gone", str(tmp_path / "gone"))
    dock.setup.model.setCurrentIndex(dock.setup.model.count() - 1)
    dock.start()
    qtbot.waitUntil(lambda: dock.messages.level == "error", timeout=60_000)
    assert "gone" in dock.messages.text
    assert dock.setup.start.isEnabled()


def test_plots_have_the_colours_of_the_window(features, qtbot):
    viewer, dock = features(show=True)
    dock.map.show_exploration(0, explored())
    plot = dock.map.plots[0]
    assert np.mean(plot.canvas.bgcolor.rgb) < 0.3
    viewer.theme = "light"
    qtbot.waitUntil(lambda: np.mean(plot.canvas.bgcolor.rgb) > 0.7)
    # Greyed words are hard to read on a light background.
    (hint,) = [one for one in dock.map.findChildren(QLabel) if "lasso" in one.text()]
    assert hint.isEnabledTo(dock.map)


@pytest.mark.parametrize("how", ["dock", "window"])
def test_nothing_stays(features, qtbot, how):
    viewer, dock = features(show=True)
    dock.map.show_exploration(0, explored())
    dock.tabs.setCurrentWidget(dock.map)
    qtbot.wait(50)
    this, plot = weakref.ref(dock), weakref.ref(dock.map.plots[0])
    if how == "dock":
        viewer.window.remove_dock_widget(dock)
    else:
        viewer.close()
    del dock
    for _ in range(3):
        qtbot.wait(30)
        gc.collect()
    assert this() is None or this()._torn_down
    assert plot() is None or how == "window" or plot().canvas._closed

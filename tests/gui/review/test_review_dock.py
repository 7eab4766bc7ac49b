"""The review dock in a real window: table, keys, verdicts, export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_gemini.study.study import Study
from napari_gemini.volumes.reading import read_labels
from napari_gemini.widgets.canvas.layers import find_layers, layer_info
from napari_gemini.widgets.review.dock import ReviewDock
from napari_gemini.widgets.review.table import DOUBT
from tests.gui.review.helpers import reviewed_study

TIMEOUT = 60_000


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return reviewed_study(tmp_path)


def open_dock(viewer, study: Study | None) -> ReviewDock:
    dock = ReviewDock(viewer)
    viewer.window.add_dock_widget(dock, name="Review", area="right")
    if study is not None:
        dock.session.open_study(study.folder)
    return dock


def filled(qtbot, dock: ReviewDock) -> None:
    qtbot.waitUntil(lambda: len(dock.panel.items) == 8, timeout=TIMEOUT)


def test_without_a_study_or_results_the_dock_says_what_to_do(make_napari_viewer, qtbot, tmp_path):
    from tests.gui.helpers import make_study

    dock = open_dock(make_napari_viewer(), None)
    assert "Study dock" in dock.state.text()
    dock.session.open_study(make_study(tmp_path).folder)
    qtbot.waitUntil(lambda: "Train dock" in dock.state.text(), timeout=TIMEOUT)
    assert not dock.export_button.isEnabled()


def test_the_worst_come_one_by_one_and_are_judged(make_napari_viewer, qtbot, study, tmp_path):
    viewer = make_napari_viewer()
    dock = open_dock(viewer, study)
    filled(qtbot, dock)
    panel, table = dock.panel, dock.panel.table
    assert table.filter.rowCount() == 8
    assert table.shown()[0].name == "case4"

    panel.next_button.click()
    assert table.selected().name == "case4"
    assert "Outlier" in panel.about.text()
    qtbot.waitUntil(lambda: bool(find_layers(viewer, "prediction", "case4")), timeout=TIMEOUT)
    (layer,) = find_layers(viewer, "prediction")
    info = layer_info(layer)
    shown = read_labels(study.prediction_path("first", "case4")).data
    assert np.array_equal(info.grid.from_canvas(layer.data), shown)
    assert info.provenance["source"] == "predictions/first"

    panel.comment.setText("folds everywhere")
    panel.reject()
    (row,) = dock.session.study.review()
    assert (row.case, row.verdict, row.comment) == ("case4", "rejected", "folds everywhere")
    assert not dock.session.study.has_labels("case4")
    # The next worst is on screen, and judged ones are not offered again.
    assert table.selected() is not None
    assert table.selected().name != "case4"
    seen = {table.selected().name}
    for _ in range(6):
        panel.next_worst()
        seen.add(table.selected().name)
    assert len(seen) == 7
    assert "case4" not in seen

    dock.filter.setCurrentText("outliers")
    assert [item.name for item in table.shown()] == ["case4"]
    dock.export(tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().count("\n") == 2
    dock.filter.setCurrentText("not reviewed")
    assert table.filter.rowCount() == 7


def test_the_table_sorts_by_each_measure(make_napari_viewer, qtbot, study):
    dock = open_dock(make_napari_viewer(), study)
    filled(qtbot, dock)
    table = dock.panel.table
    for key in ("agreement", "fold_percent", "gvs_mean"):
        table.sortByColumn(table.items.columns.index(key), Qt.SortOrder.DescendingOrder)
        values = [item.values.get(key, float("-inf")) for item in table.shown()]
        assert values == sorted(values, reverse=True)
    assert table.items.columns[1] == DOUBT


def test_labels_made_by_hand_stay_until_the_question_is_answered(make_napari_viewer, qtbot, study):
    mine = np.zeros(study.outline("case1").shape, np.uint8)
    mine[2:5, 2:5, 2:5] = 2
    study.save_labels("case1", mine)
    viewer = make_napari_viewer()
    dock = open_dock(viewer, study)
    filled(qtbot, dock)
    panel = dock.panel
    panel.table.select(("predictions/first", "case1"))
    qtbot.waitUntil(lambda: bool(find_layers(viewer, "prediction", "case1")), timeout=TIMEOUT)
    panel.accept()
    assert panel.question.answers == ["Replace", "Keep them"]
    panel.question.choose("Keep them")
    assert np.array_equal(dock.session.study.load_labels("case1").data, mine)
    assert dock.session.study.review() == []
    panel.accept()
    panel.question.choose("Replace")
    predicted = read_labels(study.prediction_path("first", "case1")).data
    assert np.array_equal(dock.session.study.load_labels("case1").data, predicted)
    (before,) = dock.session.study.history("case1")
    assert np.array_equal(read_labels(before).data, mine)


def test_keys_act_and_are_given_back(make_napari_viewer, qtbot, study):
    viewer = make_napari_viewer()
    dock = open_dock(viewer, study)
    filled(qtbot, dock)
    dock.panel.next_button.click()
    bound = [action for key, action in viewer.keymap.items() if "W" in str(key)]
    assert len(bound) == 1
    before = dock.panel.table.selected().name
    bound[0](viewer)
    assert dock.panel.table.selected().name != before
    viewer.window.remove_dock_widget(dock)
    dock.close()
    assert not [key for key in viewer.keymap if "W" in str(key)]


def test_a_deleted_layer_is_no_error(make_napari_viewer, qtbot, study):
    viewer = make_napari_viewer()
    dock = open_dock(viewer, study)
    filled(qtbot, dock)
    dock.panel.table.select(("predictions/first", "case2"))
    qtbot.waitUntil(lambda: bool(find_layers(viewer, "prediction", "case2")), timeout=TIMEOUT)
    viewer.layers.clear()
    dock.panel.table.select(("predictions/first", "case3"))
    qtbot.waitUntil(lambda: bool(find_layers(viewer, "prediction", "case3")), timeout=TIMEOUT)
    dock.panel.accept()
    assert dock.session.study.has_labels("case3")

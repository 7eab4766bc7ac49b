"""The Study dock: making and opening studies, the table, labels, images that moved."""

from __future__ import annotations

import gc
import shutil
import weakref
from datetime import datetime
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_gemini.study.scheme import LabelScheme
from napari_gemini.study.study import Study
from napari_gemini.study.summary import LabelSummary
from napari_gemini.volumes.pictures import write_png
from napari_gemini.widgets.common.session import get_session
from napari_gemini.widgets.study.case_panel import oblique_words
from napari_gemini.widgets.study.case_table import CaseTable
from napari_gemini.widgets.study.dock import StudyDock
from napari_gemini.widgets.study.rows import COLUMNS, CaseRow, clock, natural
from tests.gui.helpers import make_study
from tests.gui.study.helpers import on_disk, paint


@pytest.fixture
def dock(make_napari_viewer, study):
    viewer = make_napari_viewer()
    dock = StudyDock(viewer)
    viewer.window.add_dock_widget(dock, name="Study")
    dock.open_study(study.folder)
    return dock


def _cell(dock: StudyDock, case: str, column: str) -> str:
    row = [row.case for row in dock.table.model.rows].index(case)
    index = dock.table.model.index(row, COLUMNS.index(column))
    return dock.table.model.data(index, Qt.ItemDataRole.DisplayRole)


def test_flat_cases_have_no_slices_to_count(qtbot, study, tmp_path):
    table = CaseTable()
    qtbot.addWidget(table)
    slices, case = COLUMNS.index("Slices"), COLUMNS.index("Case")
    table.set_study(study)
    assert not table.view.isColumnHidden(slices)
    narrow = table.view.columnWidth(case)
    (tmp_path / "flat").mkdir()
    for name in "ab":
        write_png(tmp_path / "flat" / f"{name}.png", np.arange(72, dtype=np.uint8).reshape(8, 9))
    table.set_study(Study.create(tmp_path / "flat-study", [tmp_path / "flat"]))
    assert table.view.isColumnHidden(slices)
    assert table.view.columnWidth(case) > narrow
    table.stop()


def test_the_table_fills_and_a_click_shows_a_case(dock, study, qtbot):
    table = dock.table
    assert table.order() == ["case0", "case1", "case2"]
    qtbot.waitUntil(lambda: _cell(dock, "case0", "Labels") == "2/2", timeout=5000)
    touched = np.count_nonzero(on_disk(study, "case0").any(axis=(0, 1)))
    assert _cell(dock, "case0", "Slices") == f"{touched}/16"
    assert _cell(dock, "case0", "Status") == "finished"
    assert _cell(dock, "case0", "Saved") == f"{datetime.now():%H:%M}"
    assert _cell(dock, "case1", "Labels") == "none"
    place = table.view.visualRect(table.proxy.index(1, 0)).center()
    qtbot.mouseClick(table.view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert dock.session.case == "case1"
    assert dock.case.title.text() == "case1"
    table.view.selectRow(2)
    qtbot.keyClick(table.view, Qt.Key.Key_Return)
    assert dock.session.case == "case2"
    dock.case.previous.click()
    assert dock.session.case == "case1"
    paint(dock.labelling, (3, 4, 5), 2)
    assert dock.case.saved.text() == "painting…"
    qtbot.waitUntil(lambda: dock.case.saved.text().startswith("saved "), timeout=4000)
    assert _cell(dock, "case1", "Labels") == "1/2"
    assert _cell(dock, "case1", "Slices") == "1/16"
    assert _cell(dock, "case1", "Role") == "labelled"
    assert _cell(dock, "case1", "Status") == "started"
    dock.case.finish.click()
    assert _cell(dock, "case1", "Status") == "finished"
    assert dock.case.finish.text() == "Reopen"
    assert dock.case.saved.text() == "locked"
    dock.close_button.click()
    assert dock.session.study is None
    assert table.order() == []


def test_the_table_filters_and_sorts(qtbot):
    table = CaseTable()
    qtbot.addWidget(table)
    scheme = LabelScheme(names={1: "liver", 2: "spleen"})
    rows = [
        CaseRow("c10", "labelled", "done", LabelSummary((1, 2), 9, 10), datetime(2024, 1, 2)),
        CaseRow("c2", "labelled", "started", LabelSummary((2,), 3, 4), datetime(2024, 5, 2)),
        CaseRow("c1", "test", "todo"),
    ]
    table.model.set_rows(rows, scheme)
    expected = {
        "Case": ["c1", "c2", "c10"],
        "Labels": ["c1", "c2", "c10"],
        "Slices": ["c1", "c2", "c10"],
        "Status": ["c1", "c2", "c10"],
        "Saved": ["c1", "c10", "c2"],
    }
    for column, order in expected.items():
        table.view.sortByColumn(COLUMNS.index(column), Qt.SortOrder.AscendingOrder)
        assert table.order() == order, column
    table.filter.setText("SPLEEN labelled")
    assert sorted(table.order()) == ["c10", "c2"]
    table.filter.setText("liver")
    assert table.order() == ["c10"]
    table.filter.setText("nothing")
    assert table.order() == []


def test_words_of_the_table():
    assert sorted(["b2", "a10", "a9", "10", "a"], key=natural) == ["10", "a", "a9", "a10", "b2"]
    assert clock(datetime(2020, 2, 3, 4, 5).astimezone()) == "03 Feb 2020"


def test_labels_are_renamed_coloured_and_added(dock, study):
    dock.session.show_case("case0")
    table, layer = dock.scheme.table, dock.labelling.view.labels
    before = dock.labelling.view.values().copy()
    table.item(0, 2).setText("shell")
    assert Study(study.folder).scheme.names[1] == "shell"
    dock.scheme.set_colour(1, "#123456")
    np.testing.assert_allclose(layer.colormap.map(1)[:3], np.array([18, 52, 86]) / 255, atol=1e-3)
    table.item(0, 0).setText("7")
    assert Study(study.folder).scheme.keys[1] == "7"
    table.item(0, 0).setText("x")
    assert "cannot be the key" in dock.messages.text
    assert table.item(0, 0).text() == "7"
    table.item(1, 2).setText("SHELL")
    assert "same name" in dock.messages.text
    dock.scheme.add.click()
    assert Study(study.folder).scheme.values == (1, 2, 3)
    assert layer.selected_label == 3
    np.testing.assert_array_equal(dock.labelling.view.values(), before)


def test_a_used_label_stays(dock, study, qtbot):
    dock.scheme.select(2)
    dock.scheme.remove.click()
    qtbot.waitUntil(lambda: "holds the label 2" in dock.messages.text, timeout=5000)
    assert Study(study.folder).scheme.values == (1, 2)
    assert dock.scheme.table.rowCount() == 2
    dock.session.show_case("case0")
    dock.labelling.set_status("started")
    view = dock.labelling.view
    view.labels.data_setitem(np.nonzero(view.labels.data == 2), 1)
    dock.scheme.select(2)
    dock.scheme.remove.click()
    qtbot.waitUntil(lambda: dock.scheme.table.rowCount() == 1, timeout=5000)
    assert Study(study.folder).scheme.values == (1,)


def test_selecting_a_label_goes_both_ways(dock):
    dock.session.show_case("case1")
    dock.scheme.table.cellClicked.emit(1, 2)
    assert dock.labelling.view.labels.selected_label == 2
    dock.labelling.view.labels.selected_label = 1
    assert dock.scheme.value == 1


def test_bad_folders_are_sentences(dock, tmp_path):
    (tmp_path / "empty").mkdir()
    dock.open_study(tmp_path / "empty")
    assert "is no study" in dock.messages.text
    assert dock.session.study is not None  # the one that was open stays


def test_a_study_is_made_from_the_form(make_napari_viewer, tmp_path, qtbot):
    source = make_study(tmp_path / "source", labelled=2)
    images = source.image_path("case0").parent
    four = np.random.default_rng(0).normal(size=(12, 14, 16, 3)).astype(np.float32)
    nib.save(nib.Nifti1Image(four, np.diag([-2.0, -2, 2, 1])), images / "dynamic.nii.gz")
    dock = StudyDock(make_napari_viewer())
    qtbot.addWidget(dock)
    form = dock.form
    form.make.click()
    assert "No place is named" in dock.messages.text
    form.place.set_paths([tmp_path])
    form.make.click()
    assert "No images are named" in dock.messages.text
    form.name.setText("mine")
    form.images.set_paths([images])
    form.labels.set_paths([tmp_path / "source" / "given"])
    qtbot.waitUntil(lambda: "4 images, 2 of them" in form.preview.text(), timeout=5000)
    assert form.volumes.rowCount() == 1
    form.volumes.cellWidget(0, 1).setValue(2)
    form.names.setText("outer, inner")
    form.settings.widget["spacing"].value = "3"
    form.make.click()
    assert not form.make.isEnabled()
    qtbot.waitUntil(lambda: dock.session.study is not None, timeout=30_000)
    study = dock.session.study
    assert study.name == "mine"
    assert study.case("dynamic").volume_index == 2
    assert study.grid.spacing == 3
    assert study.scheme.names == {1: "outer", 2: "inner"}
    dock.session.show_case("dynamic")
    assert "Volume 2 of a 4D file" in dock.case.facts.text()
    np.testing.assert_array_equal(
        dock.labelling.view.grid.from_canvas(dock.labelling.view.image.data), four[..., 2]
    )
    # The same again is refused with a sentence, and nothing is lost.
    form.make.click()
    qtbot.waitUntil(lambda: "not an empty folder" in dock.messages.text, timeout=30_000)
    from napari_gemini.widgets.study.recent import recent_studies

    assert recent_studies() == [study.folder]


def test_a_study_is_made_from_open_layers(make_napari_viewer, tmp_path, qtbot):
    from napari_gemini.volumes.reading import read_volume
    from napari_gemini.widgets.canvas.layers import add, image_layer

    source = make_study(tmp_path / "source", labelled=1)
    viewer = make_napari_viewer()
    dock = StudyDock(viewer)
    qtbot.addWidget(dock)
    form = dock.form
    form.from_layers.click()
    assert "No image is open" in dock.messages.text
    path = source.image_path("case1")
    layer = add(viewer, image_layer(read_volume(path), "from a file"))
    labels = viewer.add_labels(np.zeros(layer.data.shape, np.uint8), name="drawn")
    labels.data[1, 2, 3] = 4
    plain = np.random.default_rng(0).normal(size=(16, 14, 12)).astype(np.float32)
    viewer.add_image(plain, name="made up", scale=(2, 2, 2))
    form.place.set_paths([tmp_path])
    form.name.setText("layers")
    form.from_layers.click()
    assert "made up" in form.preview.text()
    form.make.click()
    qtbot.waitUntil(lambda: dock.session.study is not None, timeout=30_000)
    study = dock.session.study
    assert {case.id for case in study.cases} == {"case1", "made_up"}
    assert study.scheme.values == (4,)
    assert study.image_path("case1") == path
    dock.session.show_case("case1")
    assert dock.labelling.view.labels.data[1, 2, 3] == 4
    dock.session.show_case("made_up")
    np.testing.assert_array_equal(dock.labelling.view.image.data, plain)
    viewer.layers.clear()
    viewer.add_image(plain, name="a")
    viewer.add_labels(np.ones((3, 3, 3), int), name="wrong")
    form.from_layers.click()
    assert "no image layer below it has" in dock.messages.text


def test_moved_images_are_located(dock, study, tmp_path, qtbot):
    dock.session.close_study()
    away = tmp_path / "a" / "b" / "c" / "d" / "away"
    away.parent.mkdir(parents=True)
    shutil.move(tmp_path / "images", away)
    dock.open_study(study.folder)
    assert "3 of 3 cases" in dock.labelling.talk.offers["missing"].sentence
    qtbot.waitUntil(lambda: "missing" in _cell(dock, "case0", "Case"), timeout=5000)
    dock._on_chosen("case0")
    assert "no longer at" in dock.messages.text
    (tmp_path / "wrong").mkdir()
    shutil.copy(away / "case0.nii.gz", tmp_path / "wrong" / "other.nii.gz")
    dock.locate_images(tmp_path / "wrong")
    qtbot.waitUntil(lambda: "No image of this study" in dock.messages.text, timeout=30_000)
    dock.locate_images(away)
    qtbot.waitUntil(lambda: "missing" not in dock.labelling.talk.offers, timeout=30_000)
    dock._on_chosen("case0")
    assert dock.session.case == "case0"
    qtbot.waitUntil(lambda: _cell(dock, "case0", "Case") == "case0", timeout=5000)


def test_an_oblique_scan_is_called_so():
    from napari_gemini.widgets.canvas.grid import CanvasGrid
    from tests.gui.helpers import AFFINES, SHAPE

    assert oblique_words(CanvasGrid.of_affine(AFFINES["permuted"], SHAPE)) == ""
    words = oblique_words(CanvasGrid.of_affine(AFFINES["oblique"], SHAPE))
    assert words.startswith("Oblique by 2")


def test_labels_painted_after_the_dock_was_closed_are_saved(dock, study, qtbot):
    dock.session.show_case("case1")
    labelling = dock.labelling
    dock.session.viewer.window.remove_dock_widget(dock)
    dock.close()
    paint(labelling, (3, 4, 5))
    qtbot.waitUntil(lambda: labelling.autosave.state == "saved", timeout=4000)
    assert on_disk(study, "case1")[3, 4, 5] == 1


def test_a_closed_dock_leaves_nothing(make_napari_viewer, study, qtbot):
    viewer = make_napari_viewer()
    dock = StudyDock(viewer)
    viewer.window.add_dock_widget(dock, name="Study")
    dock.open_study(study.folder)
    dead = weakref.ref(dock)
    viewer.window.remove_dock_widget(dock)
    dock.close()
    dock.deleteLater()
    del dock
    qtbot.wait(300)
    gc.collect()
    assert dead() is None
    get_session(viewer).show_case("case1")
    again = StudyDock(viewer)
    qtbot.addWidget(again)
    assert again.case.title.text() == "case1"
    assert Path(again.title.toolTip()) == study.folder

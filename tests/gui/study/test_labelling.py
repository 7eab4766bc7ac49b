"""Labelling in a real window: what is painted is on disk, in the right voxel, always."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from napari_gemini.errors import StudyError
from napari_gemini.study.study import Study
from napari_gemini.volumes.reading import read_volume
from napari_gemini.volumes.writing import write_volume
from napari_gemini.widgets.canvas.layers import find_layers, layer_info
from napari_gemini.widgets.common.session import get_session
from napari_gemini.widgets.study.labelling import labelling_of
from tests.gui.helpers import AFFINES, MARKER, SHAPE, write_marked
from tests.gui.study.helpers import listen, on_disk, paint


def test_a_case_is_shown_with_its_labels(session, study):
    session.show_case("case0")
    image, labels = session.viewer.layers
    assert (image.name, labels.name) == ("case0", "case0 labels")
    assert layer_info(labels).case == session.case == "case0"
    assert session.viewer.layers.selection.active is labels
    np.testing.assert_array_equal(
        labelling_of(session).view.values(), study.load_labels("case0").data
    )
    assert labels.selected_label == 1
    session.show_case("case1")
    assert [layer.name for layer in session.viewer.layers] == ["case1", "case1 labels"]
    assert not labelling_of(session).view.values().any()


def test_painting_saves_itself(session, study, qtbot):
    session.show_case("case1")
    labelling = labelling_of(session)
    saved = []
    labelling.saved.connect(lambda *arguments: saved.append(arguments))
    paint(labelling, (3, 4, 5), 2)
    assert labelling.autosave.state == "unsaved"
    qtbot.waitUntil(lambda: labelling.autosave.state == "saved", timeout=3000)
    assert on_disk(study, "case1")[3, 4, 5] == 2
    assert on_disk(study, "case1").sum() == 2
    assert saved[0][0] == "case1"
    assert saved[0][1].values == (2,)
    assert Study(study.folder).case("case1").role == "labelled"
    paint(labelling, (3, 4, 6), 2)
    qtbot.waitUntil(lambda: len(saved) == 2, timeout=3000)
    assert len(study.history("case1")) == 1


def test_a_long_stroke_is_saved_on_the_way(session, study, qtbot, monkeypatch):
    monkeypatch.setattr("napari_gemini.widgets.study.showing.session_seconds", lambda _: 1.0)
    session.show_case("case1")
    labelling = labelling_of(session)
    painted = 0
    while labelling.autosave.saved_at is None and painted < 60:
        # Never resting: the brush moves every tenth of a second.
        paint(labelling, (painted % 12, 1 + painted // 12, 1))
        painted += 1
        qtbot.wait(100)
    assert 5 <= painted < 25
    assert 0 < np.count_nonzero(on_disk(study, "case1")) <= painted


def test_undo_is_saved_too(session, study, qtbot):
    session.show_case("case1")
    labelling = labelling_of(session)
    paint(labelling, (3, 4, 5))
    qtbot.waitUntil(lambda: labelling.autosave.state == "saved", timeout=3000)
    labelling.view.labels.undo()
    qtbot.waitUntil(lambda: not on_disk(study, "case1").any(), timeout=3000)


def test_switching_loses_no_stroke(session, study):
    labelling = labelling_of(session)
    session.show_case("case1")
    paint(labelling, (3, 4, 5))
    session.show_case("case2")
    assert on_disk(study, "case1")[3, 4, 5] == 1
    # Nobody told of this one: a plugin that writes into the array.
    labelling.view.values()[2, 2, 2] = 1
    session.show_case("case0")
    assert on_disk(study, "case2")[2, 2, 2] == 1
    labelling.set_status("started")
    paint(labelling, (1, 1, 1))
    session.close_study()
    assert on_disk(study, "case0")[1, 1, 1] == 1
    assert not find_layers(session.viewer)


def test_closing_the_window_loses_no_stroke(make_napari_viewer, study):
    viewer = make_napari_viewer()
    session = get_session(viewer)
    session.open_study(study.folder)
    session.show_case("case1")
    paint(labelling_of(session), (3, 4, 5))
    viewer.close()
    assert on_disk(study, "case1")[3, 4, 5] == 1
    assert not list((study.folder / "labels").glob(".open*"))


def test_a_removed_layer_is_saved_and_comes_back(session, study, qtbot):
    session.show_case("case1")
    labelling = labelling_of(session)
    paint(labelling, (3, 4, 5))
    session.viewer.layers.remove(labelling.view.labels)
    qtbot.waitUntil(lambda: study.has_labels("case1"), timeout=3000)
    assert on_disk(study, "case1")[3, 4, 5] == 1
    session.show_case("case1")
    assert labelling.view.values()[3, 4, 5] == 1
    assert [layer.name for layer in session.viewer.layers] == ["case1", "case1 labels"]


def test_finished_cases_are_locked(session, study):
    labelling = labelling_of(session)
    session.show_case("case1")
    with pytest.raises(StudyError, match="no labels yet"):
        labelling.set_status("done")
    paint(labelling, (3, 4, 5))
    labelling.set_status("done")
    assert not labelling.view.labels.editable
    labelling.view.labels.mode = "paint"
    assert str(labelling.view.labels.mode) == "pan_zoom"
    labelling.view.labels.undo()
    assert labelling.view.values()[3, 4, 5] == 1
    session.show_case("case0")
    assert not labelling.view.labels.editable  # given labels are finished ones
    session.show_case("case1")
    assert not labelling.view.labels.editable
    labelling.set_status("started")
    assert labelling.view.labels.editable
    paint(labelling, (3, 4, 6))
    labelling.save_all()
    assert np.count_nonzero(on_disk(study, "case1")) == 2


def test_brush_and_label_stay_when_the_case_changes(session):
    labelling = labelling_of(session)
    session.show_case("case1")
    labels = labelling.view.labels
    labels.brush_size, labels.mode, labels.selected_label = 7, "paint", 2
    session.show_case("case2")
    labels = labelling.view.labels
    assert (labels.brush_size, str(labels.mode), labels.selected_label) == (7, "paint", 2)


def test_keys_choose_label_and_case(session, study):
    viewer, labelling = session.viewer, labelling_of(session)
    session.show_case("case1")
    from napari.utils.key_bindings import KeymapHandler

    handler = KeymapHandler()
    handler.keymap_providers = [labelling.view.labels, viewer]
    handler.press_key("2")
    assert labelling.view.labels.selected_label == 2
    handler.press_key("0")
    assert labelling.view.labels.selected_label == 0
    handler.press_key("PageDown")
    assert session.case == "case2"
    handler.press_key("PageDown")
    assert session.case == "case2"
    handler.press_key("PageUp")
    handler.press_key("PageUp")
    assert session.case == "case0"
    handler.press_key("Control-Alt-F")
    assert Study(study.folder).case("case0").status == "started"


def test_a_label_outside_the_scheme_is_not_painted(session):
    labelling = labelling_of(session)
    said = listen(session)
    session.show_case("case1")
    labelling.view.labels.selected_label = 9
    assert labelling.view.labels.selected_label == 2
    assert "no label 9" in said[-1][1]


@pytest.mark.parametrize("name", list(AFFINES))
def test_the_voxel_under_the_cursor_is_the_voxel_of_the_file(make_napari_viewer, tmp_path, name):
    images = tmp_path / "images"
    images.mkdir()
    marked = write_marked(images, name)
    nib.save(nib.load(marked), images / "other.nii.gz")
    study = Study.create(tmp_path / "study", [images])
    session = get_session(make_napari_viewer())
    session.open_study(study.folder)
    session.show_case(name)
    labelling = labelling_of(session)
    view = labelling.view

    # Where the file says its marker is, in the body.
    world = AFFINES[name] @ [*MARKER, 1]
    place = view.grid.world_to_data(world[:3])
    cursor = view.image.data_to_world(place)
    session.viewer.dims.set_point(range(3), cursor)
    assert view.image.get_value(cursor, world=True) == 100
    session.viewer.cursor.position = tuple(cursor)
    session.viewer.layers.selection.active = view.image
    assert f"R {world[0]:.1f} A {world[1]:.1f} S {world[2]:.1f} mm" in session.readout.words()

    view.labels.brush_size = 1
    view.labels.paint(view.labels.world_to_data(cursor), 1)
    labelling.save_all()
    written = nib.load(study.labels_path(name))
    assert np.argwhere(np.asarray(written.dataobj)).tolist() == [list(MARKER)]
    np.testing.assert_allclose(written.affine, AFFINES[name], atol=1e-6)


def test_what_itk_reads_is_read_in_the_child(make_napari_viewer, tmp_path, qtbot):
    images = tmp_path / "images"
    images.mkdir()
    source = read_volume(write_marked(tmp_path, "oblique"))
    for case in ("a", "b"):
        write_volume(images / f"{case}.nrrd", source.data, source)
    study = Study.create(tmp_path / "study", [images])
    session = get_session(make_napari_viewer())
    session.open_study(study.folder)
    session.show_case("a")
    labelling = labelling_of(session)
    assert labelling.opening == "a"
    qtbot.waitUntil(lambda: session.case == "a", timeout=20_000)
    assert labelling.view.grid.volume_shape == SHAPE
    assert labelling.view.image.data.max() == 100
    paint(labelling, MARKER)
    labelling.save_all()
    np.testing.assert_allclose(nib.load(study.labels_path("a")).affine, source.affine, atol=1e-5)
    assert on_disk(study, "a")[MARKER] == 1

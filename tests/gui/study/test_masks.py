"""Labels that may overlap: one is painted at a time, and each is saved to its own file."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_gemini.errors import InputError
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.study.study import Study
from napari_gemini.widgets.canvas.layers import find_layers
from napari_gemini.widgets.common.models import REFINEMENT_ONLY
from napari_gemini.widgets.common.session import get_session
from napari_gemini.widgets.study.copies import earlier_versions, put_labels, restore_version
from napari_gemini.widgets.study.drafts import start_draft
from napari_gemini.widgets.study.labelling import labelling_of
from napari_gemini.widgets.study.masks import ROLE
from tests.gui.study.helpers import listen, paint

SHAPE = (8, 9, 10)
LUNG, HEART = 1, 2


@pytest.fixture
def study(tmp_path: Path) -> Study:
    images = tmp_path / "images"
    images.mkdir()
    for name in "ab":
        scan = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
        nib.save(nib.Nifti1Image(scan, np.diag([-2.0, -2, 2, 1])), images / f"{name}.nii.gz")
    scheme = LabelScheme(names={LUNG: "lung", HEART: "heart"}, overlapping=True)
    return Study.create(tmp_path / "study", [images], scheme=scheme)


@pytest.fixture
def session(make_napari_viewer, study):
    session = get_session(make_napari_viewer())
    session.open_study(study.folder)
    return session


def test_a_voxel_can_have_two_labels(session, study):
    session.show_case("a")
    labelling = labelling_of(session)
    view = labelling.view
    assert view.labels.editable
    paint(labelling, (3, 4, 5), LUNG)
    labelling.select_label(HEART)  # saves the lung
    assert not view.values().any()
    (others,) = find_layers(session.viewer, ROLE, "a")
    assert not others.editable
    voxel = tuple(view.grid.voxel_to_data((3, 4, 5)).astype(int))
    assert others.data[voxel] == LUNG
    paint(labelling, (3, 4, 5), HEART)
    paint(labelling, (3, 4, 6), HEART)
    session.show_case("b")
    lung, heart = study.load_masks("a")
    assert np.argwhere(lung).tolist() == [[3, 4, 5]]
    assert np.argwhere(heart).tolist() == [[3, 4, 5], [3, 4, 6]]
    assert study.load_masks("b") is None
    assert [layer.name for layer in find_layers(session.viewer, ROLE)] == ["b other labels"]

    session.show_case("a")
    labelling.select_label(LUNG)
    assert np.argwhere(labelling.view.values()).tolist() == [[3, 4, 5]]
    # The label that is chosen last is undone, not the one before it.
    labelling.view.labels.undo()
    assert np.argwhere(labelling.view.values()).tolist() == [[3, 4, 5]]
    labelling.set_status("done")
    assert not labelling.view.labels.editable
    labelling.select_label(HEART)
    assert not labelling.view.labels.editable


def test_a_mask_that_cannot_be_saved_stays_the_painted_one(session, study):
    session.show_case("a")
    labelling = labelling_of(session)
    paint(labelling, (3, 4, 5), LUNG)
    labels = study.folder / "labels"
    labels.rename(study.folder / "away")
    labels.write_text("in the way")
    labelling.select_label(HEART)
    assert labelling.view.labels.selected_label == LUNG
    assert labelling.view.values()[3, 4, 5] == LUNG
    labels.unlink()
    (study.folder / "away").rename(labels)
    labelling.select_label(HEART)
    assert labelling.view.labels.selected_label == HEART
    assert study.load_each_mask("a")[LUNG][3, 4, 5]


def test_history_and_copies_are_of_the_painted_label(session, study):
    session.show_case("a")
    labelling = labelling_of(session)
    labelling.select_label(HEART)
    for voxel in ((1, 1, 1), (2, 2, 2), (3, 3, 3)):
        paint(labelling, voxel, HEART)
        labelling.save_all()
    versions = earlier_versions(labelling)
    restore_version(labelling, versions[-1])
    assert np.argwhere(labelling.view.values()).tolist() == [[1, 1, 1], [2, 2, 2]]

    given = np.zeros(SHAPE, np.uint8)
    given[5, 5, 5], given[6, 6, 6] = LUNG, HEART
    session.show_case("b")
    labelling.select_label(HEART)
    put_labels(labelling, given, "file", "the labels of file")
    assert np.argwhere(labelling.view.values()).tolist() == [[6, 6, 6]]
    with pytest.raises(InputError, match="nothing of heart"):
        put_labels(labelling, np.where(given == HEART, 3, 0), "file", "the labels of file")


def test_a_new_label_is_painted_beside_the_old_ones(session, study):
    session.show_case("a")
    labelling = labelling_of(session)
    paint(labelling, (3, 4, 5), LUNG)
    labelling.save_all()
    names = {LUNG: "lung", HEART: "heart", 3: "spine"}
    labelling.set_scheme(LabelScheme(names=names, overlapping=True))
    assert Study(study.folder).scheme.names == names
    # What a case has of a new label is not known until something is painted.
    assert not Study(study.folder).has_labels("a")
    labelling.select_label(3)
    paint(labelling, (5, 5, 5), 3)
    labelling.save_all()
    assert Study(study.folder).has_labels("a")
    masks = Study(study.folder).load_masks("a")
    assert [np.argwhere(mask).tolist() for mask in masks] == [[[3, 4, 5]], [], [[5, 5, 5]]]


def test_a_draft_is_of_the_label_that_was_painted(session, study, qtbot):
    inside = np.zeros(SHAPE, np.bool_)
    inside[2:6, 3:7, 3:8] = True
    study.save_mask("a", HEART, inside)
    session.show_case("b")
    labelling = labelling_of(session)
    labelling.select_label(HEART)
    start_draft(labelling, "a", REFINEMENT_ONLY, lambda: None)
    labelling.select_label(LUNG)  # something else is painted when it arrives
    said = listen(session)
    qtbot.waitUntil(lambda: any("draft from a" in words for _, words in said), timeout=300_000)
    assert labelling.masks.value == HEART
    draft = labelling.view.values() == HEART
    # The scans are alike, so the draft is nearly the mask.
    assert 2 * np.sum(draft & inside) / (draft.sum() + inside.sum()) > 0.9
    labelling.save_all()
    found = study.load_each_mask("b")
    np.testing.assert_array_equal(found[HEART], draft)
    assert not found[LUNG].any()

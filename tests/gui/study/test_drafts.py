"""Labels to and from files, drafts from other cases, and the next case to label."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from napari_gemini.errors import GeminiError, InputError, StudyError
from napari_gemini.volumes.reading import read_labels
from napari_gemini.volumes.writing import write_labels
from napari_gemini.widgets.canvas.layers import layer_info
from napari_gemini.widgets.common.models import REFINEMENT_ONLY
from napari_gemini.widgets.study.copies import (
    adopt_layer,
    export_labels,
    import_labels,
    restore_version,
)
from napari_gemini.widgets.study.drafts import sources, start_draft, start_suggestion
from napari_gemini.widgets.study.edits import merged
from napari_gemini.widgets.study.labelling import labelling_of
from tests.gui.study.helpers import listen, on_disk, paint


def _choose(labelling, key, words):
    next(action for text, action in labelling.talk.offers[key].actions if text == words)()


def test_labels_are_merged_two_ways():
    current, given = np.array([0, 1, 0, 2], np.uint8), np.array([3, 3, 0, 0])
    assert merged(current, given, "fill").tolist() == [3, 1, 0, 2]
    assert merged(current, given, "replace").tolist() == [3, 3, 0, 0]
    assert merged(current, given, "fill").dtype == np.uint8


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_labels_go_out_and_come_back(session, study, tmp_path, qtbot, suffix):
    labelling = labelling_of(session)
    said = listen(session)
    session.show_case("case1")
    paint(labelling, (3, 4, 5), 2)
    path = tmp_path / f"out{suffix}"
    export_labels(labelling, path)
    qtbot.waitUntil(lambda: bool(said) and "copied to" in said[-1][1], timeout=20_000)
    labels = read_labels(path)
    assert np.argwhere(labels.data).tolist() == [[3, 4, 5]]
    np.testing.assert_allclose(labels.affine, study.outline("case1").affine, atol=1e-6)

    session.show_case("case2")
    paint(labelling, (3, 4, 6), 1)
    import_labels(labelling, path)
    qtbot.waitUntil(lambda: "labels" in labelling.talk.offers, timeout=20_000)
    assert labelling.view.values()[3, 4, 5] == 0  # asked first
    _choose(labelling, "labels", "Fill unlabelled voxels")
    assert labelling.view.values()[3, 4, 5] == 2
    assert labelling.view.values()[3, 4, 6] == 1
    labelling.view.labels.undo()
    assert labelling.view.values()[3, 4, 5] == 0
    assert labelling.view.values()[3, 4, 6] == 1
    labelling.view.labels.redo()
    labelling.save_all()
    assert on_disk(study, "case2")[3, 4, 5] == 2


def test_labels_of_another_grid_or_scheme_are_refused(session, study, tmp_path, qtbot):
    labelling = labelling_of(session)
    said = listen(session)
    with pytest.raises(StudyError, match="No case is shown"):
        import_labels(labelling, tmp_path / "x.nii.gz")
    session.show_case("case1")
    outline = study.outline("case1")
    write_labels(tmp_path / "strange.nii.gz", np.full(outline.shape, 9), outline)
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.eye(4)), tmp_path / "small.nii.gz")
    for name, words in (("strange", "holds the label 9"), ("small", "small.nii.gz")):
        said.clear()
        import_labels(labelling, tmp_path / f"{name}.nii.gz")
        qtbot.waitUntil(lambda: bool(said), timeout=5000)
        assert said[0][0] == "error"
        assert words in said[0][1]
    assert not labelling.view.values().any()
    wrong = session.viewer.add_labels(np.ones((2, 3, 4), int), name="wrong")
    with pytest.raises(InputError, match=r"The layer wrong has the shape \(2, 3, 4\)"):
        adopt_layer(labelling, wrong)
    right = session.viewer.add_labels(np.ones(labelling.view.grid.shape, int), name="right")
    adopt_layer(labelling, right)
    assert (labelling.view.values() == 1).all()
    labelling.view.labels.data = np.ones((2, 3, 4), np.uint8)
    with pytest.raises(StudyError, match="has the shape"):
        labelling.save_all()
    labelling.give_up()


def test_an_earlier_version_comes_back_and_undo_takes_it_away(session, study):
    labelling = labelling_of(session)
    session.show_case("case1")
    paint(labelling, (3, 4, 5))
    labelling.save_all()
    paint(labelling, (3, 4, 6))
    labelling.save_all()
    restore_version(labelling, study.history("case1")[0])
    assert np.count_nonzero(labelling.view.values()) == 1
    labelling.view.labels.undo()
    assert np.count_nonzero(labelling.view.values()) == 2
    session.show_case("case0")
    with pytest.raises(GeminiError, match="finished"):
        restore_version(labelling, study.history("case1")[0])


def test_a_draft_is_propagated_and_says_by_what(session, study, qtbot):
    labelling = labelling_of(session)
    said, ended = listen(session), []
    assert sources(study, "case1") == ["case0"]
    session.show_case("case0")
    with pytest.raises(StudyError, match="finished"):
        start_draft(labelling, "case0", REFINEMENT_ONLY, lambda: None)
    session.show_case("case1")
    start_draft(labelling, "case0", REFINEMENT_ONLY, lambda: ended.append(True))
    qtbot.waitUntil(lambda: labelling.view.values().any(), timeout=60_000)
    assert ended == [True]
    assert "refinement on the images alone" in said[-1][1]
    truth = study.load_labels("case0").data
    draft = labelling.view.values()
    overlap = 2 * np.sum((draft > 0) & (truth > 0)) / (np.sum(draft > 0) + np.sum(truth > 0))
    assert overlap > 0.8  # the cases are nearly alike
    assert "case0" in layer_info(labelling.view.labels).provenance["copied_from"][0]
    labelling.view.labels.undo()
    assert not labelling.view.values().any()
    labelling.view.labels.redo()
    labelling.save_all()
    np.testing.assert_array_equal(on_disk(study, "case1"), draft)


def test_the_next_case_is_suggested_with_its_reason(session, study, qtbot):
    labelling = labelling_of(session)
    start_suggestion(labelling, REFINEMENT_ONLY, lambda: None)
    qtbot.waitUntil(lambda: "next" in labelling.talk.offers, timeout=30_000)
    offer = labelling.talk.offers["next"]
    assert "least covered by the labelled case" in offer.sentence
    assert "No model was used" in offer.sentence
    offer.actions[0][1]()
    assert session.case in ("case1", "case2")
    assert session.case in offer.sentence.split()[0]

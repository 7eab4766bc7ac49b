"""Landmark lists and their files, without a window."""

from __future__ import annotations

import numpy as np
import pytest

from napari_gemini.errors import GeminiError, InputError
from napari_gemini.study.landmarks import LandmarkPair
from napari_gemini.widgets.probing.files import export_landmarks, import_landmarks
from napari_gemini.widgets.probing.landmarks import (
    LandmarkList,
    Probe,
    landmark_errors,
    registration_error,
)
from tests.gui.pair.helpers import FIXED_AFFINE, centre, make_pair, true_map


def marks(count: int = 2) -> list[LandmarkPair]:
    return [LandmarkPair(f"L{k + 1}", (k, 0.0, 1.0), (k, 2.0, 3.0)) for k in range(count)]


def test_changes_are_told_and_can_be_undone():
    landmarks, heard = LandmarkList(), []
    landmarks.changed.connect(lambda: heard.append(len(landmarks)))
    landmarks.add(marks())
    landmarks.move(1, "moving", np.array([7.0, 8, 9]))
    landmarks.rename(0, "tip")
    landmarks.remove([0])
    assert heard == [2, 2, 2, 1]
    assert landmarks.pairs == [LandmarkPair("L2", (1, 0.0, 1.0), (7.0, 8.0, 9.0))]
    landmarks.undo()
    assert [mark.name for mark in landmarks.pairs] == ["tip", "L2"]
    for _ in range(3):
        landmarks.undo()
    assert landmarks.pairs == []
    assert not landmarks.can_undo


def test_names_are_unique_and_new_ones_free():
    landmarks = LandmarkList()
    landmarks.add(marks())
    assert landmarks.free_name() == "L3"
    with pytest.raises(InputError, match="names of their own"):
        landmarks.rename(0, "L2")
    with pytest.raises(InputError, match="names of their own"):
        landmarks.rename(0, "  ")
    # Imported again: replaced, not doubled.
    landmarks.add([LandmarkPair("L1", (5.0, 5, 5), (6.0, 6, 6))])
    assert len(landmarks) == 2
    assert landmarks.pairs[0].a == (5.0, 5, 5)


def test_a_probe_without_partner_cannot_be_kept():
    probe = Probe("moving", np.zeros(3), np.full(3, np.nan))
    with pytest.raises(InputError, match="Shift"):
        LandmarkList().add([probe.as_landmark("L1", probe.partner)])


def test_a_landmark_knows_which_scan_was_probed():
    probe = Probe("moving", np.array([1.0, 2, 3]), np.array([4.0, 5, 6]))
    mark = probe.as_landmark("L1", probe.partner)
    assert (mark.a, mark.b) == ((4.0, 5.0, 6.0), (1.0, 2.0, 3.0))


def test_the_registration_error_is_that_of_the_map():
    """Landmarks that are off by known distances, in mm, on oblique anisotropic scans."""
    pair = make_pair()
    middle = centre(FIXED_AFFINE, pair.fixed.shape)
    fixed = middle + np.array([[0.0, 0, 0], [4, -3, 2], [-5, 2, 3]])
    off = np.array([[0.4, 0, 0.3], [3, 4, 0], [0, 0, 1]])
    moving = true_map(fixed) + off
    landmarks = [
        LandmarkPair(f"L{k}", tuple(a), tuple(b))
        for k, (a, b) in enumerate(zip(fixed, moving, strict=True))
    ]
    assert np.allclose(landmark_errors(pair, landmarks), [0.5, 5, 1], atol=0.02)
    found = registration_error(pair, landmarks)
    assert found["mean"] == pytest.approx(6.5 / 3, abs=0.02)
    assert found["median"] == pytest.approx(1, abs=0.02)
    assert found["max"] == pytest.approx(5, abs=0.02)
    assert found["initial_mean"] > found["mean"]
    assert registration_error(pair, []) is None


def test_landmarks_that_the_deformation_set_do_not_measure_it():
    """Whichever scan was probed; the others are measured as if those were not there."""
    pair = make_pair()
    fixed = centre(FIXED_AFFINE, pair.fixed.shape)
    moving = pair.map_fixed_to_moving(fixed)
    back = pair.map_moving_to_fixed(moving)
    probed = Probe("fixed", fixed, moving), Probe("moving", moving, back)
    circular = [one.as_landmark(f"L{k}", one.partner) for k, one in enumerate(probed)]
    own = LandmarkPair("own", tuple(fixed), tuple(moving + np.array([0, 3, 4])))
    found = registration_error(pair, [*circular, own])
    assert (found["count"], found["left_out"]) == (1, 2)
    assert found["mean"] == found["max"] == pytest.approx(5)
    assert registration_error(pair, circular) == {"count": 0, "left_out": 2}


def test_files_come_back(tmp_path):
    (csv,) = export_landmarks(tmp_path / "a.csv", marks(), ("f", "m"), in_mm=True)
    assert import_landmarks([csv], 3) == marks()
    both = export_landmarks(tmp_path / "a.mrk.json", marks(), ("f", "m"), in_mm=True)
    assert import_landmarks(both[::-1], 3) == marks()


def test_files_that_do_not_fit_are_one_sentence(tmp_path):
    (csv,) = export_landmarks(tmp_path / "a.csv", marks(), ("f", "m"), in_mm=True)
    first, second = export_landmarks(tmp_path / "a.mrk.json", marks(), ("f", "m"), in_mm=True)
    for paths, words in (
        ([csv, second], "Choose one csv"),
        ([first], "hold 1 point list;"),
        ([tmp_path / "none.csv"], "is not there"),
    ):
        with pytest.raises(GeminiError, match=words):
            import_landmarks(paths, 3)
    with pytest.raises(GeminiError, match="3 coordinates and these scans have 2"):
        import_landmarks([csv], 2)
    with pytest.raises(InputError, match="pixels"):
        export_landmarks(tmp_path / "a.mrk.json", marks(), ("f", "m"), in_mm=False)

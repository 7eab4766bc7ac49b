"""What was painted since the label file was written comes back after a crash, whole or not."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_gemini.errors import GeminiError
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.study.strokes import FOLDER
from napari_gemini.study.study import Study
from napari_gemini.volumes.reading import read_labels

SHAPE = (12, 14, 16)


@pytest.fixture(params=[SHAPE, SHAPE[:2]], ids=["3d", "2d"])
def study(tmp_path: Path, request: pytest.FixtureRequest) -> Study:
    images = tmp_path / "images"
    images.mkdir()
    for name in "ab":
        scan = np.random.default_rng(1).normal(size=request.param).astype(np.float32)
        nib.save(nib.Nifti1Image(scan, np.eye(4)), images / f"{name}.nii.gz")
    scheme = LabelScheme(names={1: "one", 2: "two", 300: "many"})
    return Study.create(tmp_path / "study", [images], scheme=scheme)


def _painted(study: Study, seed: int, values: tuple[int, ...] = (1, 2)) -> np.ndarray:
    generator = np.random.default_rng(seed)
    labels = np.zeros(study.case("a").shape, np.uint16)
    where = generator.random(labels.shape) < 0.1
    labels[where] = generator.choice(values, int(where.sum()))
    return labels


def _after_a_crash(study: Study) -> np.ndarray:
    """Return the labels as the next window finds them."""
    with study.lock():
        assert not (study.folder / "labels" / FOLDER / "a").exists()
    return read_labels(study.labels_path("a")).data


def test_strokes_on_an_empty_case_come_back(study):
    log = study.log_strokes("a", None)
    for seed in range(3):
        labels = _painted(study, seed)
        assert log.append(labels) > 0
        assert log.append(labels) == 0
    np.testing.assert_array_equal(_after_a_crash(study), labels)
    assert study.case("a").role == "labelled"
    assert study.case("a").status == "started"


def test_strokes_on_saved_labels_come_back_at_the_time_they_were_made(study):
    study.save_labels("a", _painted(study, 0))
    log = study.log_strokes("a", read_labels(study.labels_path("a")).data)
    labels = _painted(study, 1, (1, 2, 300))
    log.append(labels)
    painted = (study.folder / "labels" / FOLDER / "a" / "0.log").stat().st_mtime
    np.testing.assert_array_equal(_after_a_crash(study), labels)
    assert study.labels_path("a").stat().st_mtime == pytest.approx(painted, abs=1e-3)
    assert len(study.history("a")) == 1


def test_strokes_during_packing_come_back_whenever_it_ends(study):
    """Killed before the file took its place, after it did, and after the log was cut."""
    for moment in ("before", "between", "after"):
        saved = study.load_labels("a")
        with study.lock("a window that dies"):
            log = study.log_strokes("a", None if saved is None else saved.data)
            log.append(_painted(study, 1))
            frozen = log.freeze()
            labels = _painted(study, 2)
            log.append(labels)
            if moment != "before":
                study.save_frozen("a", log, frozen)
                packed = read_labels(study.labels_path("a")).data
                np.testing.assert_array_equal(packed, frozen.labels)
            if moment == "after":
                log.forget_packed(frozen)
                assert not (log.folder / "0.log").exists()
        np.testing.assert_array_equal(_after_a_crash(study), labels)


def test_a_packed_log_is_gone(study):
    log = study.log_strokes("a", None)
    labels = _painted(study, 1)
    with study.lock("a window"):
        log.append(labels)
        frozen = log.freeze()
        study.save_frozen("a", log, frozen)
        log.forget_packed(frozen)
    assert not log.folder.exists()
    assert not log.dirty
    np.testing.assert_array_equal(read_labels(study.labels_path("a")).data, labels)
    log.append(_painted(study, 2))
    np.testing.assert_array_equal(_after_a_crash(study), _painted(study, 2))


def test_half_a_record_is_left_out_and_the_rest_is_not(study):
    log = study.log_strokes("a", None)
    log.append(_painted(study, 1))
    path = log.folder / "0.log"
    whole = path.stat().st_size
    log.append(_painted(study, 2))
    content = path.read_bytes()
    for cut in (whole + 1, whole + 10, len(content) - 1):
        path.write_bytes(content[:cut])
        saved = study._labels.left_painted(study.case("a"))
        assert saved is not None
        np.testing.assert_array_equal(saved[0], _painted(study, 1))
    spoiled = bytearray(content)
    spoiled[-3] ^= 255
    path.write_bytes(spoiled)
    np.testing.assert_array_equal(_after_a_crash(study), _painted(study, 1))


def test_strokes_are_not_put_on_labels_that_came_from_elsewhere(study):
    study.save_labels("a", _painted(study, 0))
    log = study.log_strokes("a", read_labels(study.labels_path("a")).data)
    log.append(_painted(study, 1))
    study.labels_path("a").unlink()
    nib.save(
        nib.Nifti1Image(_painted(study, 5).astype(np.uint8), np.eye(4)), study.labels_path("a")
    )
    np.testing.assert_array_equal(_after_a_crash(study), _painted(study, 5))


def test_a_damaged_label_file_is_left_alone(study):
    study.save_labels("a", _painted(study, 0))
    log = study.log_strokes("a", read_labels(study.labels_path("a")).data)
    log.append(_painted(study, 1))
    good = study.labels_path("a").read_bytes()
    study.labels_path("a").write_bytes(good[:30])
    (log.folder / "0.base").write_text("")
    with study.lock():
        pass
    # The file is not the one that the log belongs to: it is not touched.
    assert study.labels_path("a").read_bytes() == good[:30]


def test_a_value_outside_the_scheme_is_refused_and_nothing_is_logged(study):
    log = study.log_strokes("a", None)
    strange = _painted(study, 1)
    strange[0, 0] = 7
    with pytest.raises(GeminiError, match="7"):
        log.append(strange)
    assert not log.folder.exists()
    log.append(_painted(study, 2))
    np.testing.assert_array_equal(_after_a_crash(study), _painted(study, 2))

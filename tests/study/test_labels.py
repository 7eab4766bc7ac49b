from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import napari_gemini.study.labels as labels_module
from napari_gemini.errors import EngineError, InputError, StudyError
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.study.study import Study
from napari_gemini.volumes.atomic import TEMPORARY_PREFIX
from napari_gemini.volumes.reading import read_labels, read_volume
from tests.study.helpers import (
    SHAPE,
    as_ordinary_user,
    contents,
    labels,
    read_only_copy,
    write_map,
    write_scan,
)


def test_every_save_keeps_the_version_before(study: Study) -> None:
    assert study.history("a") == []
    for seed in (10, 11, 12):
        study.save_labels("a", labels(seed))
    found = study.load_labels("a")
    assert found is not None
    assert np.array_equal(found.data, labels(12))
    versions = [read_labels(path).data for path in study.history("a")]
    expected = [labels(0), labels(10), labels(11)]
    assert all(np.array_equal(v, e) for v, e in zip(versions, expected, strict=True))


def test_labels_that_mark_nothing_teach_nothing_until_the_case_is_done(study: Study) -> None:
    assert "a" in [case.id for case in study.teaching_cases()]
    study.save_labels("a", np.zeros(SHAPE, np.uint8))
    study.set_case("a", status="started")
    assert study.is_blank("a")
    assert "a" not in [case.id for case in study.teaching_cases()]
    study.set_case("a", status="done")
    assert not study.is_blank("a"), "done: the anatomy is not there"
    assert "a" in [case.id for case in study.teaching_cases()]
    study.set_case("a", status="started")
    study.labels_path("a").write_bytes(b"broken")
    assert not study.is_blank("a"), "who reads them says what is wrong"


def test_saving_the_same_again_adds_no_version(study: Study) -> None:
    for _ in range(3):
        study.save_labels("a", labels(0))
    assert study.history("a") == []


def test_history_is_bounded(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "_labels", labels_module.LabelStore(study.folder / "labels", 3))
    for seed in range(10, 17):
        study.save_labels("a", labels(seed))
    versions = [read_labels(path).data for path in study.history("a")]
    expected = [labels(13), labels(14), labels(15)]
    assert all(np.array_equal(v, e) for v, e in zip(versions, expected, strict=True))


def test_an_earlier_version_comes_back(study: Study) -> None:
    study.save_labels("a", labels(10))
    study.restore_labels("a", study.history("a")[0])
    found = study.load_labels("a")
    assert found is not None
    assert np.array_equal(found.data, labels(0))
    assert np.array_equal(read_labels(study.history("a")[-1]).data, labels(10))
    with pytest.raises(StudyError, match="no earlier version"):
        study.restore_labels("b", study.history("a")[0])


def test_first_labels_of_a_case(study: Study) -> None:
    path = study.save_labels("c", labels(3))
    assert path == study.folder / "labels" / "c.nii.gz"
    case = Study(study.folder).case("c")
    assert (case.role, case.status) == ("labelled", "started")
    study.save_labels("c", labels(4), status="done")
    assert Study(study.folder).case("c").status == "done"
    study.save_labels("e", labels(4))
    assert study.case("e").role == "test"
    assert study.history("e") == []


def test_labels_lie_exactly_where_their_image_lies(study: Study) -> None:
    study.save_labels("a", labels(10))
    image, found = study.load_image("a"), study.load_labels("a")
    assert found is not None
    assert np.array_equal(image.affine, found.affine)
    assert found.data.dtype == np.uint8


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (labels(1, (12, 10, 9)), "labels have to be on the grid of their image"),
        (np.full(SHAPE, 3, np.uint8), "holds the label 3"),
        (np.full(SHAPE, -1), "holds the label -1"),
        (np.full(SHAPE, 0.5), "have to be integers"),
    ],
)
def test_wrong_labels_are_refused(study: Study, array: np.ndarray, says: str) -> None:
    before = contents(study.folder)
    with pytest.raises(InputError, match=says):
        study.save_labels("a", array)
    assert contents(study.folder) == before


def test_a_full_disk_keeps_the_old_labels(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study.save_labels("a", labels(10))
    before = contents(study.folder)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with study.lock(), monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(EngineError, match="disk is full"):
            study.save_labels("a", labels(11))
    assert contents(study.folder) == before


def test_history_without_hard_links(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: object, target: object) -> None:
        raise OSError(errno.EPERM, "not supported")

    monkeypatch.setattr(labels_module.os, "link", no_links)
    study.save_labels("a", labels(10))
    assert np.array_equal(read_labels(study.history("a")[0]).data, labels(0))


def test_versions_of_one_moment_do_not_collide(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped:
        @staticmethod
        def now(zone: object) -> object:
            from datetime import UTC, datetime

            return datetime(2026, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(labels_module, "datetime", Stopped)
    for seed in (10, 11, 12):
        study.save_labels("a", labels(seed))
    assert len(study.history("a")) == 3


@pytest.mark.skipif(os.name == "nt", reason="permissions work differently on Windows")
def test_read_only_study_opens_and_says_why_it_does_not_save(study: Study) -> None:
    code = (
        "study = Study(sys.argv[1] + '/study')\n"
        "assert study.load_labels('a') is not None\n"
        "assert len(study.placements()) == 5\n"
        "try: study.save_labels('a', np.ones(study.case('a').shape, np.uint8))\n"
        "except InputError as error: print(error)\n"
    )
    with read_only_copy(study.folder.parent) as folder:
        before = contents(folder)
        assert "read-only" in as_ordinary_user(code, folder)
        assert contents(folder) == before


def test_damaged_labels_are_named_with_the_way_out(study: Study) -> None:
    study.save_labels("a", labels(10))
    path = study.labels_path("a")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(StudyError, match=r"labels of a cannot be used .*\.history"):
        study.load_labels("a")
    study.save_labels("a", labels(11))  # and can be saved over
    assert study.load_labels("a") is not None
    write_map(path, labels(0, (3, 4, 5)))
    with pytest.raises(StudyError, match="labels of a cannot be used"):
        study.load_labels("a")
    write_map(path, np.full(SHAPE, 9, np.uint8))
    with pytest.raises(StudyError, match="holds the label 9"):
        study.load_labels("a")


def test_exclusive_labels_as_masks(study: Study) -> None:
    masks = study.load_masks("a")
    assert masks is not None
    assert masks.shape == (2, *SHAPE)
    assert np.array_equal(masks[1], labels(0) == 2)
    assert study.load_masks("c") is None
    with pytest.raises(StudyError, match="exclude each other"):
        study.save_masks("a", masks)


def test_ignored_voxels(tmp_path: Path, data: Path) -> None:
    scheme = LabelScheme(names={1: "a", 2: "b"}, ignore=255)
    study = Study.create(tmp_path / "s", [data / "images"], data / "labels", scheme=scheme)
    assert study.load_ignore("a") is None
    marked = labels(0)
    marked[:3] = 255
    study.save_labels("a", marked)
    ignored = study.load_ignore("a")
    assert ignored is not None
    assert ignored[:3].all()
    assert not ignored[3:].any()
    masks = study.load_masks("a")
    assert masks is not None
    assert not masks[:, :3].any()


def test_no_ignore_label_no_ignored_voxels(study: Study) -> None:
    assert study.load_ignore("a") is None


def test_overlapping_masks(overlapping: Study) -> None:
    one = np.zeros((2, *SHAPE), bool)
    one[0, :6], one[1, 4:] = True, True
    ignore = np.zeros(SHAPE, bool)
    ignore[0] = True
    assert not overlapping.has_labels("b")
    overlapping.save_masks("b", one, ignore=ignore, status="done")
    found = overlapping.load_masks("b")
    assert found is not None
    assert np.array_equal(found, one)
    assert np.array_equal(overlapping.load_ignore("b"), ignore)
    flat = overlapping.load_labels("b")
    assert flat is not None
    assert [flat.data[i, 0, 0] for i in (0, 2, 5, 9)] == [255, 1, 2, 2]
    assert overlapping.case("b").role == "labelled"
    two = one.copy()
    two[0] = False
    overlapping.save_masks("b", two)
    assert len(overlapping.history("b", "left_lung")) == 1
    assert overlapping.history("b", "heart") == []
    overlapping.restore_labels("b", overlapping.history("b", "left_lung")[0], "left_lung")
    assert np.array_equal(overlapping.load_masks("b"), one)
    assert overlapping.load_ignore("a") is None
    (overlapping.labels_path("b") / "heart.nii.gz").unlink()
    assert overlapping.load_masks("b") is None
    assert overlapping.load_labels("b") is None


def test_wrong_masks_are_refused(tmp_path: Path, overlapping: Study, data: Path) -> None:
    before = contents(overlapping.folder)
    with pytest.raises(InputError, match="needs 2 masks"):
        overlapping.save_masks("b", np.zeros((3, *SHAPE), bool))
    with pytest.raises(InputError, match="grid of their image"):
        overlapping.save_masks("b", np.zeros((2, 3, 4, 5), bool))
    with pytest.raises(StudyError, match="may overlap"):
        overlapping.save_labels("b", labels(0))
    assert contents(overlapping.folder) == before
    scheme = LabelScheme(names={1: "a"}, overlapping=True)
    plain = Study.create(tmp_path / "p", [data / "images"], scheme=scheme)
    with pytest.raises(InputError, match="has no label to ignore"):
        plain.save_masks("a", np.zeros((1, *SHAPE), bool), ignore=np.zeros(SHAPE, bool))


def test_threads_take_turns(study: Study) -> None:
    """Autosave in one thread and a dialog in another: nothing is lost, no lock stays."""
    errors: list[BaseException] = []

    def work(case: str) -> None:
        try:
            for seed in range(5):
                study.save_labels(case, labels(seed + 20))
                study.add_review(case, "unsure", str(seed))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(case,)) for case in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(study.review()) == 20
    assert not (study.folder / "study.lock").exists()


SAVING = """
import sys, numpy as np
from napari_gemini.study.study import Study
study = Study(sys.argv[1])
shape = study.case("a").shape
value = int(sys.argv[2])
while True:
    value = value % 200 + 1
    study.save_labels("a", np.full(shape, value, np.uint8))
    print("saved", flush=True)
"""


def test_sigkill_while_saving_never_breaks_labels(tmp_path: Path, data: Path) -> None:
    for seed, name in enumerate("ab"):
        write_scan(tmp_path / "big" / f"{name}.nii.gz", seed, (64, 64, 64))
    scheme = LabelScheme(names={v: f"label {v}" for v in range(1, 201)})
    study = Study.create(tmp_path / "study", [tmp_path / "big"], scheme=scheme)
    rng = random.Random(3)
    values = set()
    for number in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", SAVING, str(study.folder), str(number * 20)],
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"saved\n"
        time.sleep(rng.uniform(0.02, 0.25))
        child.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
        child.wait()
        child.stdout.close()
        study.reload()
        found = study.load_labels("a")
        if found is not None:
            assert len(np.unique(found.data)) == 1
            values.add(int(found.data[0, 0, 0]))
        for version in study.history("a"):
            assert len(np.unique(read_volume(version).data)) == 1
        assert len(study.history("a")) <= labels_module.HISTORY_LIMIT + 1
    assert len(values) > 3  # it did save in between
    # The next writer takes the dead one's place and cleans up behind it.
    study.save_labels("a", np.zeros((64, 64, 64), np.uint8))
    assert not list((study.folder / "labels").rglob(f"{TEMPORARY_PREFIX}*"))
    assert not (study.folder / "study.lock").exists()

"""Crashes, full disks and second windows: no label is lost, and the user is told."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
import time

import numpy as np
import pytest

from napari_gemini.errors import StudyError
from napari_gemini.study.study import Study
from napari_gemini.widgets.common.session import get_session
from napari_gemini.widgets.study.labelling import labelling_of
from tests.gui.study.helpers import listen, on_disk, paint

#: A window that paints one voxel after the other, without rest, until it is killed.
PAINTING = """
import sys, time
import napari
from qtpy.QtCore import QTimer
from napari_gemini.widgets.common.session import get_session
from napari_gemini.widgets.study.labelling import labelling_of

viewer = napari.Viewer(show=False)
session = get_session(viewer)
session.open_study(sys.argv[1])
session.show_case("case1")
view = labelling_of(session).view
view.labels.brush_size, view.labels.n_edit_dimensions = 1, 3
count = 0

def paint():
    global count
    voxel = (count % 12, count // 12 % 14, count // 168)
    view.labels.paint(view.grid.voxel_to_data(voxel), 1)
    print(time.time(), *voxel, flush=True)
    count += 1

timer = QTimer()
timer.timeout.connect(paint)
timer.start(40)
napari.run(force=True)
"""


def _start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_killed_window_loses_at_most_three_seconds(make_napari_viewer, study):
    window = _start(PAINTING, study.folder)
    painted: list[tuple[float, tuple[int, ...]]] = []
    try:
        assert window.stdout is not None
        for line in window.stdout:
            moment, *voxel = line.split()
            painted.append((float(moment), tuple(map(int, voxel))))
            if painted[-1][0] - painted[0][0] > 5:
                break
    finally:
        window.kill()
        killed = time.time()
        window.wait()
    found = on_disk(study, "case1")
    due = [voxel for moment, voxel in painted if moment < killed - 3]
    assert len(due) > 10
    assert all(found[voxel] == 1 for voxel in due)

    session = get_session(make_napari_viewer())
    session.open_study(study.folder)
    assert not session.read_only  # the lock of a dead window does not hold
    labelling = labelling_of(session)
    offer = labelling.talk.offers["crash"]
    assert "while case1 was shown" in offer.sentence
    words, show = offer.actions[0]
    assert words == "Show case1"
    show()
    assert session.case == "case1"
    np.testing.assert_array_equal(labelling.view.values(), found)
    assert "crash" not in labelling.talk.offers
    session.close_study()
    session.open_study(study.folder)
    assert not labelling.talk.offers  # this time it was closed in good order


HOLDING = """
import sys, time
from napari_gemini.study.study import Study
import numpy as np
study = Study.open(sys.argv[1])
with study.lock("napari"):
    print("held", flush=True)
    sys.stdin.readline()
    study.save_labels("case1", np.full(study.case("case1").shape, 2, np.uint8))
    print("saved", flush=True)
    time.sleep(60)
"""


def test_a_second_window_looks_on_and_takes_over(make_napari_viewer, study, qtbot):
    owner = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(study.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert owner.stdout.readline().strip() == "held"
        session = get_session(make_napari_viewer())
        said = listen(session)
        session.open_study(study.folder)
        labelling = labelling_of(session)
        assert "Another window" in said[-1][1]
        session.show_case("case1")
        assert not labelling.view.labels.editable
        labelling.view.values()[0, 0, 0] = 1
        with pytest.raises(StudyError, match="Another window"):
            labelling.set_scheme(study.scheme)
        owner.stdin.write("\n")
        owner.stdin.flush()
        assert owner.stdout.readline().strip() == "saved"
        qtbot.waitUntil(lambda: session.study.case("case1").role == "labelled", timeout=6000)
        assert session.read_only
    finally:
        owner.kill()
        owner.wait()
    qtbot.waitUntil(lambda: not session.read_only, timeout=6000)
    qtbot.waitUntil(lambda: labelling.view is not None, timeout=3000)
    assert labelling.view.labels.editable
    assert (labelling.view.values() == 2).all()  # what the other window saved last
    paint(labelling, (3, 4, 5))
    labelling.save_all()
    assert on_disk(study, "case1")[3, 4, 5] == 1


@contextlib.contextmanager
def _full_disk():
    """Let no file grow beyond a few bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_and_the_labels_are_kept(session, study, qtbot, monkeypatch):
    monkeypatch.setattr("napari_gemini.widgets.study.autosave.RETRY", 0.5)
    said = listen(session)
    session.show_case("case1")
    labelling = labelling_of(session)
    with _full_disk():
        paint(labelling, (3, 4, 5))
        qtbot.waitUntil(lambda: labelling.autosave.state == "failed", timeout=4000)
        assert said[-1][0] == "error"
        assert "full" in said[-1][1]
        assert "kept in memory" in said[-1][1]
        assert "unsaved" in labelling.talk.offers
        with pytest.raises(StudyError, match=r"case1 are not saved .* keep a copy"):
            session.show_case("case2")
        with pytest.raises(StudyError, match="not saved"):
            session.close_study()
        assert session.case == "case1"
        assert session.study is not None
        paint(labelling, (3, 4, 6))
        before = len(said)
        qtbot.wait(1200)
        assert len(said) == before  # tried again, told once
    qtbot.waitUntil(lambda: labelling.autosave.state == "saved", timeout=4000)
    assert on_disk(study, "case1")[3, 4, 5] == on_disk(study, "case1")[3, 4, 6] == 1
    assert "unsaved" not in labelling.talk.offers
    assert "saved again" in said[-1][1]
    session.show_case("case2")


def test_a_copy_elsewhere_lets_the_case_go(session, study, tmp_path, qtbot):
    from napari_gemini.volumes.reading import read_labels
    from napari_gemini.widgets.study.copies import keep_copy

    session.show_case("case1")
    labelling = labelling_of(session)
    labels = study.folder / "labels"
    labels.rename(study.folder / "away")
    labels.write_text("in the way")
    paint(labelling, (3, 4, 5))
    with pytest.raises(StudyError, match="not saved"):
        labelling.save_all()
    keep_copy(labelling, tmp_path / "copy.nii.gz")
    assert read_labels(tmp_path / "copy.nii.gz").data[3, 4, 5] == 1
    labels.unlink()
    (study.folder / "away").rename(labels)
    session.show_case("case2")
    assert not study.has_labels("case1")


def test_a_window_with_unsaved_labels_stays_open(make_napari_viewer, study):
    viewer = make_napari_viewer(show=True)
    session = get_session(viewer)
    session.open_study(study.folder)
    session.show_case("case1")
    labelling = labelling_of(session)
    said = listen(session)
    with _full_disk():
        paint(labelling, (3, 4, 5))
        assert not viewer.window._qt_window.close()
        assert "stays open" in said[-1][1]
    viewer.close()
    assert on_disk(study, "case1")[3, 4, 5] == 1


def test_damaged_labels_are_never_overwritten(session, study):
    session.show_case("case0")
    labelling = labelling_of(session)
    labelling.set_status("started")
    good = labelling.view.values().copy()
    paint(labelling, (0, 0, 0))
    session.show_case("case1")
    path = study.labels_path("case0")
    path.write_bytes(path.read_bytes()[:40])
    said = listen(session)
    session.show_case("case0")
    assert "cannot be used" in said[-1][1]
    assert not labelling.view.labels.editable
    from napari_gemini.widgets.study.copies import restore_version

    restore_version(labelling, Study(study.folder).history("case0")[0])
    np.testing.assert_array_equal(labelling.view.values(), good)
    assert labelling.view.labels.editable


#: The same window, with label maps so large that packing one never ends.
PACKING = (
    """
import time
from napari_gemini.study import labels
from napari_gemini.widgets.study import showing
showing.LARGE = 0
labels.write_labels = lambda *_: print("packing", *_[:1], flush=True) or time.sleep(3600)
"""
    + PAINTING
)


def test_a_window_killed_while_it_packs_a_large_map_loses_at_most_three_seconds(
    make_napari_viewer, study
):
    window = _start(PACKING, study.folder)
    painted: list[tuple[float, tuple[int, ...]]] = []
    packed = False
    try:
        assert window.stdout is not None
        for line in window.stdout:
            moment, *voxel = line.split()
            if moment == "packing":
                packed = True
                continue
            painted.append((float(moment), tuple(map(int, voxel))))
            if painted[-1][0] - painted[0][0] > 8 and packed:
                break
    finally:
        window.kill()
        killed = time.time()
        window.wait()
    assert not study.has_labels("case1")
    due = [voxel for moment, voxel in painted if moment < killed - 3]
    assert len(due) > 10

    session = get_session(make_napari_viewer())
    session.open_study(study.folder)
    found = on_disk(study, "case1")
    assert all(found[voxel] == 1 for voxel in due)
    sentence = labelling_of(session).talk.offers["crash"].sentence
    assert "its labels are those of" in sentence
    session.show_case("case1")
    np.testing.assert_array_equal(labelling_of(session).view.values(), found)


def test_a_large_map_is_packed_when_the_brush_rests(session, study, qtbot, monkeypatch):
    monkeypatch.setattr("napari_gemini.widgets.study.showing.LARGE", 0)
    session.show_case("case1")
    labelling = labelling_of(session)
    log = study.folder / "labels" / ".strokes" / "case1"
    paint(labelling, (3, 4, 5))
    qtbot.waitUntil(lambda: study.has_labels("case1"), timeout=20_000)
    qtbot.waitUntil(lambda: not log.exists(), timeout=20_000)
    assert on_disk(study, "case1")[3, 4, 5] == 1
    assert labelling.autosave.state == "saved"
    paint(labelling, (3, 4, 6), 2)
    session.show_case("case2")  # leaving waits for the file
    assert on_disk(study, "case1")[3, 4, 6] == 2
    assert not log.exists()
    session.show_case("case1")
    labelling.view.labels.undo()
    np.testing.assert_array_equal(labelling.view.values(), on_disk(study, "case1"))


def test_a_full_disk_is_told_of_a_large_map_too(session, study, qtbot, monkeypatch):
    monkeypatch.setattr("napari_gemini.widgets.study.showing.LARGE", 0)
    monkeypatch.setattr("napari_gemini.widgets.study.autosave.RETRY", 0.5)
    said = listen(session)
    session.show_case("case1")
    labelling = labelling_of(session)
    with _full_disk():
        paint(labelling, (3, 4, 5))
        qtbot.waitUntil(lambda: labelling.autosave.state == "failed", timeout=20_000)
        assert "full" in said[-1][1]
        with pytest.raises(StudyError, match=r"case1 are not saved"):
            session.show_case("case2")
    qtbot.waitUntil(lambda: labelling.autosave.state == "saved", timeout=20_000)
    labelling.save_all()
    assert on_disk(study, "case1")[3, 4, 5] == 1


def test_labels_that_were_given_up_do_not_come_back(session, study, qtbot, monkeypatch):
    monkeypatch.setattr("napari_gemini.widgets.study.showing.LARGE", 0)
    session.show_case("case1")
    labelling = labelling_of(session)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_gemini.study.labels.os.replace", full)
    paint(labelling, (3, 4, 5))
    with pytest.raises(StudyError, match="full"):
        labelling.save_all()
    assert (study.folder / "labels" / ".strokes" / "case1").is_dir()
    monkeypatch.undo()
    labelling.give_up()
    session.close_study()
    session.open_study(study.folder)
    assert not study.has_labels("case1")

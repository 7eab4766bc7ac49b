"""Summaries of label maps, volumes of 4D files, moved images and the thinned history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_gemini.errors import InputError, StudyError
from napari_gemini.progress import Cancelled, SilentReporter
from napari_gemini.study.candidates import list_candidates
from napari_gemini.study.labels import RECENT, thinned, version_time
from napari_gemini.study.study import Study
from napari_gemini.study.summary import summarise
from napari_gemini.volumes.volume import Volume

AFFINE = np.diag([-2.0, -2, 2, 1])


def test_slices_are_counted_along_the_body_s_axis() -> None:
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1, 1:3, 2] = 7
    labels[2, 2, 2] = 3
    upright = summarise(labels, np.eye(4))
    assert (upright.values, upright.slices, upright.of) == ((3, 7), 1, 6)
    sagittal = np.array([[0, 0, 1, 0], [0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    lying = summarise(labels, sagittal)
    assert (lying.slices, lying.of) == (2, 4)
    flat = summarise(labels[1], np.eye(4))
    assert (flat.slices, flat.of) == (1, 1)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    nib.save(
        nib.Nifti1Image(rng.normal(size=(8, 8, 8, 3)).astype(np.float32), AFFINE),
        folder / "dynamic.nii.gz",
    )
    nib.save(
        nib.Nifti1Image(rng.normal(size=(8, 8, 8)).astype(np.float32), AFFINE),
        folder / "still.nii.gz",
    )
    return folder


def test_a_volume_of_a_4d_file_is_a_case(series: Path, tmp_path: Path) -> None:
    found = {c.case: c for c in list_candidates([series])}
    assert (found["dynamic"].volumes, found["still"].volumes) == (3, 1)
    with pytest.raises(InputError, match="3 volumes"):
        Study.create(tmp_path / "study", [series])
    with pytest.raises(InputError, match="no such image"):
        Study.create(tmp_path / "study", [series], volume_indices={"other": 0})
    study = Study.create(tmp_path / "study", [series], volume_indices={"dynamic": 2})
    again = Study(study.folder)
    assert again.case("dynamic").volume_index == 2
    assert again.case("still").volume_index is None
    whole = np.asarray(nib.load(series / "dynamic.nii.gz").dataobj)
    np.testing.assert_array_equal(again.load_image("dynamic").data, whole[..., 2])
    again.save_labels("dynamic", np.ones((8, 8, 8), np.uint8))
    assert nib.load(again.labels_path("dynamic")).shape == (8, 8, 8)


def test_making_a_study_tells_and_stops(series: Path, tmp_path: Path) -> None:
    class Listener(SilentReporter):
        def __init__(self) -> None:
            self.said: list[tuple[int, int]] = []

        def progress(self, done: int, total: int, message: str = "", **values: float) -> None:
            self.said.append((done, total))

        def cancelled(self) -> bool:
            return len(self.said) == 1

    listener = Listener()
    with pytest.raises(Cancelled):
        Study.create(tmp_path / "study", [series], volume_indices={"dynamic": 0}, reporter=listener)
    assert listener.said == [(0, 2)]
    assert not (tmp_path / "study").exists()


def test_an_image_read_elsewhere_is_not_read_again(series: Path, tmp_path: Path) -> None:
    study = Study.create(tmp_path / "study", [series], volume_indices={"dynamic": 1})
    image = study.load_image("still")
    fresh = Study(study.folder)
    fresh.remember_image("still", image)
    assert fresh.outline("still").path == image.path
    with pytest.raises(StudyError, match="had"):
        fresh.remember_image("still", Volume(np.zeros((2, 2, 2)), image.affine))


def test_the_history_reaches_far_back_without_growing() -> None:
    start = datetime(2024, 5, 1, 9, tzinfo=UTC)
    kept: list[Path] = []
    # Two hours of saving every three seconds, thinned each time as a save does.
    for number in range(2400):
        time = start + timedelta(seconds=3 * number)
        kept = thinned([*kept, Path(f"{time:%Y%m%dT%H%M%S.%fZ}-000.nii.gz")])
    times = [version_time(version) for version in kept]
    assert len(kept) < 25
    assert times[0] == start
    recent = [(times[-1] - time).total_seconds() for time in times[-RECENT:]]
    assert recent == [12, 9, 6, 3, 0]
    ages = [(times[-1] - time).total_seconds() for time in times]
    for wanted in (60, 300, 1800, 3600):
        assert any(wanted / 2 <= age <= wanted * 2 for age in ages)

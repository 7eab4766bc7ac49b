from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_gemini.cli import main
from napari_gemini.errors import InputError
from napari_gemini.phantom.cohort import Cohort, make_cohort
from napari_gemini.phantom.files import cohort_split, write_cohort
from napari_gemini.phantom.truth import read_truth
from napari_gemini.volumes.reading import read_labels, read_volume


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return make_cohort(9, 2, seed=3, lesions=True)


def test_written_cohort_reads_back(tmp_path: Path, cohort: Cohort) -> None:
    folder = write_cohort(tmp_path / "cohort", cohort)
    for case in cohort.cases:
        image = read_volume(folder / "images" / f"{case.id}.png")
        assert np.array_equal(image.data, case.image.data)
        assert np.array_equal(image.affine, case.image.affine)
        assert np.array_equal(
            read_labels(folder / "labels" / f"{case.id}.png").data, case.labels.data
        )
    mask = read_labels(folder / "truth" / "lesions" / "phantom_002.png")
    assert np.array_equal(mask.data > 0, cohort.cases[1].lesion)


@pytest.mark.parametrize("headers", ["plain", "oblique"])
def test_volumes_keep_their_place(tmp_path: Path, headers: str) -> None:
    cohort = make_cohort(2, 3, seed=3, headers=headers)
    folder = write_cohort(tmp_path / "cohort", cohort, labelled=1, test=1)
    for case in cohort.cases:
        image = read_volume(folder / "images" / f"{case.id}.nii.gz")
        assert np.array_equal(image.data, case.image.data)
        assert np.allclose(image.affine, case.image.affine, atol=1e-4)


def test_split_has_the_five_shot_form(tmp_path: Path, cohort: Cohort) -> None:
    folder = write_cohort(tmp_path / "cohort", cohort)
    split = json.loads((folder / "split.json").read_text())
    ids = [case.id for case in cohort.cases]
    assert split["labelled"]["seed0"] == ids[:5]
    assert all(len(some) == 5 and set(some) <= set(ids[:6]) for some in split["labelled"].values())
    assert split["pool"] == ids[:6]
    assert split["test"] == ids[6:]
    assert split["labels"]["0"] == "background"
    assert split["labels"]["4"] == "ventricle"
    assert split == cohort_split(cohort)


def test_truth_reads_back(tmp_path: Path, cohort: Cohort) -> None:
    folder = write_cohort(tmp_path / "cohort", cohort)
    points = np.random.default_rng(0).uniform(-90, 0, (200, 2))
    truth = read_truth(folder)
    again = truth.true_map("phantom_001", "phantom_004", points)
    assert np.allclose(again, cohort.true_map(0, 3, points), atol=1e-9)
    assert truth.names == cohort.names
    assert np.array_equal(
        read_truth(folder / "truth").landmarks("phantom_002").points,
        cohort.truth.landmarks("phantom_002").points,
    )


def test_landmarks_lie_in_their_structures() -> None:
    cohort = make_cohort(2, 3, seed=8, crop=False)
    for case in cohort.cases:
        marks = cohort.truth.landmarks(case.id)
        assert len(marks.names) == 48
        assert marks.inside.all()
        voxels = np.rint(case.labels.world_to_voxel(marks.points)).astype(int)
        # Points close to a border may round into the neighbour.
        assert (case.labels.data[tuple(voxels.T)] == marks.labels).mean() > 0.8


def test_target_registration_error(cohort: Cohort) -> None:
    truth = cohort.truth
    start = truth.landmarks("phantom_001").points
    perfect = cohort.true_map(0, 1, start)
    errors = truth.target_registration_error("phantom_001", "phantom_002", perfect)
    assert np.nanmax(errors) < 1e-3
    shifted = truth.target_registration_error(
        "phantom_001", "phantom_002", perfect + np.array([3.0, 4.0])
    )
    assert np.nanmean(shifted) == pytest.approx(5.0)
    seen = truth.landmarks("phantom_001").inside & truth.landmarks("phantom_002").inside
    assert np.array_equal(np.isnan(errors), ~seen)


def test_third_coordinate_of_pictures_passes_through(cohort: Cohort) -> None:
    points = np.random.default_rng(0).uniform(-90, 0, (5, 2))
    deep = np.column_stack([points, np.arange(5.0)])
    mapped = cohort.true_map(0, 1, deep)
    assert np.array_equal(mapped[:, 2], np.arange(5.0))
    assert np.allclose(mapped[:, :2], cohort.true_map(0, 1, points))


def test_landmark_table(tmp_path: Path, cohort: Cohort) -> None:
    folder = write_cohort(tmp_path / "cohort", cohort)
    lines = (folder / "truth" / "landmarks" / "phantom_003.csv").read_text().splitlines()
    assert lines[0] == "name,label,x,y,inside"
    name, label, x, y, _ = lines[1].split(",")
    assert (name, label) == ("capsule 1", "1")
    expected = cohort.truth.landmarks("phantom_003").points[0]
    assert [float(x), float(y)] == pytest.approx(list(expected), abs=1e-5)


def test_the_command_refuses_before_it_makes_scans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("napari_gemini.phantom.cohort.make_cohort", pytest.fail)
    assert main(["phantom", str(tmp_path / "new"), "--count", "6"]) == 2
    assert "6 scans are too few for 5 labelled and 2 test scans" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    (tmp_path / "precious.txt").write_text("data")
    assert main(["phantom", str(tmp_path)]) == 2
    assert "is not an empty folder" in capsys.readouterr().err


def test_refusals(tmp_path: Path, cohort: Cohort) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("data")
    with pytest.raises(InputError, match="not an empty folder"):
        write_cohort(tmp_path / "full", cohort)
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["precious.txt"]
    with pytest.raises(InputError, match="too few"):
        write_cohort(tmp_path / "small", cohort, labelled=9)
    assert not (tmp_path / "small").exists()
    with pytest.raises(InputError, match="holds no true maps"):
        read_truth(tmp_path)
    (tmp_path / "truth.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        read_truth(tmp_path)
    (tmp_path / "truth.json").write_text('{"schema_version": 99}')
    with pytest.raises(InputError, match="version 99"):
        read_truth(tmp_path)
    with pytest.raises(InputError, match="knows no case named 'nobody'"):
        cohort.truth.landmarks("nobody")

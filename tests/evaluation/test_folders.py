"""Folders of label maps: pairing by id, grids, absent labels, means."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from napari_gemini.errors import InputError
from napari_gemini.evaluation.folders import evaluate_folders, find_cases
from napari_gemini.evaluation.metrics import score_case
from napari_gemini.evaluation.summary import case_means
from napari_gemini.progress import Cancelled, SilentReporter

AFFINE = np.array([[0, -0.8, 0, 3], [1.1, 0, 0, -7], [0, 0, 2.5, 20], [0, 0, 0, 1.0]])


def save(path, labels, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(labels.astype(np.uint8), affine), path)


@pytest.fixture
def folders(tmp_path):
    """a: labels 1 and 2; b: 2 only in the reference; c.d: 2 only predicted, 3 in the reference."""
    rng = np.random.default_rng(0)
    maps = {
        "a": (rng.integers(0, 3, (9, 8, 7)), rng.integers(0, 3, (9, 8, 7))),
        "b": (rng.integers(0, 2, (9, 8, 7)), rng.integers(0, 3, (9, 8, 7))),
        "c.d": (rng.integers(0, 3, (9, 8, 7)), rng.integers(0, 2, (9, 8, 7))),
    }
    maps["c.d"][1][0, 0, 0] = 3
    for case, (prediction, reference) in maps.items():
        save(tmp_path / "predictions" / f"{case}.nii.gz", prediction)
        save(tmp_path / "references" / f"{case}.nii", reference)
    save(tmp_path / "references" / "unpredicted.nii.gz", maps["a"][1])
    save(tmp_path / "predictions" / "unknown.nii.gz", maps["a"][1])
    (tmp_path / "references" / "notes.txt").write_text("not a label map")
    return tmp_path, maps


def test_every_case_and_label_is_scored(folders):
    root, maps = folders
    report = evaluate_folders(root / "predictions", root / "references", names={1: "head"})
    assert list(report["cases"]) == ["a", "b", "c.d"]
    for case, (prediction, reference) in maps.items():
        assert list(report["cases"][case]) == ["1", "2", "3"]
        for label, scores in score_case(prediction, reference, AFFINE).items():
            assert report["cases"][case][str(label)] == pytest.approx(scores)
    assert report["unmatched"] == {"predictions": ["unknown"], "references": ["unpredicted"]}
    assert report["labels"]["1"]["name"] == "head"
    json.dumps(report, allow_nan=False)


def test_absent_labels_are_null_and_counted(folders):
    root, _ = folders
    report = evaluate_folders(root / "predictions", root / "references")
    assert report["cases"]["b"]["2"]["dice"] is None
    assert report["cases"]["b"]["3"] == pytest.approx(
        {
            "dice": None,
            "hd95_mm": None,
            "assd_mm": None,
            "voxels": 0,
            "reference_voxels": 0,
            "volume_ml": 0,
            "reference_volume_ml": 0,
        }
    )
    two = report["labels"]["2"]
    assert (two["absent_in_prediction"], two["absent_in_reference"]) == (1, 1)
    assert (two["scored"], two["cases"]) == (1, 3)
    assert report["labels"]["3"]["dice"] is None
    assert report["labels"]["3"]["absent_in_both"] == 2
    assert report["absent"] == {
        "absent_in_prediction": 2,
        "absent_in_reference": 1,
        "absent_in_both": 2,
    }


def test_means_are_over_cases_of_means_over_labels(folders):
    root, maps = folders
    report = evaluate_folders(root / "predictions", root / "references")
    per_case = []
    for prediction, reference in maps.values():
        scores = [s["dice"] for s in score_case(prediction, reference, AFFINE).values()]
        per_case.append(np.mean([value for value in scores if value is not None]))
    assert report["mean"]["dice"] == pytest.approx(np.mean(per_case))
    assert case_means(report["cases"]) == pytest.approx(dict(zip(maps, per_case, strict=True)))
    assert case_means(report["cases"], "hd95_mm", "2")["b"] is None
    values = [report["cases"][case]["1"]["assd_mm"] for case in maps]
    assert report["labels"]["1"]["assd_mm"] == pytest.approx(np.mean(values))
    assert report["labels"]["1"]["assd_mm_sd"] == pytest.approx(np.std(values, ddof=1))


def test_missing_a_label_does_not_raise_the_mean_that_counts_it(folders):
    root, _ = folders
    report = evaluate_folders(root / "predictions", root / "references")
    one = report["cases"]["b"]["1"]["dice"]
    assert case_means(report["cases"])["b"] == pytest.approx(one)
    assert case_means(report["cases"], missed_as_zero=True)["b"] == pytest.approx(one / 2)
    assert report["mean"]["dice_missed_as_zero"] < report["mean"]["dice"]


def test_formats_may_differ(folders):
    root, maps = folders
    image = sitk.ReadImage(str(root / "references" / "a.nii"))
    sitk.WriteImage(image, str(root / "references" / "a.nrrd"))
    (root / "references" / "a.nii").unlink()
    report = evaluate_folders(root / "predictions", root / "references")
    expected = score_case(*maps["a"], AFFINE)[1]
    assert report["cases"]["a"]["1"] == pytest.approx(expected, rel=1e-5)


def test_pictures_without_spacing_have_no_millimetres(tmp_path):
    labels = np.zeros((12, 10), np.uint8)
    labels[3:7, 2:6] = 1
    for side, shift in (("p", 0), ("r", 1)):
        (tmp_path / side).mkdir()
        Image.fromarray(np.roll(labels, shift, 0)).save(tmp_path / side / "case.png")
    report = evaluate_folders(tmp_path / "p", tmp_path / "r")
    assert report["cases"]["case"]["1"] == {
        "dice": pytest.approx(0.75),
        "voxels": 16,
        "reference_voxels": 16,
    }
    assert set(report["mean"]) == {"dice", "dice_missed_as_zero"}


def test_folders_of_masks_may_overlap(tmp_path):
    heart, lung = np.zeros((2, 8, 8, 8), np.uint8)
    heart[2:5, 2:5, 2:5] = 1
    lung[3:7, 3:7, 3:7] = 255
    for side in ("p", "r"):
        save(tmp_path / side / "case" / "heart.nii.gz", heart)
    save(tmp_path / "r" / "case" / "lung.nii.gz", lung)
    report = evaluate_folders(tmp_path / "p", tmp_path / "r")
    assert report["cases"]["case"]["heart"]["dice"] == 1.0
    assert report["cases"]["case"]["lung"]["dice"] is None
    assert report["labels"]["lung"]["absent_in_prediction"] == 1


def test_ignored_label_and_wanted_labels(tmp_path):
    reference = np.zeros((6, 6, 6), np.uint8)
    reference[1:3], reference[5] = 1, 9
    prediction = np.where(reference == 9, 1, reference)
    save(tmp_path / "p" / "x.nii.gz", prediction)
    save(tmp_path / "r" / "x.nii.gz", reference)
    report = evaluate_folders(tmp_path / "p", tmp_path / "r", ignore=9, labels=[1, 4])
    assert report["cases"]["x"]["1"]["dice"] == 1.0
    assert list(report["labels"]) == ["1", "4"]


def test_empty_maps_have_nothing_to_average(tmp_path):
    for side in ("p", "r"):
        save(tmp_path / side / "x.nii.gz", np.zeros((4, 4, 4)))
    report = evaluate_folders(tmp_path / "p", tmp_path / "r")
    assert report["cases"] == {"x": {}}
    assert report["mean"] == {}


def test_progress_and_cancel(folders):
    root, _ = folders

    class Impatient(SilentReporter):
        seen = 0

        def progress(self, done, total, message="", **values):
            self.seen += 1

        def cancelled(self):
            return self.seen >= 2

    reporter = Impatient()
    with pytest.raises(Cancelled):
        evaluate_folders(root / "predictions", root / "references", reporter=reporter)
    assert reporter.seen == 2


def test_other_shape_is_one_sentence(folders):
    root, _ = folders
    save(root / "predictions" / "a.nii.gz", np.zeros((9, 8, 6)))
    with pytest.raises(InputError, match=r"9 x 8 x 6 voxels .* 9 x 8 x 7; bring the prediction"):
        evaluate_folders(root / "predictions", root / "references")


def test_other_place_is_one_sentence(folders):
    root, _ = folders
    moved = AFFINE.copy()
    moved[2, 3] += 1.5
    save(root / "predictions" / "a.nii.gz", np.zeros((9, 8, 7)), moved)
    with pytest.raises(InputError, match=r"1\.5 mm apart in space"):
        evaluate_folders(root / "predictions", root / "references")


def test_flipped_copy_is_noticed(folders):
    """Same shape and spacing, but the other side of the body."""
    root, maps = folders
    flipped = AFFINE.copy()
    flipped[:, 0] *= -1
    save(root / "predictions" / "a.nii.gz", maps["a"][0], flipped)
    with pytest.raises(InputError, match="mm apart in space"):
        evaluate_folders(root / "predictions", root / "references")


def test_bad_folders_are_one_sentence(folders, tmp_path):
    root, _ = folders
    with pytest.raises(InputError, match="is not a folder"):
        evaluate_folders(root / "nowhere", root / "references")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no label map"):
        evaluate_folders(tmp_path / "empty", root / "references")
    save(tmp_path / "others" / "z.nii.gz", np.zeros((2, 2, 2)))
    with pytest.raises(InputError, match="same name"):
        evaluate_folders(tmp_path / "others", root / "references")
    save(root / "predictions" / "a.nii", np.zeros((9, 8, 7)))
    with pytest.raises(InputError, match="both for case a; keep one"):
        find_cases(root / "predictions")


def test_soft_predictions_are_refused(folders):
    root, _ = folders
    soft = nib.Nifti1Image(np.full((9, 8, 7), 0.5, np.float32), AFFINE)
    nib.save(soft, root / "predictions" / "a.nii.gz")
    with pytest.raises(InputError, match="not whole numbers"):
        evaluate_folders(root / "predictions", root / "references")

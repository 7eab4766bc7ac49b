"""correspond and propagate on small phantoms: what is written, and that it means what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from napari_gemini.engine.dispatch import run_job
from napari_gemini.engine.jobs import CorrespondJob, PropagateJob
from napari_gemini.engine.tasks.pair_inputs import PairInputs, read_scan
from napari_gemini.engine.tasks.pair_matching import match
from napari_gemini.engine.tasks.result_folder import case_name
from napari_gemini.engine.tasks.serving import serve
from napari_gemini.errors import InputError, ModelError
from napari_gemini.phantom.cohort import make_cohort
from napari_gemini.phantom.files import write_cohort
from napari_gemini.phantom.truth import read_truth
from napari_gemini.progress import Cancelled, SilentReporter
from napari_gemini.volumes.fields import map_points, read_field
from napari_gemini.volumes.pictures import write_png

CONTRACT = {
    "fold_percent",
    "fold_percent_digital",
    "nondiffeomorphic_volume_percent",
    "sd_log_jacobian",
    "sd_log_jacobian_l2r",
    "gss_mean",
    "gvs_mean",
    "mask_percent",
    "seconds",
    "device",
    "peak_memory_mb",
    "model",
}
MAPS = ("log_jacobian", "folds", "gvs", "mask")


class Listener(SilentReporter):
    def __init__(self) -> None:
        self.messages: list[str] = []
        self.events: list[tuple[str, dict[str, Any]]] = []

    def log(self, message: str, level: str = "info") -> None:
        self.messages.append(message)

    def event(self, name: str, **payload: Any) -> None:
        self.events.append((name, payload))


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scans whose headers are oblique, flipped and anisotropic."""
    cohort = make_cohort(7, 3, (24, 24, 24), spacing=3.0, headers="oblique", noise=0.02)
    return write_cohort(tmp_path_factory.mktemp("oblique") / "c", cohort, test=2)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cohort = make_cohort(7, 2, (48, 48), noise=0.02)
    return write_cohort(tmp_path_factory.mktemp("pictures") / "c", cohort, test=2)


def job_for(cohort: Path, out: Path, **options: Any) -> CorrespondJob:
    moving, fixed = sorted((cohort / "images").iterdir())[:2]
    given = {
        "model": "none",
        "labels": cohort / "labels" / moving.name,
        "fixed_labels": cohort / "labels" / fixed.name,
        "refine": 20,
        "device": "cpu",
    }
    return CorrespondJob(moving=moving, fixed=fixed, out=out, **{**given, **options})


@pytest.fixture(scope="module")
def pair(volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[CorrespondJob, Any]:
    job = job_for(volumes, tmp_path_factory.mktemp("pair") / "out")
    return job, run_job(job, Listener())


def test_report_has_every_key_of_the_contract(pair: tuple[CorrespondJob, Any]) -> None:
    job, result = pair
    report = json.loads((job.out / "report.json").read_text())
    assert report.keys() >= CONTRACT
    assert set(report["inverse_consistency_mm"]) == {"mean", "p95"}
    assert report["model"] == "none"
    assert report["gss_mean"] is None
    assert any("no features" in note for note in report["notes"])
    assert set(report["files"]) == {p.name for p in job.out.iterdir()}
    assert {k: v for k, v in result.items() if k not in ("out", "html")} == report
    assert Path(result["html"]).is_file()
    assert all(0 <= value <= 1 for value in report["dice"].values() if value is not None)


def test_maps_lie_on_the_fixed_scan_with_its_header(pair: tuple[CorrespondJob, Any]) -> None:
    job, _ = pair
    fixed = nib.load(job.fixed)
    for name in (*MAPS, "warped", "labels"):
        found = nib.load(job.out / f"{name}.nii.gz")
        assert found.shape == fixed.shape
        assert np.array_equal(found.affine, fixed.affine)
        assert int(found.header["sform_code"]) == int(fixed.header["sform_code"])
        assert np.isfinite(np.asarray(found.dataobj)).all()
    assert not (job.out / "gss.nii.gz").exists()


def test_the_field_gives_the_same_in_simpleitk(pair: tuple[CorrespondJob, Any]) -> None:
    job, _ = pair
    transform = sitk.ReadTransform(str(job.out / "field.h5"))
    fixed = sitk.ReadImage(str(job.fixed))
    image = sitk.ReadImage(str(job.moving), sitk.sitkFloat32)
    labels = sitk.ReadImage(str(job.labels))
    expected = sitk.Resample(image, fixed, transform, sitk.sitkLinear, 0.0)
    found = sitk.ReadImage(str(job.out / "warped.nii.gz"), sitk.sitkFloat32)
    spread = np.ptp(sitk.GetArrayViewFromImage(image))
    assert np.allclose(
        sitk.GetArrayViewFromImage(found), sitk.GetArrayViewFromImage(expected), atol=1e-4 * spread
    )
    nearest = sitk.Resample(labels, fixed, transform, sitk.sitkNearestNeighbor, 0)
    carried = sitk.ReadImage(str(job.out / "labels.nii.gz"))
    assert np.array_equal(sitk.GetArrayViewFromImage(carried), sitk.GetArrayViewFromImage(nearest))


def test_correspondence_is_nearer_to_the_truth(
    volumes: Path, pair: tuple[CorrespondJob, Any]
) -> None:
    job, result = pair
    truth = read_truth(volumes)
    names = case_name(job.fixed), case_name(job.moving)
    points = truth.landmarks(names[0]).points
    after = np.nanmean(
        truth.target_registration_error(
            *names, map_points(read_field(job.out / "field.h5"), points)
        )
    )
    middle = truth.landmarks(names[1]).points.mean(0) - points.mean(0)
    before = np.nanmean(truth.target_registration_error(*names, points + middle))
    assert after < 0.7 * before
    assert result["fold_percent_digital"] == 0


def test_mask_leaves_out_what_is_to_be_ignored(
    volumes: Path, tmp_path: Path, pair: tuple[CorrespondJob, Any]
) -> None:
    first, _ = pair
    fixed = nib.load(first.fixed)
    mask = np.zeros(fixed.shape, np.uint8)
    mask[: fixed.shape[0] // 2] = 1
    nib.save(nib.Nifti1Image(mask, fixed.affine), tmp_path / "mask.nii.gz")
    job = job_for(volumes, tmp_path / "out", ignore=tmp_path / "mask.nii.gz", refine=2)
    run_job(job, SilentReporter())
    found = np.asarray(nib.load(tmp_path / "out" / "mask.nii.gz").dataobj)
    assert not found[mask != 0].any()
    assert found[mask == 0].any()


def test_scans_in_two_contrasts_are_compared_by_self_similarity(
    pictures: Path, tmp_path: Path
) -> None:
    """Unless something else is asked for; the report and the page say which it was."""
    moving, fixed = sorted((pictures / "images").iterdir())[:2]
    values = read_scan(fixed).data.astype(float)
    other = tmp_path / "other.png"
    write_png(other, (values.max() - values).astype(np.uint8))
    listener = Listener()
    job = CorrespondJob(moving=moving, fixed=other, out=tmp_path / "auto", model="none",
                        refine=5, device="cpu", both=True)  # fmt: skip
    report = run_job(job, listener)
    assert report["settings"]["similarity"] == "self-similarity"
    assert sum("compared by self-similarity, since" in text for text in listener.messages) == 1
    assert any("compared by self-similarity" in note for note in report["notes"])
    assert "low GVS is no bad sign" in (tmp_path / "auto" / "report.html").read_text()
    back = json.loads((tmp_path / "auto" / "inverse" / "report.json").read_text())
    assert back["settings"]["similarity"] == "self-similarity"
    assert "--similarity" not in report["command"]
    asked = job.model_copy(update={"similarity": "correlation", "out": tmp_path / "asked"})
    report = run_job(asked, Listener())
    assert report["settings"]["similarity"] == "correlation"
    assert " --similarity correlation" in " ".join(report["command"])
    assert "no bad sign" not in (tmp_path / "asked" / "report.html").read_text()
    for model, expected in {
        "general-2d": "self-similarity",
        "heart-cine-2d": "correlation",
    }.items():
        served = job.model_copy(update={"model": model, "out": tmp_path / model, "refine": 1})
        assert run_job(served, Listener())["settings"]["similarity"] == expected


def test_identical_scans_stay_where_they_are(volumes: Path, tmp_path: Path) -> None:
    scan = sorted((volumes / "images").iterdir())[0]
    labels = volumes / "labels" / scan.name
    job = CorrespondJob(
        moving=scan,
        fixed=scan,
        out=tmp_path / "out",
        model="none",
        labels=labels,
        fixed_labels=labels,
        refine=0,
        device="cpu",
    )
    report = run_job(job, SilentReporter())
    assert set(report["dice"].values()) == {1.0}
    assert report["mask_percent"] == 100.0
    assert report["inverse_consistency_mm"]["p95"] == pytest.approx(0, abs=1e-6)
    log_jacobian = np.asarray(nib.load(tmp_path / "out" / "log_jacobian.nii.gz").dataobj)
    assert np.abs(log_jacobian).max() < 1e-5


def test_pictures_have_pixels_and_no_millimetres(pictures: Path, tmp_path: Path) -> None:
    report = run_job(job_for(pictures, tmp_path / "out", refine=10), SilentReporter())
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"labels.png", "labels.nii.gz", "field.h5", "report.json", "report.html"} <= names
    assert {f"{stem}.{kind}" for stem in MAPS for kind in ("nii.gz", "tif")} <= names
    assert "inverse_consistency_mm" not in report
    assert report["inverse_consistency_px"]["mean"] >= 0
    assert not any("mm" in key for key in report["settings"])
    transform = sitk.ReadTransform(str(tmp_path / "out" / "field.h5"))
    assert transform.GetDimension() == 2
    carried = sitk.ReadImage(str(tmp_path / "out" / "labels.png"))
    moving, fixed = sorted((pictures / "labels").iterdir())[:2]
    nearest = sitk.Resample(
        sitk.ReadImage(str(moving)),
        sitk.ReadImage(str(fixed)),
        transform,
        sitk.sitkNearestNeighbor,
        0,
    )
    assert np.array_equal(sitk.GetArrayViewFromImage(carried), sitk.GetArrayViewFromImage(nearest))


def test_a_second_run_replaces_the_first(volumes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_job(job_for(volumes, out, refine=0), SilentReporter())
    assert (out / "labels.nii.gz").exists()
    run_job(job_for(volumes, out, refine=0, labels=None), SilentReporter())
    assert not (out / "labels.nii.gz").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


class StopsAt(SilentReporter):
    """Asks to stop after so many looks."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def cancelled(self) -> bool:
        self.looks -= 1
        return self.looks < 0


@pytest.mark.parametrize("looks", [0, 3, 8, 21, 25, 26, 27])
def test_stopping_leaves_nothing_or_the_former_result(
    volumes: Path, tmp_path: Path, looks: int
) -> None:
    job = job_for(volumes, tmp_path / "out", refine=6)
    try:
        run_job(job, StopsAt(looks))
    except Cancelled:
        assert list(tmp_path.iterdir()) == []
    else:
        assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_no_common_field_of_view_is_said(volumes: Path, tmp_path: Path) -> None:
    listener = Listener()
    job = job_for(volumes, tmp_path / "out", refine=0, spacing=6.0)
    run_job(job, listener)
    assert any("6 mm" in message for message in listener.messages)
    assert any("field.h5 takes" in message for message in listener.messages)


def test_propagate_carries_labels_to_every_target(volumes: Path, tmp_path: Path) -> None:
    atlas, *targets = sorted((volumes / "images").iterdir())[:3]
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(targets[0].read_bytes()[:2000])
    listener = Listener()
    job = PropagateJob(
        atlas=atlas,
        labels=volumes / "labels" / atlas.name,
        targets=[*targets, broken],
        references=volumes / "labels",
        out=tmp_path / "out",
        model="none",
        refine=3,
        device="cpu",
    )
    result = run_job(job, listener)
    assert set(result["targets"]) == {case_name(target) for target in targets}
    assert set(result["failed"]) == {"broken"}
    assert "truncated" in result["failed"]["broken"]
    assert {entry["target"] for entry in result["ranking"]} == set(result["targets"])
    for target in targets:
        folder = tmp_path / "out" / case_name(target)
        report = json.loads((folder / "report.json").read_text())
        assert report.keys() >= CONTRACT | {"dice"}
        assert nib.load(folder / "labels.nii.gz").shape == nib.load(target).shape
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == result
    done = [payload["status"] for name, payload in listener.events if name == "target_done"]
    assert sorted(done) == ["done", "done", "failed"]
    again = run_job(job, SilentReporter())
    assert sorted(again["skipped"]) == sorted(result["targets"])
    assert again["targets"] == result["targets"]


def test_propagate_refuses_before_it_writes(volumes: Path, tmp_path: Path) -> None:
    atlas, target = sorted((volumes / "images").iterdir())[:2]
    missing = tmp_path / "nowhere.nii.gz"
    for options in (
        {"targets": [missing]},
        {"targets": [target, target.parent / "." / target.name], "labels": missing},
        {"targets": [target], "references": volumes / "truth" / "landmarks"},
    ):
        given = {"labels": volumes / "labels" / atlas.name, **options}
        job = PropagateJob(atlas=atlas, out=tmp_path / "out", model="none", device="cpu", **given)
        with pytest.raises(InputError):
            run_job(job, SilentReporter())
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("refine", [0, 2])
def test_a_model_that_gives_no_finite_numbers_is_refused(pictures: Path, refine: int) -> None:
    serving = serve("general-2d", 2, "cpu")
    assert serving.network is not None
    with torch.no_grad():
        for parameter in serving.network.deformer.parameters():
            parameter.fill_(torch.nan)
    moving, fixed = map(read_scan, sorted((pictures / "images").iterdir())[:2])
    device = torch.device("cpu")
    with pytest.raises(ModelError, match="the model gives for this pair is not finite"):
        match(PairInputs(moving, fixed), serving, refine, None, device, SilentReporter(), "")

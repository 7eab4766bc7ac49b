"""Both directions of a pair from one computation, and reading them back without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_gemini.engine.arrays import ArrayExchange, use_exchange
from napari_gemini.engine.dispatch import run_job
from napari_gemini.engine.jobs import CorrespondJob, LoadPairJob
from napari_gemini.errors import InputError
from napari_gemini.phantom.cohort import make_cohort
from napari_gemini.phantom.files import write_cohort
from napari_gemini.progress import SilentReporter
from napari_gemini.volumes.fields import map_points, read_field
from napari_gemini.volumes.reading import read_volume


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> CorrespondJob:
    cohort = make_cohort(7, 3, (24, 24, 24), spacing=3.0, headers="oblique", noise=0.02)
    root = write_cohort(tmp_path_factory.mktemp("both") / "c", cohort, test=2)
    moving, fixed = sorted((root / "images").iterdir())[:2]
    job = CorrespondJob(
        moving=moving,
        fixed=fixed,
        labels=root / "labels" / moving.name,
        fixed_labels=root / "labels" / fixed.name,
        out=tmp_path_factory.mktemp("out") / "pair",
        model="none",
        refine=10,
        device="cpu",
        both=True,
    )
    run_job(job, SilentReporter())
    return job


def test_the_other_direction_lies_on_the_moving_scan(job: CorrespondJob) -> None:
    moving = read_volume(job.moving)
    for stem in ("warped", "labels", "log_jacobian", "folds", "gvs", "inverse_consistency"):
        found = read_volume(job.out / "inverse" / f"{stem}.nii.gz", allow_nonfinite=True)
        assert found.shape == moving.shape
        assert np.allclose(found.affine, moving.affine)
    report = json.loads((job.out / "inverse" / "report.json").read_text())
    assert report["inputs"]["fixed"]["path"] == str(job.moving)
    assert report["inputs"]["labels"]["path"] == str(job.fixed_labels)
    assert report["dice"].keys() == json.loads((job.out / "report.json").read_text())["dice"].keys()


def test_there_and_back_ends_where_it_began(job: CorrespondJob) -> None:
    there, back = (read_field(job.out / name) for name in ("field.h5", "inverse/field.h5"))
    fixed = read_volume(job.fixed)
    points = fixed.voxel_to_world(np.random.default_rng(0).uniform(8, 16, (50, 3)))
    home = map_points(back, map_points(there, points))
    assert np.abs(home - points).max() < 1.0
    # The fields themselves do something, or the test would hold for nothing.
    assert np.abs(map_points(there, points) - points).max() > 1.0


def test_the_report_tells_the_initial_placement(job: CorrespondJob) -> None:
    reports = [json.loads((job.out / p / "report.json").read_text()) for p in ("", "inverse")]
    first, second = (np.array(r["settings"]["initial_placement"]) for r in reports)
    assert np.allclose(first @ second, np.eye(4))
    assert not np.allclose(first, np.eye(4))


def test_one_direction_leaves_no_other_folder(job: CorrespondJob, tmp_path: Path) -> None:
    single = job.model_copy(update={"both": False, "out": tmp_path / "o", "refine": 1})
    run_job(single, SilentReporter())
    assert not (tmp_path / "o" / "inverse").exists()


def test_a_result_is_read_back_as_mapped_arrays(job: CorrespondJob, tmp_path: Path) -> None:
    use_exchange(tmp_path)
    values = run_job(LoadPairJob(folder=job.out), SilentReporter())
    arrays = ArrayExchange(tmp_path)
    for name, file in (("there", "field.h5"), ("back", "inverse/field.h5")):
        field = read_field(job.out / file)
        assert np.array_equal(arrays.open(values[name]["array"]), field.vectors)
        assert np.allclose(values[name]["affine"], field.affine)
    assert np.array_equal(arrays.open(values["moving"]["array"]), read_volume(job.moving).data)
    swapped = run_job(LoadPairJob(folder=job.out / "inverse"), SilentReporter())
    assert swapped["fixed"]["path"] == str(job.moving)
    assert np.array_equal(
        arrays.open(swapped["back"]["array"]), read_field(job.out / "field.h5").vectors
    )


def test_a_result_whose_scan_is_gone_says_so(job: CorrespondJob, tmp_path: Path) -> None:
    report = json.loads((job.out / "report.json").read_text())
    report["inputs"]["moving"]["path"] = str(tmp_path / "gone.nii.gz")
    (tmp_path / "report.json").write_text(json.dumps(report))
    with pytest.raises(InputError, match=r"gone\.nii\.gz; put it back"):
        run_job(LoadPairJob(folder=tmp_path), SilentReporter())


def test_reading_a_result_needs_no_torch() -> None:
    code = "import sys, napari_gemini.engine.loading_pairs; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"

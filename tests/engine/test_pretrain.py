"""Pre-training on real study folders, and what its models are good for afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from napari_gemini.engine.dispatch import run_job
from napari_gemini.engine.jobs import CorrespondJob, PredictJob, TrainJob
from napari_gemini.engine.run_folder import RunFolder
from napari_gemini.errors import InputError, ModelError, StudyError
from napari_gemini.learning.card import read_card
from napari_gemini.learning.checkpoints import resolve_model
from napari_gemini.phantom.cohort import make_cohort
from napari_gemini.phantom.files import write_cohort
from napari_gemini.progress import SilentReporter
from napari_gemini.settings import (
    PRETRAINING,
    NetworkSettings,
    PixelSettings,
    TrainSettings,
    TransportSettings,
    pretraining_preset,
)
from napari_gemini.study.files import read_study_file, write_study_file
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.study.study import Study

SMALL = NetworkSettings(dimension=2, base_width=4)


class Said(SilentReporter):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.logs: list[str] = []

    def log(self, message: str, level: str = "info") -> None:
        self.logs.append(message)

    @property
    def text(self) -> str:
        return "\n".join(self.logs)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_cohort(6, 2, (32, 32), seed=1, crop=False)
    return write_cohort(tmp_path_factory.mktemp("phantom") / "cohort", made, labelled=3, test=0)


@pytest.fixture(scope="module")
def unlabelled(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("studies") / "bare"
    return Study.create(folder, [cohort / "images"], scheme=LabelScheme(names={1: "organ"}))


@pytest.fixture
def labelled(cohort: Path, tmp_path: Path) -> Study:
    return Study.create(
        tmp_path / "study", [cohort / "images"], cohort / "labels", cohort / "split.json", "seed0"
    )


def settings(objective: str, **changes: Any) -> TrainSettings:
    values = {
        "steps": 2,
        "threads": 1,
        "precision": "fp32",
        "pairs_per_step": 2,
        "network": SMALL,
        "pixel": PixelSettings(pixels=32, projection=8),
        "transport": TransportSettings(expansion=64, heads=2, tokens=4, iterations=5),
        **changes,
    }
    made = pretraining_preset(objective, "quick", 2).model_copy(update=values)
    return TrainSettings.model_validate(made.model_dump())


def pretrain(study: Study, out: Path, objective: str, **changes: Any) -> dict[str, Any]:
    options = {k: changes.pop(k) for k in ("init", "resume") if k in changes}
    job = TrainJob(study=study.folder, out=out, settings=settings(objective, **changes), **options)
    return run_job(job, SilentReporter())


@pytest.fixture(scope="module")
def models(unlabelled: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model of every objective, two steps each."""
    folder = tmp_path_factory.mktemp("models")
    for objective in PRETRAINING:
        result = pretrain(unlabelled, folder / objective, objective)
        assert result["step"] == 2
        assert result["folder"] == str(folder / objective)
    return folder


def weights(model: Path) -> dict[str, np.ndarray]:
    return load_file(resolve_model(model) / "weights.safetensors")


@pytest.mark.parametrize("objective", PRETRAINING)
def test_a_frozen_backbone_of_any_objective_serves_a_training(
    objective: str, models: Path, labelled: Study
) -> None:
    said = Said()
    job = TrainJob(
        study=labelled.folder,
        run="probe",
        settings=TrainSettings(preset=None, steps=2, threads=1, precision="fp32", network=SMALL),
        init=str(models / objective),
        freeze_backbone=True,
    )
    run_job(job, said)
    before, after = weights(models / objective), weights(labelled.run_dir("probe"))
    backbone = [key for key in before if key.startswith("backbone.")]
    assert backbone
    assert all(np.array_equal(before[key], after[key]) for key in backbone)
    assert "The segmentation head starts afresh, since that model has learned none." in said.text
    without = objective not in ("gemini-mip", "gvsl")
    assert ("The deformer starts afresh" in said.text) == without
    assert read_card(resolve_model(labelled.run_dir("probe"))).labels


def test_a_pre_trained_model_knows_no_labels_and_says_so(models: Path, labelled: Study) -> None:
    card = read_card(resolve_model(models / "gemini-mip"))
    assert card.labels == {}
    assert card.trained == ["backbone", "deformer"]
    with pytest.raises(ModelError, match="--init"):
        run_job(
            PredictJob(model=str(models / "gemini-mip"), study=labelled.folder), SilentReporter()
        )


def test_a_model_with_a_deformer_serves_correspond_at_once(
    models: Path, unlabelled: Study, tmp_path: Path
) -> None:
    report = correspond(unlabelled, models / "gemini-mip", tmp_path / "out")
    assert report["settings"]["refine"] == 100
    assert report["gss_mean"] is not None


def test_features_alone_guide_a_refinement_and_never_pass_for_a_field(
    models: Path, unlabelled: Study, tmp_path: Path
) -> None:
    said = Said()
    report = correspond(unlabelled, models / "pix2rep", tmp_path / "out", said, refine=4)
    assert report["settings"]["refine"] == 4
    assert report["gss_mean"] is not None
    assert "features and no deformation" in said.text
    with pytest.raises(InputError, match="nothing would move"):
        correspond(unlabelled, models / "pix2rep", tmp_path / "none", refine=0)
    assert not (tmp_path / "none").exists()


def correspond(
    study: Study, model: Path, out: Path, said: Said | None = None, refine: int | None = None
) -> dict[str, Any]:
    moving, fixed = (Path(case.image) for case in study.cases[:2])
    job = CorrespondJob(moving=moving, fixed=fixed, out=out, model=str(model), refine=refine)
    run_job(job, said or Said())
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


def test_a_stopped_pre_training_resumes_to_the_uninterrupted_result(
    unlabelled: Study, tmp_path: Path
) -> None:
    class StopAtOnce(SilentReporter):
        seen = 0

        def progress(self, done: int, total: int, message: str = "", **values: float) -> None:
            self.seen += message == "training"

        def cancelled(self) -> bool:
            return self.seen >= 1

    pretrain(unlabelled, tmp_path / "whole", "gvsl", steps=8)
    job = TrainJob(
        study=unlabelled.folder, out=tmp_path / "parts", settings=settings("gvsl", steps=8)
    )
    assert run_job(job, StopAtOnce())["stopped"]
    assert RunFolder(tmp_path / "parts").state() == "stopped"
    assert pretrain(unlabelled, tmp_path / "parts", "gvsl", resume=True)["step"] == 8
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(np.array_equal(whole[key], parts[key]) for key in whole)


def test_labels_of_the_study_are_not_looked_at(labelled: Study, tmp_path: Path) -> None:
    """Damaged label files do not disturb a pre-training."""
    for path in (labelled.folder / "labels").glob("*.*"):
        path.write_bytes(b"damaged")
    assert pretrain(labelled, tmp_path / "model", "gemini-mip")["step"] == 2


def test_scans_are_paired_within_the_groups_of_the_study(labelled: Study, tmp_path: Path) -> None:
    content = read_study_file(labelled.folder)
    for index, case in enumerate(content.cases):
        case.group = "front" if index < 3 else "side"
    write_study_file(labelled.folder, content)
    study = Study.open(labelled.folder)
    assert pretrain(study, tmp_path / "model", "gemini-mip")["step"] == 2
    content.cases[0].group = "back"
    write_study_file(labelled.folder, content)
    with pytest.raises(StudyError, match="'back' has one scan"):
        pretrain(Study.open(labelled.folder), tmp_path / "other", "gemini-mip")


def test_a_checkpoint_of_another_width_is_one_sentence(
    models: Path, unlabelled: Study, tmp_path: Path
) -> None:
    wider = NetworkSettings(dimension=2, base_width=8)
    with pytest.raises(ModelError, match="another network than 2D unet of base width 8"):
        pretrain(unlabelled, tmp_path / "wide", "gvsl", network=wider, init=str(models / "gvsl"))


def test_an_unlabelled_study_trains_by_label_free_objectives_only_with_pretrain(
    unlabelled: Study,
) -> None:
    job = TrainJob(
        study=unlabelled.folder, run="none", settings=settings("gemini-mip", use_labels=True)
    )
    with pytest.raises(StudyError, match="napari-gemini pretrain --objective gemini-mip"):
        run_job(job, SilentReporter())

"""The training and prediction jobs on real study folders, through the engine's own entry."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from napari_gemini.engine.dispatch import run_job
from napari_gemini.engine.jobs import PredictJob, TrainJob
from napari_gemini.engine.run_folder import RunFolder
from napari_gemini.engine.tasks.train import start_from
from napari_gemini.errors import DeviceError, InputError, ModelError, StudyError
from napari_gemini.learning.checkpoints import load_model
from napari_gemini.networks.gemini import build_network
from napari_gemini.phantom.cohort import make_cohort
from napari_gemini.phantom.files import write_cohort
from napari_gemini.progress import SilentReporter
from napari_gemini.settings import NetworkSettings, TrainSettings
from napari_gemini.study.files import read_study_file, write_study_file
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.study.study import Study
from napari_gemini.volumes.reading import read_labels, read_volume
from napari_gemini.volumes.volume import Volume
from napari_gemini.volumes.writing import write_labels, write_volume

SMALL = NetworkSettings(dimension=2, base_width=4)


def settings(**changes: Any) -> TrainSettings:
    values: dict[str, Any] = {
        "preset": None,
        "steps": 4,
        "checkpoint_every": 2,
        "validate_every": 2,
        "threads": 1,
        "network": SMALL,
    }
    return TrainSettings(**{**values, **changes})


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight PNG pictures of the 2D phantom, three of them labelled, two kept for the score."""
    made = make_cohort(8, 2, (48, 48), seed=1, crop=True)
    return write_cohort(tmp_path_factory.mktemp("phantom") / "cohort", made, labelled=3, test=2)


@pytest.fixture
def study(cohort: Path, tmp_path: Path) -> Study:
    return Study.create(
        tmp_path / "study", [cohort / "images"], cohort / "labels", cohort / "split.json", "seed0"
    )


def train(study: Study, run: str = "first", **changes: Any) -> dict[str, Any]:
    options = {k: changes.pop(k) for k in ("init", "resume", "device") if k in changes}
    job = TrainJob(study=study.folder, run=run, settings=settings(**changes), **options)
    return run_job(job, SilentReporter())


def test_training_leaves_a_run_that_can_be_repeated_and_predicted_with(study: Study) -> None:
    result = train(study)
    assert result["step"] == 4
    assert not result["stopped"]
    folder = RunFolder(study.run_dir("first"))
    config = folder.read_config()
    assert config["settings"]["network"]["classes"] == study.scheme.classes
    assert set(config["data_sha256"]) == {c.id for c in study.cases if c.role != "test"}
    assert config["repeatability"]["threads"] == 1
    assert folder.state() == "finished"

    predicted = run_job(PredictJob(model=str(folder.path), study=study.folder), SilentReporter())
    page = Path(predicted["html"]).read_text()
    assert all(row["case"] in page for row in predicted["cases"])
    names = {row["case"] for row in predicted["cases"]}
    assert names == {c.id for c in study.cases if c.role != "labelled"}
    assert all(0 <= row["agreement"] <= 1 for row in predicted["cases"])
    doubts = [row["doubt"] for row in predicted["cases"]]
    assert doubts == sorted(doubts, reverse=True)
    allowed = {0, *study.scheme.values}
    for name in names:
        labels = read_labels(study.prediction_path("first", name))
        assert labels.shape == study.load_image(name).shape
        assert set(np.unique(labels.data)) <= allowed


def test_test_cases_are_never_read_by_training(study: Study, cohort: Path) -> None:
    """Broken test images do not disturb training, since nothing opens them."""
    for case in study.cases:
        if case.role == "test":
            Path(case.image).rename(Path(case.image).with_suffix(".away"))
    try:
        assert train(study)["step"] == 4
    finally:
        for path in (cohort / "images").glob("*.away"):
            path.rename(path.with_suffix(".png"))


def test_a_case_painted_and_emptied_counts_as_unlabelled(study: Study) -> None:
    """It would teach that the anatomy is not there; it gets predicted labels instead."""

    class Log(SilentReporter):
        words = ""

        def log(self, message: str, level: str = "info") -> None:
            self.words += message

    emptied = study.cases_with("labelled")[0].id
    study.save_labels(emptied, np.zeros_like(study.load_labels(emptied).data))
    study.set_case(emptied, status="started")
    heard = Log()
    run_job(TrainJob(study=study.folder, run="first", settings=settings()), heard)
    assert f"{emptied} has no label yet and counts as unlabelled" in heard.words
    assert "2 of them labelled" in heard.words
    job = PredictJob(model=str(study.run_dir("first")), study=study.folder)
    names = {row["case"] for row in run_job(job, SilentReporter())["cases"]}
    assert emptied in names


def test_a_run_killed_at_a_random_step_resumes_to_the_uninterrupted_result(study: Study) -> None:
    changes = {"steps": 16, "checkpoint_every": 3, "validate_every": 5}
    train(study, "whole", **changes)
    job = TrainJob(study=study.folder, run="killed", settings=settings(**changes))
    script = (
        "import sys\n"
        "from napari_gemini.engine.dispatch import run_job\n"
        "from napari_gemini.engine.jobs import TrainJob\n"
        "from napari_gemini.progress import SilentReporter\n"
        "run_job(TrainJob.model_validate_json(sys.argv[1]), SilentReporter())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, job.model_dump_json()], env={**os.environ}
    )
    pointer = study.run_dir("killed") / "last.json"
    until = time.monotonic() + 120
    while not pointer.exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert pointer.exists()
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert RunFolder(study.run_dir("killed")).state() == "interrupted"
    assert train(study, "killed", resume=True)["step"] == 16
    weights = [
        load_file(Path(json_checkpoint(study.run_dir(run))) / "weights.safetensors")
        for run in ("whole", "killed")
    ]
    assert all(np.array_equal(weights[0][key], weights[1][key]) for key in weights[0])


def json_checkpoint(run: Path, which: str = "last") -> Path:
    name = json.loads((run / f"{which}.json").read_text())["checkpoint"]
    return run / "checkpoints" / str(name)


class StopSoon(SilentReporter):
    """Asks to stop after the first steps."""

    def __init__(self) -> None:
        self.seen = 0

    def progress(self, done: int, total: int, message: str = "", **values: float) -> None:
        self.seen += message == "training"

    def cancelled(self) -> bool:
        return self.seen >= 1


def test_cancelling_leaves_a_usable_checkpoint(study: Study) -> None:
    job = TrainJob(study=study.folder, run="stopped", settings=settings(steps=50))
    result = run_job(job, StopSoon())
    assert result["stopped"]
    assert 5 <= result["step"] < 50
    out = run_job(
        PredictJob(model=str(study.run_dir("stopped")), study=study.folder), SilentReporter()
    )
    assert out["cases"]


@pytest.mark.parametrize("freeze", [False, True])
def test_a_model_can_start_another_training(study: Study, freeze: bool) -> None:
    train(study, "base")
    train(study, "next", init=str(study.run_dir("base")), freeze_backbone=freeze)
    # A training starts from the best weights of another.
    base, tuned = (
        load_file(json_checkpoint(study.run_dir(run), which) / "weights.safetensors")
        for run, which in (("base", "best"), ("next", "last"))
    )
    backbone = [key for key in base if key.startswith("backbone.")]
    same = all(np.array_equal(base[key], tuned[key]) for key in backbone)
    assert same == freeze


@pytest.mark.parametrize(("objective", "moves"), [("supervised", False), ("gemini-semi", True)])
def test_what_a_frozen_backbone_leaves_to_learn(study: Study, objective: str, moves: bool) -> None:
    """The linear head alone with labels alone (a linear probe), the deformer too otherwise."""
    train(study, "base", steps=1)
    linear = SMALL.model_copy(update={"head_width": 0})
    train(
        study, "probe", init=str(study.run_dir("base")), objective=objective,
        freeze_backbone=True, network=linear,
    )  # fmt: skip
    base, probe = (load_model(study.run_dir(run)) for run in ("base", "probe"))
    before, after = base.network.state_dict(), probe.network.state_dict()
    assert {k for k in after if k.startswith("head.")} == {"head.0.weight", "head.0.bias"}
    others = [k for k in after if not k.startswith("head.")]
    changed = {k.split(".")[0] for k in others if not torch.equal(before[k], after[k])}
    assert changed == ({"deformer"} if moves else set())
    job = PredictJob(model=str(study.run_dir("probe")), study=study.folder)
    assert run_job(job, SilentReporter())["cases"]


class Said(SilentReporter):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.text = ""

    def log(self, message: str, level: str = "info") -> None:
        self.text += f"{message}\n"


AFRESH = "The segmentation head starts afresh, since "


def without(names: dict[int, str], *values: int) -> dict[int, str]:
    return {value: name for value, name in names.items() if value not in values}


@pytest.mark.parametrize(
    ("change", "layout", "sentence"),
    [
        (lambda names: names, {}, ""),
        (
            lambda names: names | {2: "liver"},
            {},
            AFRESH + "the labels differ (class 2 is '2 anterior lobe' there and '2 liver' here).",
        ),
        (
            lambda names: without(names, 6) | {9: names[6]},
            {},
            AFRESH + "the labels differ (class 6 is '6 gland' there and '9 gland' here).",
        ),
        (
            lambda names: without(names, 6),
            {"classes": 6},
            AFRESH + "the labels differ (class 6 is '6 gland' there and none here).",
        ),
        (
            lambda names: names | {7: "duct"},
            {"classes": 8},
            AFRESH + "the labels differ (class 7 is none there and '7 duct' here).",
        ),
        (
            lambda names: without(names, 0),
            {"classes": 6, "overlapping": True},
            AFRESH + "the labels differ (class 0 is '0 background' there and '1 capsule' here).",
        ),
        (lambda names: names, {"head_width": 8}, AFRESH + "its layout differs."),
        (
            lambda names: {},
            {},
            "The segmentation head is left behind, since nothing is learned from labels here.",
        ),
    ],
)
def test_a_head_is_taken_whole_or_not_at_all(
    study: Study,
    change: Callable[[dict[int, str]], dict[int, str]],
    layout: dict[str, Any],
    sentence: str,
) -> None:
    """Half of it would be of no use, and one for other labels would start with the wrong ones."""
    train(study, "base", steps=1)
    base = load_model(study.run_dir("base"))
    network = build_network(base.card.network.model_copy(update=layout))
    drawn = {key: value.clone() for key, value in network.state_dict().items()}
    said = Said()
    start_from(network, str(base.folder), change(base.card.labels), said)
    model, own = base.network.state_dict(), network.state_dict()
    for key, value in own.items():
        fresh = bool(sentence) and key.startswith("head.")
        assert torch.equal(value, drawn[key] if fresh else model[key]), key
    assert said.text.strip() == f"Starting from the weights of {base.folder}. {sentence}".strip()


def test_a_training_compares_its_labels_with_those_of_its_start(study: Study) -> None:
    train(study, "base")
    job = TrainJob(
        study=study.folder, run="same", settings=settings(), init=str(study.run_dir("base"))
    )
    same = Said()
    run_job(job, same)
    assert "Starting from the weights" in same.text
    assert "afresh" not in same.text
    content = read_study_file(study.folder)
    names = content.scheme.names | {1: "another organ"}
    scheme = content.scheme.model_copy(update={"names": names})
    write_study_file(study.folder, content.model_copy(update={"scheme": scheme}))
    other = Said()
    run_job(job.model_copy(update={"run": "other"}), other)
    assert f"{AFRESH}the labels differ (class 1 is '1 capsule' there and" in other.text
    # A run that goes on keeps its head, whatever the labels are called meanwhile.
    resumed = Said()
    run_job(job.model_copy(update={"run": "same", "resume": True, "init": None}), resumed)
    assert "afresh" not in resumed.text


def test_a_model_of_another_width_is_refused_before_training(study: Study) -> None:
    train(study, "base")
    wider = NetworkSettings(dimension=2, base_width=8)
    with pytest.raises(ModelError, match="another network"):
        train(study, "next", init=str(study.run_dir("base")), network=wider)


def test_held_back_cases_validate_and_teach_nothing(study: Study) -> None:
    train(study, validation_cases=1)
    config = RunFolder(study.run_dir("first")).read_config()
    assert len(config["held_back"]) == 1
    with pytest.raises(StudyError, match="hold back fewer"):
        train(study, "second", validation_cases=3)


def test_unlabelled_studies_and_absent_devices_are_one_sentence(
    cohort: Path, tmp_path: Path, study: Study
) -> None:
    scheme = LabelScheme(names={1: "organ"})
    bare = Study.create(tmp_path / "bare", [cohort / "images"], scheme=scheme)
    with pytest.raises(StudyError, match="label at least one"):
        train(bare)
    with pytest.raises(DeviceError):
        train(study, device="cuda:7")


def test_any_image_on_any_grid_is_predicted_on_its_own_grid(study: Study, tmp_path: Path) -> None:
    """Larger, flipped and of another spacing than the study: the labels come back on the file."""
    train(study)
    source = study.load_image(study.cases[0].id)
    affine = np.diag([0.8, -1.3, 1.0, 1.0])
    affine[:2, 3] = (17, -4)
    image = Volume(np.pad(source.data, 30), affine)
    path = tmp_path / "other.nii.gz"
    write_volume(path, image.data, image)
    run_job(
        PredictJob(model=str(study.run_dir("first")), images=[path], out=tmp_path / "out"),
        SilentReporter(),
    )
    labels = read_labels(tmp_path / "out" / "other.nii.gz")
    assert labels.shape == read_volume(path).shape
    assert np.allclose(labels.affine, read_volume(path).affine)


def test_a_3d_scan_is_refused_by_a_2d_model(study: Study, tmp_path: Path) -> None:
    train(study)
    path = tmp_path / "cube.nii.gz"
    cube = Volume(np.random.default_rng(0).random((8, 8, 8)).astype(np.float32), np.eye(4))
    write_volume(path, cube.data, cube)
    result = run_job(
        PredictJob(model=str(study.run_dir("first")), images=[path], out=tmp_path / "out"),
        SilentReporter(),
    )
    assert "2D scans" in result["failed"]["cube"]
    assert not list((tmp_path / "out").glob("cube*"))


def test_predicting_again_does_only_what_is_missing(study: Study) -> None:
    train(study)
    job = PredictJob(model=str(study.run_dir("first")), study=study.folder)
    first = run_job(job, SilentReporter())
    assert first["skipped"] == []
    gone = Path(first["cases"][0]["files"][0])
    gone.unlink()
    again = run_job(job, SilentReporter())
    assert gone.exists()
    assert len(again["skipped"]) == len(first["cases"]) - 1
    assert again["cases"] == first["cases"]


def test_a_study_in_which_every_case_is_labelled_leaves_nothing_to_predict(
    cohort: Path, tmp_path: Path
) -> None:
    scans = sorted((cohort / "images").iterdir())[:2]
    labels = tmp_path / "labels"
    labels.mkdir()
    for scan in scans:
        (labels / scan.name).write_bytes((cohort / "labels" / scan.name).read_bytes())
    study = Study.create(tmp_path / "full", scans, labels)
    train(study)
    with pytest.raises(InputError, match="Every case of full is labelled, so there is none to"):
        run_job(PredictJob(model=str(study.run_dir("first")), study=study.folder), SilentReporter())
    assert not study.predictions_dir("first").exists()


def test_overlapping_labels_train_with_sigmoids_and_come_back_as_masks(tmp_path: Path) -> None:
    """Two discs that overlap: every label has its own file, in and out."""
    images, labels = tmp_path / "images", tmp_path / "labels"
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(32), np.arange(32), indexing="ij"))
    for index in range(4):
        shift = rng.uniform(-2, 2, 2)
        left = ((grid.T - (13 + shift)).T ** 2).sum(0) < 64
        right = ((grid.T - (18 + shift)).T ** 2).sum(0) < 49
        picture = 60 + 70 * left + 70 * right + rng.normal(0, 4, left.shape)
        like = Volume(picture.clip(0, 255).astype(np.uint8), np.diag([-1.0, -1, 1, 1]), False)
        images.mkdir(exist_ok=True)
        write_volume(images / f"chest{index}.png", like.data, like)
        if index < 2:
            (labels / f"chest{index}").mkdir(parents=True)
            for name, mask in (("heart", left), ("lung", right)):
                write_labels(labels / f"chest{index}" / f"{name}.png", mask.astype(np.uint8), like)
    scheme = LabelScheme(names={1: "heart", 2: "lung"}, overlapping=True)
    study = Study.create(tmp_path / "study", [images], labels, scheme=scheme)
    train(
        study,
        objective="supervised",
        steps=200,
        learning_rate=5e-3,
        checkpoint_every=200,
        network=NetworkSettings(dimension=2, base_width=8),
    )
    out = run_job(
        PredictJob(model=str(study.run_dir("first")), study=study.folder), SilentReporter()
    )
    assert out["failed"] == {}
    row = next(r for r in out["cases"] if r["case"] == "chest2")
    heart, lung = (read_labels(path).data > 0 for path in row["files"])
    assert [Path(path).name for path in row["files"]] == ["heart.png", "lung.png"]
    assert (heart & lung).sum() > 20
    assert (heart & ~lung).sum() > 20

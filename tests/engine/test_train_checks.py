"""What a training refuses to go on with, and what it says about the model that it starts from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from napari_gemini.engine.dispatch import run_job
from napari_gemini.engine.jobs import TrainJob
from napari_gemini.engine.tasks.train_checks import compare_with_model
from napari_gemini.errors import InputError
from napari_gemini.learning.card import ModelCard
from napari_gemini.learning.checkpoints import resolve_model
from napari_gemini.progress import SilentReporter
from napari_gemini.settings import NetworkSettings, TrainSettings
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.study.study import Study
from tests.engine.helpers import Warnings

SETTINGS = TrainSettings(
    objective="gvsl",
    use_labels=False,
    steps=2,
    threads=1,
    precision="fp32",
    network=NetworkSettings(dimension=2, base_width=4),
)


def make_study(folder: Path, seed: int, structures: int = 1, spacing: float = 1.0) -> Study:
    """A study of four small pictures with known spacing."""
    images = folder / "images"
    images.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for index in range(4):
        picture = rng.random((32, 32, 1), dtype=np.float32)
        image = nib.Nifti1Image(picture, np.diag([spacing, spacing, 1.0, 1.0]))
        nib.save(image, images / f"scan_{index}.nii.gz")
    names = {value: f"part {value}" for value in range(1, structures + 1)}
    return Study.create(folder / "study", [images], scheme=LabelScheme(names=names))


def train(study: Study, out: Path, reporter: SilentReporter | None = None, **job: Any) -> Any:
    settings = SETTINGS.model_copy(update=job.pop("changes", {}))
    made = TrainJob(study=study.folder, out=out, settings=settings, device="cpu", **job)
    return run_job(made, reporter or SilentReporter())


def test_a_run_goes_on_only_with_the_scans_that_it_was_begun_on(tmp_path: Path) -> None:
    own, other = make_study(tmp_path / "a", 1), make_study(tmp_path / "b", 2)
    train(own, tmp_path / "run")
    with pytest.raises(InputError, match="begun on other scans"):
        train(other, tmp_path / "run", resume=True)
    assert train(own, tmp_path / "run", resume=True)["step"] == 2


def test_a_run_does_not_lose_a_scan_that_it_was_begun_on(tmp_path: Path) -> None:
    study = make_study(tmp_path / "a", 1)
    train(study, tmp_path / "run")
    study.set_case("scan_2", role="test")
    with pytest.raises(InputError, match=r"the 4 scans .* 1 changed, .* \(scan_2\)"):
        train(study, tmp_path / "run", resume=True)


def test_scans_that_have_come_are_told_and_recorded(tmp_path: Path) -> None:
    study, warned = make_study(tmp_path / "a", 1), Warnings()
    study.set_case("scan_3", role="test")
    train(study, tmp_path / "run")
    study.set_case("scan_3", role="unlabelled")
    train(study, tmp_path / "run", warned, resume=True)
    assert any("1 scan has come" in text for text in warned.texts)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert len(config["data_sha256"]) == 4


def test_labels_that_changed_meanwhile_are_told(tmp_path: Path) -> None:
    study = make_study(tmp_path / "a", 1)
    rng = np.random.default_rng(3)
    for index in range(2):
        study.save_labels(f"scan_{index}", rng.integers(0, 2, (32, 32, 1)).astype(np.uint8)[..., 0])
    supervised = {"changes": {"objective": "gemini-semi", "use_labels": True}}
    train(study, tmp_path / "run", **supervised)
    warned = Warnings()
    train(study, tmp_path / "run", warned, resume=True, **supervised)
    assert warned.texts == []
    study.save_labels("scan_1", np.ones((32, 32), np.uint8))
    train(study, tmp_path / "run", warned, resume=True, **supervised)
    assert any("labels of scan_1 have changed" in text for text in warned.texts)


def test_labels_that_are_not_learned_from_may_change(tmp_path: Path) -> None:
    study, warned = make_study(tmp_path / "a", 1), Warnings()
    train(study, tmp_path / "run")
    study.save_labels("scan_1", np.ones((32, 32), np.uint8))
    train(study, tmp_path / "run", warned, resume=True)
    assert warned.texts == []


def test_a_run_does_not_go_on_on_another_grid(tmp_path: Path) -> None:
    study = make_study(tmp_path / "a", 1)
    optiml = {"changes": {"objective": "optiml", "pairs_per_step": 2}}
    train(study, tmp_path / "run", **optiml)
    coarse = Study.create(
        tmp_path / "coarse", [tmp_path / "a" / "images"], scheme=study.scheme, spacing=2.0
    )
    with pytest.raises(InputError, match=r"voxels of 1 x 1, .* voxels of 2 x 2:"):
        train(coarse, tmp_path / "run", resume=True, **optiml)


def test_a_study_that_has_moved_is_the_same(tmp_path: Path) -> None:
    train(make_study(tmp_path / "a", 1), tmp_path / "run")
    assert train(make_study(tmp_path / "moved", 1), tmp_path / "run", resume=True)["step"] == 2


def test_a_run_does_not_go_on_with_other_labels(tmp_path: Path) -> None:
    train(make_study(tmp_path / "a", 1), tmp_path / "run")
    more = make_study(tmp_path / "b", 1, structures=3)
    with pytest.raises(InputError, match=r"2 classes then, 4 now\): start a new run with --init"):
        train(more, tmp_path / "run", resume=True)


def test_a_model_of_another_spacing_starts_with_a_warning(tmp_path: Path) -> None:
    fine, coarse = make_study(tmp_path / "a", 1), make_study(tmp_path / "b", 1, spacing=2.0)
    train(fine, tmp_path / "model")
    model = str(resolve_model(str(tmp_path / "model")))
    warned = Warnings()
    train(coarse, tmp_path / "coarse", warned, init=model)
    assert any("trained at 1 x 1 mm and the study's grid has 2 x 2 mm" in t for t in warned.texts)
    warned = Warnings()
    train(fine, tmp_path / "fine", warned, init=model)
    assert warned.texts == []


def test_a_model_of_other_intensities_is_told_and_a_general_one_is_not(tmp_path: Path) -> None:
    study = make_study(tmp_path / "a", 1)
    card = ModelCard(
        network=SETTINGS.network, spacing_mm=[1.0, 1.0], grid_shape=[32, 32], intensity_mode="ct"
    )
    (sentence,) = compare_with_model(card, study, "percentile")
    assert "'ct'" in sentence
    assert "'percentile'" in sentence
    assert compare_with_model(card, study, "ct") == []
    assert compare_with_model(card.model_copy(update={"general": True}), study, "uint8") == []


def test_freezing_random_weights_is_told(tmp_path: Path) -> None:
    study, warned = make_study(tmp_path / "a", 1), Warnings()
    train(study, tmp_path / "run", warned, changes={"freeze_backbone": True})
    assert any("starts from random weights" in text for text in warned.texts)

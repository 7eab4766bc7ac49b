"""Which model serves when none is named, and how a general one is used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_gemini import resources
from napari_gemini.engine.tasks import serving
from napari_gemini.engine.tasks.pair_matching import (
    DEFAULT_STEPS,
    grid_of,
    intensity_mode,
    refine_steps,
)
from napari_gemini.engine.tasks.serving import choose_model, model_sentence, serve, shipped_model
from napari_gemini.learning.card import About
from napari_gemini.learning.checkpoints import load_model, resolve_model
from napari_gemini.phantom.random_cohort import random_groups
from napari_gemini.phantom.random_files import write_random_study
from napari_gemini.settings import NetworkSettings
from napari_gemini.study.study import Study
from napari_gemini.volumes.volume import Volume
from tests.cli.helpers import Run
from tests.cli.helpers import save as save_scan
from tests.models.helpers import write_model


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two 2D models and one 3D model are shipped."""
    folder = tmp_path / "shipped"
    about = About(licence="CC0-1.0")
    write_model(folder / "a-heart-2d", about=about, spacing_mm=[3.0, 3.0])
    write_model(folder / "general-2d", general=True, spacing_mm=[3.0, 3.0], intensity_mode="ct")
    write_model(folder / "hips-3d", dimension=3)
    monkeypatch.setattr(resources, "models_folder", lambda: folder)
    monkeypatch.setattr(serving, "models_folder", lambda: folder)
    return folder


def test_the_general_model_comes_first(shipped: Path) -> None:
    assert shipped_model(2) == ("general-2d", shipped / "general-2d")
    assert choose_model(None, 2)[0] == "general-2d"
    # Where none is general, one of that dimension serves.
    assert shipped_model(3) == ("hips-3d", shipped / "hips-3d")
    assert choose_model("none", 2) == ("none", None)


def test_without_a_shipped_model_none_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "models_folder", lambda: tmp_path)
    name, folder = choose_model(None, 2)
    assert (name, folder) == ("none", None)
    assert "no 2D model is shipped" in model_sentence(None, name, folder, 2)


def test_own_models_go_by_name_and_never_serve_unasked(shipped: Path, own_models: Path) -> None:
    write_model(own_models / "mine", general=True)
    assert resolve_model("mine") == own_models / "mine"
    assert resolve_model("general-2d") == shipped / "general-2d"
    assert shipped_model(2)[0] == "general-2d"


def test_a_general_model_has_no_spacing_and_no_contrast_of_its_own(shipped: Path) -> None:
    affine = np.diag([0.5, 0.5, 1.0, 1.0])
    hounsfield = np.linspace(-1000, 1000, 64 * 64).reshape(64, 64).astype(np.int16)
    scan = Volume(hounsfield, affine, spacing_known=True)
    for name, spacing, mode in (("general-2d", 0.5, "ct"), ("a-heart-2d", 3.0, "percentile")):
        served = serve(name, 2, "cpu")
        assert grid_of([scan, scan], served, None).spacings[0] == pytest.approx(spacing)
        assert intensity_mode(scan, served) == mode
    plain = Volume(np.abs(hounsfield), affine, spacing_known=True)
    assert intensity_mode(plain, serve("general-2d", 2, "cpu")) == "percentile"


def test_a_field_is_refined_unless_told_otherwise(own_models: Path) -> None:
    write_model(own_models / "features", trained=["backbone"])
    write_model(own_models / "whole")
    expected = {"features": DEFAULT_STEPS, "whole": DEFAULT_STEPS, "none": DEFAULT_STEPS}
    for name, steps in expected.items():
        assert refine_steps(None, serve(name, 2, "cpu")) == steps
        assert refine_steps(7, serve(name, 2, "cpu")) == 7


def test_the_serving_model_is_said_and_reported(shipped: Path, run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scans = [
        save_scan(tmp_path / f"{name}.nii.gz", rng.random((24, 24), dtype=np.float32))
        for name in "ab"
    ]
    answer = run("correspond", *scans, "--out", tmp_path / "out", "--device", "cpu", "--json")
    assert answer.code == 0, answer.err
    assert answer.json["model"] == "general-2d"
    assert "Model: general-2d" in answer.err


def test_a_model_without_labels_cannot_label(shipped: Path, run: Run, tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "a.nii.gz", np.random.default_rng(0).random((24, 24)))
    answer = run("predict", "general-2d", scan, "--out", tmp_path / "out", "--device", "cpu")
    assert answer.code == 2
    assert "--init general-2d" in answer.sentence
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["train", "pretrain"])
def test_a_training_takes_the_layout_of_the_model_it_starts_from(
    command: str, shipped: Path, run: Run, tmp_path: Path
) -> None:
    """A width of 4 is no preset's; options still change it."""
    layout = NetworkSettings(dimension=2, base_width=4, field_stride=2, velocity_steps=3)
    write_model(shipped / "diffeomorphic", network=layout)
    study = write_random_study(tmp_path / "study", random_groups(1, 2, 2, 32), 1)
    if command == "train":
        write_labels_of_one(study)
    for number, (more, stride) in enumerate([((), 2), (("--set", "network.field_stride=1"), 1)]):
        words = [command, study, "--init", "diffeomorphic", "--steps", 1, "--device", "cpu", *more]
        folder = study / "runs" / f"r{number}"
        words += ["--run", folder.name] if command == "train" else ["--out", folder]
        answer = run(*words)
        assert answer.code == 0, answer.err
        assert "layout of diffeomorphic" in answer.err
        network = load_model(folder).card.network
        assert (network.base_width, network.field_stride, network.velocity_steps) == (4, stride, 3)


@pytest.mark.parametrize("command", ["train", "pretrain"])
def test_a_training_does_not_start_from_a_model_of_the_other_dimension(
    command: str, run: Run, own_models: Path, tmp_path: Path
) -> None:
    write_model(own_models / "volumes", dimension=3)
    study = write_random_study(tmp_path / "study", random_groups(1, 2, 2, 32), 1)
    place = ("--run", "a") if command == "train" else ("--out", tmp_path / "a")
    answer = run(command, study, "--init", "volumes", *place, "--steps", 1, "--device", "cpu")
    assert answer.code == 2
    assert "The model volumes is for 3D scans and these are 2D" in answer.sentence
    assert not (tmp_path / "a").exists()
    assert not list((study / "runs").iterdir())


def write_labels_of_one(folder: Path) -> None:
    """Label the first case of a study by hand."""
    study = Study.open(folder)
    case = study.cases[0]
    study.save_labels(case.id, (study.load_image(case.id).data > 100).astype(np.uint8))

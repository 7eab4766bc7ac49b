"""Jobs of a study: making it, finding its images, suggesting the next case."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_gemini.engine.dispatch import run_job
from napari_gemini.engine.jobs import FindImagesJob, NewStudyJob, NextCaseJob
from napari_gemini.engine.tasks.next_case import (
    feature_distances,
    image_distances,
    pool_cells,
    rank,
)
from napari_gemini.errors import InputError, StudyError
from napari_gemini.progress import SilentReporter
from napari_gemini.study.study import Study

QUIET = SilentReporter()
SIZE = 16


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Four round scans and one that is like none of them."""
    folder = tmp_path / "images"
    folder.mkdir()
    axes = np.indices((SIZE, SIZE, SIZE)) / SIZE - 0.5
    for number in range(5):
        scan = 100 * (np.sqrt((axes**2).sum(0)) < 0.3 + 0.01 * number)
        if number == 3:
            scan = 100 * (np.abs(axes[0]) < 0.12) + 60 * (np.abs(axes[1] - 0.2) < 0.1)
        noise = np.random.default_rng(number).normal(0, 1, scan.shape)
        image = nib.Nifti1Image((scan + noise).astype(np.float32), np.diag([2.0, 2, 2, 1]))
        nib.save(image, folder / f"c{number}.nii.gz")
    return folder


def test_a_study_is_made_and_its_images_are_found_again(scans: Path, tmp_path: Path) -> None:
    made = run_job(
        NewStudyJob(folder=tmp_path / "study", images=[scans], names={1: "ball"}, spacing=3), QUIET
    )
    assert (made["cases"], made["labelled"]) == (5, 0)
    study = Study(made["folder"])
    assert study.scheme.names == {1: "ball"}
    assert study.grid.spacing == 3
    moved = tmp_path / "elsewhere" / "far" / "away"
    moved.parent.mkdir(parents=True)
    scans.rename(moved)
    (moved / "c4.nii.gz").unlink()
    found = run_job(FindImagesJob(study=study.folder, sources=[moved]), QUIET)["found"]
    assert found == {f"c{i}": str(moved / f"c{i}.nii.gz") for i in range(4)}
    with pytest.raises(StudyError, match="no longer"):
        study.image_path("c0")
    study.move_images({case: Path(path) for case, path in found.items()})
    assert Study(study.folder).image_path("c0") == moved / "c0.nii.gz"


def test_wrong_labels_are_a_sentence(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two labels have the same name"):
        run_job(
            NewStudyJob(folder=tmp_path / "study", images=[scans], names={1: "a", 2: "A"}), QUIET
        )
    assert not (tmp_path / "study").exists()


def test_the_odd_one_out_is_suggested(scans: Path, tmp_path: Path) -> None:
    study = Study.create(tmp_path / "study", [scans])
    first = run_job(NextCaseJob(study=study.folder), QUIET)
    assert first["case"] != "c3"
    assert "most typical" in first["reason"]
    study.save_labels("c0", np.ones((SIZE,) * 3, np.uint8))
    values = run_job(NextCaseJob(study=study.folder), QUIET)
    assert values["case"] == "c3"
    assert values["ranking"][0]["case"] == "c3"
    assert len(values["ranking"]) == 4
    assert values["measure"] == "images"
    assert "No model was used" in values["reason"]
    assert "c0" in values["reason"]
    for case in ("c1", "c2", "c3", "c4"):
        study.save_labels(case, np.ones((SIZE,) * 3, np.uint8))
    with pytest.raises(StudyError, match="Every case"):
        run_job(NextCaseJob(study=study.folder), QUIET)


def test_features_of_a_model_rank_too(scans: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    from napari_gemini.learning.card import ModelCard
    from napari_gemini.networks.gemini import build_network
    from napari_gemini.settings import NetworkSettings

    study = Study.create(tmp_path / "study", [scans])
    study.save_labels("c0", np.ones((SIZE,) * 3, np.uint8))
    torch.manual_seed(0)
    settings = NetworkSettings(dimension=3, base_width=4, classes=2)
    card = ModelCard(network=settings, grid_shape=study.grid.shape, spacing_mm=study.grid.spacings)
    model = tmp_path / "model"
    model.mkdir()
    save_file(build_network(settings).state_dict(), model / "weights.safetensors")
    (model / "model.json").write_text(card.model_dump_json())
    values = run_job(NextCaseJob(study=study.folder, model=str(model), device="cpu"), QUIET)
    assert values["measure"] == "features"
    assert values["case"] == "c3"
    assert "pooled features of model" in values["reason"]


def test_coverage_is_the_distance_to_the_nearest_labelled_case() -> None:
    distances = np.abs(np.subtract.outer([0.0, 1, 5, 6, 2], [0.0, 1, 5, 6, 2]))
    ranking = rank(list("abcde"), ["a", "d"], distances)
    assert [(c.case, c.distance, c.nearest) for c in ranking] == [
        ("e", 2, "a"), ("b", 1, "a"), ("c", 1, "d"),
    ]  # fmt: skip
    assert rank(list("abcde"), [], distances)[0].case == "e"


def test_distances_know_what_is_equal() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 40)).astype(np.float32)
    images = image_distances([one, 3 * one + 7, -one])
    np.testing.assert_allclose(images[0], [0, 0, 2], atol=1e-6)
    features = feature_distances([one, one, other])
    assert features[0, 1] == pytest.approx(0, abs=1e-5)
    assert features[0, 2] == features[2, 0] > 1
    assert feature_distances([one, one]).max() == 0


def test_cells_are_means_of_blocks() -> None:
    values = np.arange(24, dtype=np.float32).reshape(1, 4, 6)
    pooled = pool_cells(values, 2)
    assert pooled.shape == (1, 2, 2)
    np.testing.assert_allclose(pooled[0, 0, 0], values[0, :2, :3].mean())
    np.testing.assert_allclose(pool_cells(values, 9), values)

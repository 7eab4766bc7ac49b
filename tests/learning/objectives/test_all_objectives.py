"""What every pre-training objective keeps: it learns, resumes exactly, and refuses bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch

from napari_gemini.errors import InputError, StudyError, TrainingError
from napari_gemini.learning.checkpoints import intact_checkpoints, load_model, load_training_state
from napari_gemini.learning.cohort import assemble
from napari_gemini.learning.objectives.registry import OBJECTIVES, objective_class
from napari_gemini.networks.gemini import build_network
from napari_gemini.settings import (
    PRETRAINING,
    NetworkSettings,
    PixelSettings,
    TrainSettings,
    pretraining_preset,
)
from tests.learning.helpers import tiny_cohort
from tests.learning.objectives.helpers import (
    Curve,
    phantom_cohort,
    pretrainer,
    pretraining_settings,
)

#: What each objective lowers.
LOSS = {
    "gemini-mip": "restoration",
    "gvsl": "loss_similarity",
    "cover": "loss_vectors",
    "pix2rep": "loss_pixels",
    "pix2rep-v2": "loss_pixels",
    "optiml": "loss_transport",
}
#: Steps until that shows: pixels of a volume are told apart late.
SHOWN_AFTER = {("pix2rep", 3): 120}


def test_every_objective_that_is_offered_exists() -> None:
    assert set(PRETRAINING) == set(OBJECTIVES) - {"gemini-semi", "supervised"}


@pytest.mark.parametrize("objective", PRETRAINING)
@pytest.mark.parametrize("dimension", [2, 3])
def test_each_lowers_its_own_loss_on_the_phantom(
    objective: str, dimension: Literal[2, 3], tmp_path: Path
) -> None:
    steps = SHOWN_AFTER.get((objective, dimension), 60)
    settings = pretraining_settings(
        objective, dimension, steps=steps, learning_rate=5e-3, checkpoint_every=200
    )
    curve = Curve()
    result = pretrainer(tmp_path, settings, curve, phantom_cohort(dimension)).fit()
    assert result.nonfinite == 0
    name = LOSS[objective]
    assert curve.mean(name, slice(-2, None)) < 0.98 * curve.mean(name, slice(0, 2))


@pytest.mark.parametrize("objective", PRETRAINING)
@pytest.mark.parametrize("dimension", [2, 3])
def test_each_resumes_bit_for_bit_with_its_heads(
    objective: str, dimension: int, tmp_path: Path
) -> None:
    settings = pretraining_settings(objective, dimension, steps=2)
    whole = pretrainer(tmp_path / "whole", settings)
    whole.fit()
    assert pretrainer(tmp_path / "parts", settings, Curve(stop_at=1)).fit().step == 1
    torch.manual_seed(999)  # whatever another process would have drawn
    second = pretrainer(tmp_path / "parts", settings)
    with torch.no_grad():  # heads of other weights, which the resume has to replace
        for parameter in second.objective.heads.parameters():
            parameter.zero_()
    assert second.resume()
    second.fit()
    folders = [next(intact_checkpoints(tmp_path / run)) for run in ("whole", "parts")]
    (first, state), (other, other_state) = map(load_training_state, folders)
    assert all(torch.equal(first[k], other[k]) for k in first)
    heads = [k for k in state.tensors if k.startswith("heads.")]
    assert heads
    assert all(torch.equal(state.tensors[k], other_state.tensors[k]) for k in heads)


@pytest.mark.parametrize("objective", PRETRAINING)
def test_the_model_that_comes_out_has_no_foreign_weights(objective: str, tmp_path: Path) -> None:
    pretrainer(tmp_path, pretraining_settings(objective, steps=1)).fit()
    model = load_model(tmp_path)
    assert set(model.network.state_dict()) == set(build_network(model.card.network).state_dict())


@pytest.mark.parametrize("objective", PRETRAINING)
def test_only_the_stated_parts_learn(objective: str, tmp_path: Path) -> None:
    trainer = pretrainer(tmp_path, pretraining_settings(objective, steps=2))
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    trainer.fit()
    after = trainer.network.state_dict()
    changed = {k.split(".")[0] for k in before if not torch.equal(before[k], after[k])}
    assert changed == set(trainer.objective.learned)


@pytest.mark.parametrize("objective", ["gemini-mip", "pix2rep"])
def test_labels_teach_the_head_besides_where_they_are_wanted(
    objective: str, tmp_path: Path
) -> None:
    settings = pretraining_settings(objective, steps=2, use_labels=True)
    trainer = pretrainer(tmp_path, settings)
    before = trainer.network.head[0].weight.clone()
    trainer.fit()
    assert not torch.equal(before, trainer.network.head[0].weight)
    assert "head" in trainer.objective.learned
    with pytest.raises(StudyError, match="napari-gemini pretrain"):
        pretrainer(tmp_path, settings, cohort=tiny_cohort(labelled=0)).fit()


@pytest.mark.parametrize("objective", PRETRAINING)
@pytest.mark.parametrize("dimension", [2, 3])
def test_presets_make_valid_settings_of_the_method(objective: str, dimension: int) -> None:
    settings = pretraining_preset(objective, "paper", dimension)  # type: ignore[arg-type]
    assert (settings.objective, settings.network.dimension) == (objective, dimension)
    assert settings.network.base_width == 32
    assert not settings.use_labels


# -- bad input ---------------------------------------------------------------------------------


def _check(settings: TrainSettings, shape: tuple[int, ...], count: int = 4) -> None:
    images = [torch.rand(shape).numpy() for _ in range(count)]
    cohort = assemble([f"c{i}" for i in range(count)], images, {})
    network = build_network(settings.network)
    objective_class(settings.objective)(network, settings, cohort).check()


@pytest.mark.parametrize("objective", PRETRAINING)
def test_scans_too_thin_for_the_depth_are_one_sentence(objective: str) -> None:
    with pytest.raises(StudyError, match="8 voxels thin"):
        _check(pretraining_settings(objective, 3), (8, 32, 32))


def test_a_single_scan_is_one_sentence() -> None:
    with pytest.raises(StudyError, match="at least two scans"):
        assemble(["only"], [torch.rand(32, 32).numpy()], {})


def test_grids_and_steps_that_an_objective_cannot_use_are_one_sentence() -> None:
    with pytest.raises(StudyError, match="multiples of 16"):
        _check(pretraining_settings("cover"), (40, 32))
    with pytest.raises(StudyError, match="leaves 2 positions"):
        _check(pretraining_settings("optiml"), (16, 32))
    with pytest.raises(StudyError, match="at least 2"):
        _check(pretraining_settings("optiml", pairs_per_step=1), (32, 32))
    few = PixelSettings(pixels=4)
    with pytest.raises(StudyError, match=r"pixel\.pixels"):
        _check(pretraining_settings("pix2rep", pixel=few, pairs_per_step=3), (32, 32))


@pytest.mark.parametrize("objective", ["gvsl", "cover", "optiml"])
def test_a_backbone_without_stages_is_one_sentence(objective: str) -> None:
    swin = NetworkSettings(dimension=2, base_width=4, backbone="swin-unetr")
    with pytest.raises(InputError, match=r"network\.backbone=unet"):
        _check(pretraining_settings(objective, network=swin), (64, 64))


def test_a_group_of_one_is_one_sentence() -> None:
    cohort = tiny_cohort()
    cohort.groups = ["a", "a", "a", "b"]
    settings = pretraining_settings("gemini-mip")
    with pytest.raises(StudyError, match="'b' has one scan"):
        objective_class("gemini-mip")(build_network(settings.network), settings, cohort)


@pytest.mark.parametrize("objective", ["gemini-mip", "cover", "optiml"])
def test_a_loss_that_stays_non_finite_says_what_to_change(objective: str, tmp_path: Path) -> None:
    settings = pretraining_settings(objective, steps=9, max_nonfinite=2)
    trainer = pretrainer(tmp_path, settings)
    with torch.no_grad():
        trainer.network.backbone.encoder[0][0][0].weight.fill_(float("nan"))  # type: ignore[index]
    with pytest.raises(TrainingError, match="a lower learning rate"):
        trainer.fit()

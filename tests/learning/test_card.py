"""Model cards of earlier versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_gemini.errors import ModelError
from napari_gemini.learning.card import CARD, ModelCard, read_card
from napari_gemini.learning.checkpoints import TrainingState, load_model, save_checkpoint
from napari_gemini.networks.gemini import build_network
from napari_gemini.settings import NetworkSettings
from tests.learning.helpers import tiny_card, tiny_settings


def forget_head_width(folder: Path, **changes: Any) -> None:
    """Rewrite a card as it was before the head's width was a setting."""
    content = json.loads((folder / CARD).read_text())
    del content["network"]["head_width"]
    (folder / CARD).write_text(json.dumps(content | changes))


def test_a_model_from_before_the_width_of_the_head_still_labels(tmp_path: Path) -> None:
    layout = NetworkSettings(dimension=2, base_width=8, classes=2, head_width=4)
    torch.manual_seed(0)
    network = build_network(layout).eval()
    card = tiny_card(tiny_settings(network=layout))
    state = TrainingState({"generator": torch.zeros(1)}, {"step": 1})
    folder = save_checkpoint(tmp_path, network, card, state, best=True)
    forget_head_width(folder)
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        wanted = network.segment(network.features(image))
        again = load_model(folder).network
        assert torch.equal(again.segment(again.features(image)), wanted)


@pytest.mark.parametrize(("trained", "width"), [(["backbone", "deformer"], None), (["head"], 4)])
def test_only_a_trained_head_binds_who_starts_from_it(
    tmp_path: Path, trained: list[str], width: int | None
) -> None:
    card = ModelCard(
        network=NetworkSettings(dimension=2, base_width=8), spacing_mm=[1, 1], grid_shape=[32, 32]
    )
    (tmp_path / CARD).write_text(card.model_dump_json())
    forget_head_width(tmp_path, trained=trained)
    found = read_card(tmp_path)
    assert found.network.head_width == 4
    assert found.starting_layout.head_width == width


def test_a_width_that_is_no_number_is_one_sentence(tmp_path: Path) -> None:
    content = {"network": {"base_width": "wide"}, "spacing_mm": [1, 1], "grid_shape": [32, 32]}
    (tmp_path / CARD).write_text(json.dumps(content))
    with pytest.raises(ModelError, match="does not describe a model"):
        read_card(tmp_path)


@pytest.mark.parametrize("name", ["general-2d", "general-3d", "heart-cine-2d", "hippocampus-t1"])
def test_shipped_models_load_and_give_trainings_a_wide_head(name: str) -> None:
    model = load_model(name)
    assert model.network.head[0].out_channels >= 4
    assert model.card.starting_layout.head_width is None

"""Run folders and checkpoints as models: what loads, what is refused, what is carried over."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_gemini.errors import ModelError
from napari_gemini.learning.checkpoints import (
    load_model,
    load_training_state,
    load_weights,
    resolve_model,
)
from napari_gemini.networks.gemini import build_network
from napari_gemini.settings import NetworkSettings
from tests.learning.helpers import make_trainer, tiny_settings


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    make_trainer(run, tiny_settings(steps=2, validate_every=2)).fit()
    return run


def test_a_run_folder_and_its_checkpoint_load_as_models(trained: Path) -> None:
    model = load_model(trained)
    assert model.card.labels == {0: "background", 1: "disc"}
    assert not model.network.training
    folder = resolve_model(trained)
    assert resolve_model(folder) == folder
    assert resolve_model(folder / "weights.safetensors") == folder


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {os.environ['BOMB']}",)


def test_a_pickle_is_never_executed(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "exploded"
    monkeypatch.setenv("BOMB", str(marker))
    bomb = tmp_path / "model.pth"
    bomb.write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(ModelError, match="pickled"):
        load_model(bomb)
    source = resolve_model(trained)
    folder = tmp_path / "model"
    folder.mkdir()
    card = json.loads((source / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**card, "weights_sha256": ""}))
    (folder / "weights.safetensors").write_bytes(bomb.read_bytes())
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_model(folder)
    assert not marker.exists()


def test_foreign_or_damaged_models_are_one_sentence(tmp_path: Path, trained: Path) -> None:
    source = resolve_model(trained)
    card = json.loads((source / "model.json").read_text())

    def folder(name: str, **changes: Any) -> Path:
        made = tmp_path / name
        made.mkdir()
        (made / "weights.safetensors").write_bytes((source / "weights.safetensors").read_bytes())
        (made / "model.json").write_text(json.dumps({**card, **changes}))
        return made

    wider = {**card["network"], "base_width": 8}
    with pytest.raises(ModelError, match="another network"):
        load_model(folder("wider", network=wider))
    with pytest.raises(ModelError, match="newer version"):
        load_model(folder("newer", schema_version=99))
    with pytest.raises(ModelError, match="damaged"):
        load_model(folder("replaced", weights_sha256="0" * 64))
    with pytest.raises(ModelError, match="no model 'nothing'"):
        load_model("nothing")
    bare = folder("bare")
    (bare / "model.json").unlink()
    with pytest.raises(ModelError, match=r"no model\.json"):
        load_model(bare)
    (bare / "model.json").write_text("{")
    with pytest.raises(ModelError, match="damaged"):
        load_model(bare)
    (bare / "model.json").write_text("{}")
    with pytest.raises(ModelError, match="does not describe"):
        load_model(bare)


def test_transfer_takes_the_backbone_and_leaves_a_head_of_other_labels(trained: Path) -> None:
    weights, _ = load_training_state(resolve_model(trained))
    network = build_network(NetworkSettings(dimension=2, base_width=4, classes=5))
    drawn = {key: value.clone() for key, value in network.state_dict().items()}
    left = load_weights(network, weights, strict=False, source="x")
    assert set(left) == {key for key in drawn if key.startswith("head.")}
    own = network.state_dict()
    assert all(torch.equal(own[key], drawn[key]) for key in left)
    assert torch.equal(
        own["backbone.encoder.0.0.0.weight"], weights["backbone.encoder.0.0.0.weight"]
    )

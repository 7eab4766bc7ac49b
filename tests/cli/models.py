"""Small untrained models on disk, good ones and bad ones."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import torch
from safetensors.torch import save_file

from napari_gemini.learning.card import ModelCard
from napari_gemini.learning.checkpoints import file_sha256
from napari_gemini.networks.gemini import build_network
from napari_gemini.settings import NetworkSettings


def write_model(folder: Path, dimension: int = 3, spacing: float = 4.0, size: int = 16) -> Path:
    """A network that was never trained, as a folder that every command takes for a model."""
    torch.manual_seed(0)
    config = NetworkSettings(dimension=dimension, base_width=4, classes=7)
    folder.mkdir(parents=True)
    weights = {key: value.contiguous() for key, value in build_network(config).state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    card = ModelCard(
        network=config,
        spacing_mm=[spacing] * dimension,
        grid_shape=[size] * dimension,
        labels={0: "background", **{value: f"label {value}" for value in range(1, 7)}},
        objective="gemini-semi",
        step=1,
        weights_sha256=file_sha256(folder / "weights.safetensors"),
    )
    (folder / "model.json").write_text(card.model_dump_json())
    return folder


def rewrite_card(folder: Path, **changes: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


class Trap:
    """Makes a file when it is unpickled, as an attacker's code would."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.open, (str(self.path), os.O_CREAT | os.O_WRONLY)


def pickled_trap(trap: Path) -> bytes:
    return pickle.dumps({"state_dict": Trap(trap)})

"""A model that is corrupt, of another network, newer, or a pickle with code in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.cli.helpers import Run, everything_in
from tests.cli.models import pickled_trap, rewrite_card, write_model


def corrupt(folder: Path) -> None:
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def cut(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    rewrite_card(folder, weights_sha256="")


def of_another_network(folder: Path) -> None:
    rewrite_card(folder, network={"dimension": 3, "base_width": 8, "classes": 7})


def of_another_dimension(folder: Path) -> None:
    rewrite_card(folder, network={"dimension": 2, "base_width": 4, "classes": 7})


def newer(folder: Path) -> None:
    rewrite_card(folder, schema_version=99)


def without_card(folder: Path) -> None:
    (folder / "model.json").unlink()


def pickle_as_weights(folder: Path) -> None:
    (folder / "weights.safetensors").write_bytes(pickled_trap(folder.parent / "trap"))
    rewrite_card(folder, weights_sha256="")


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (corrupt, "damaged"),
        (cut, "safetensors"),
        (of_another_network, "another network"),
        (of_another_dimension, "2D"),
        (newer, "newer"),
        (without_card, "model.json"),
        (pickle_as_weights, "safetensors"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_bad_models(run: Run, tmp_path: Path, scans: list[Path], spoil, word: str) -> None:
    model = write_model(tmp_path / "model")
    spoil(model)
    before = everything_in(tmp_path)
    for words in (
        ["predict", model, scans[0], "--out", tmp_path / "out"],
        ["correspond", *scans[:2], "--model", model, "--out", tmp_path / "out"],
        ["embed", scans[0], "--model", model, "--out", tmp_path / "out"],
    ):
        answer = run(*words, "--device", "cpu")
        assert answer.code == 2, words
        assert word in answer.sentence
        assert not (tmp_path / "trap").exists()
        after = everything_in(tmp_path)
        after.pop("out", None)  # predict makes its folder; nothing is in it
        assert after == before


def test_a_pickled_checkpoint_is_never_opened(run: Run, tmp_path: Path, scans: list[Path]) -> None:
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(pickled_trap(tmp_path / "trap"))
    answer = run("predict", path, scans[0], "--out", tmp_path / "out", "--device", "cpu")
    assert answer.code == 2
    assert "never opened" in answer.sentence
    torch.save({"weight": torch.zeros(1)}, path)
    answer = run("correspond", *scans[:2], "--model", path, "--out", tmp_path / "out")
    assert answer.code == 2
    assert not (tmp_path / "trap").exists()


def test_a_model_that_is_nowhere(run: Run, tmp_path: Path, scans: list[Path]) -> None:
    answer = run("correspond", *scans[:2], "--model", "nowhere", "--out", tmp_path / "out")
    assert answer.code == 2
    assert "nowhere" in answer.sentence
    assert list(tmp_path.iterdir()) == []

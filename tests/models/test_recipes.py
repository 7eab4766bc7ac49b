"""Every shipped model can be made by one command, and what is shipped is as its recipe says."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from safetensors import safe_open

from napari_gemini.commands.pretrain import pretraining_settings
from napari_gemini.engine.models.registry import REGISTRY, read_registry
from napari_gemini.engine.provenance import sha256_of
from napari_gemini.engine.tasks.publish_model import LARGEST_BYTES
from napari_gemini.learning.card import About, read_card
from napari_gemini.learning.checkpoints import load_model
from napari_gemini.phantom.random_cohort import random_groups
from napari_gemini.phantom.random_files import write_random_study

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("general-2d", "general-3d", "heart-cine-2d", "hippocampus-t1")
SHIPPED = sorted(path.parent for path in (ROOT / "models").glob("*/model.json"))


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_models", ROOT / "scripts/train_models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recipe(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / "models/recipes" / f"{name}.json").read_text())
    return content


def test_there_is_a_recipe_for_each_model() -> None:
    found = sorted(path.stem for path in (ROOT / "models/recipes").glob("*.json"))
    assert tuple(found) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_recipes_can_be_followed(name: str, tmp_path: Path) -> None:
    """Settings, description and data options are accepted as they stand."""
    content = recipe(name)
    dimension = 2 if name.endswith("2d") else 3
    groups = random_groups(1, 2, dimension, 32)
    study = write_random_study(tmp_path / "study", groups, 1)
    stage = content["pretrain"]
    assignments = [f"{key}={value}" for key, value in stage["set"].items()]
    settings = pretraining_settings(
        study, stage["objective"], stage["preset"], stage["steps"], stage["seed"],
        stage["base_width"], assignments,
    )  # fmt: skip
    assert settings.network.base_width <= 16
    assert settings.network.dimension == dimension
    about = About.model_validate(content["about"])
    assert set(content["about"]) <= set(About.model_fields)
    assert all([about.title, about.trained_on, about.data_licence, about.licence, about.limits])
    assert content["data"].get("dimension", dimension) == dimension
    assert content["general"] == (content["data"]["kind"] == "random")


def test_one_command_makes_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny recipe from data to card; given again it does nothing twice."""
    module = script()
    tiny = recipe("general-2d")
    tiny["data"].update(groups=1, per_group=2, size=32)
    tiny["pretrain"].update(steps=2, base_width=4)
    tiny["pretrain"]["set"].update(checkpoint_every=1, pairs_per_step=1)
    tiny["evaluate"].update(count=9, pairs=1)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "tiny.json").write_text(json.dumps(tiny))
    monkeypatch.setattr(module, "RECIPES", tmp_path / "recipes")
    monkeypatch.setattr(module, "ROOT", ROOT)
    command = ["tiny", "--work", tmp_path / "work", "--models", tmp_path / "models"]

    def give(*more: str) -> None:
        words = [*map(str, command), "--device", "cpu", *more]
        monkeypatch.setattr(sys, "argv", ["train_models.py", *words])
        module.main()

    give()
    card = read_card(tmp_path / "models" / "tiny")
    assert (card.step, card.general, card.labels) == (2, True, {})
    assert card.about is not None
    scores = {score.what.split(" (")[0]: score.value for score in card.about.scores}
    assert {"Dice, without registration", "Dice, this model and refinement"} <= set(scores)
    assert (
        "python scripts/train_models.py tiny"
        in (tmp_path / "models" / "tiny" / "README.md").read_text()
    )
    made = (tmp_path / "work" / "tiny" / "study" / "study.json").stat().st_mtime_ns
    give("--stages", "data,pretrain,publish")
    assert (tmp_path / "work" / "tiny" / "study" / "study.json").stat().st_mtime_ns == made
    assert read_card(tmp_path / "models" / "tiny").weights_sha256 == card.weights_sha256


def test_without_a_run_the_shipped_model_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command on the card of a model, given in a fresh checkout."""
    module = script()
    small = recipe("general-2d")
    small["evaluate"].update(count=9)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "general-2d.json").write_text(json.dumps(small))
    monkeypatch.setattr(module, "RECIPES", tmp_path / "recipes")
    work, shipped = tmp_path / "work", ROOT / "models" / "general-2d"

    def give(stages: str, *more: str | Path) -> None:
        words = ["general-2d", "--work", work, "--pairs", "1", "--stages", stages, *more]
        monkeypatch.setattr(sys, "argv", ["train_models.py", *map(str, words)])
        module.main()

    for stages in ("publish", "evaluate,publish"):
        with pytest.raises(SystemExit, match=r"There is no run to publish in .*: train first"):
            give(stages, "--models", tmp_path / "models")
    with pytest.raises(SystemExit, match=r"neither a run in .* nor a model in"):
        give("evaluate", "--models", tmp_path / "models")
    give("evaluate")
    content = json.loads((work / "general-2d" / "scores-shipped.json").read_text())
    assert content["options"]["model"] == str(shipped)
    assert set(content["ways"]) == set(module.WAYS)
    # They are not those of a training that is begun here later.
    assert not (work / "general-2d" / "scores.json").exists()
    assert not (tmp_path / "models").exists()


def test_a_recipe_of_real_data_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script()
    for more, part in (([], "--data DIR"), (["--data", str(tmp_path)], "has no split.json")):
        words = ["hippocampus-t1", "--work", str(tmp_path / "work"), *more]
        monkeypatch.setattr(sys, "argv", ["train_models.py", *words])
        with pytest.raises(SystemExit, match=part):
            module.main()


def test_the_registry_describes_what_is_shipped() -> None:
    if not SHIPPED:
        pytest.skip("no model is shipped yet")
    registry = read_registry(str(ROOT / "models" / REGISTRY))
    assert sorted(registry.models) == [folder.name for folder in SHIPPED]
    for folder in SHIPPED:
        for name, remote in registry.models[folder.name].files.items():
            assert remote.sha256 == sha256_of(folder / name)
            assert remote.size == (folder / name).stat().st_size


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_model_keeps_its_promises(folder: Path) -> None:
    assert folder.name in NAMES
    card = load_model(folder).card
    assert card.name == folder.name
    assert card.network.base_width <= 16
    assert sum(path.stat().st_size for path in folder.iterdir()) < LARGEST_BYTES
    assert card.weights_sha256 == sha256_of(folder / "weights.safetensors")
    assert card.data_sha256
    assert card.versions
    about = card.about
    assert about is not None
    assert all([about.trained_on, about.data_licence, about.licence, about.machine, about.limits])
    assert about.hours is not None
    assert about.scores
    assert (folder / "README.md").read_text(encoding="utf-8").startswith(f"# {folder.name}\n")
    with safe_open(folder / "weights.safetensors", "pt") as weights:
        kinds = {str(weights.get_tensor(name).dtype) for name in weights.keys()}  # noqa: SIM118
    assert kinds == {f"torch.{card.dtype}"}

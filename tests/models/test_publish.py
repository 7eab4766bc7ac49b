from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_gemini.engine.models.registry import read_registry
from napari_gemini.engine.models.shelf import list_models
from napari_gemini.engine.tasks import publish_model as publishing
from napari_gemini.engine.tasks.publish_model import half_precision_cost, publish_model
from napari_gemini.errors import InputError, ModelError
from napari_gemini.learning.card import read_card
from napari_gemini.learning.checkpoints import TrainingState, load_model, save_checkpoint
from napari_gemini.networks.gemini import build_network
from napari_gemini.settings import NetworkSettings
from tests.cli.helpers import Run, everything_in
from tests.models.helpers import Listener, write_model


def make_run(folder: Path, *, labelled: bool = False) -> Path:
    """A run folder as a training leaves it: two checkpoints, the first is the best."""
    model = load_model(write_model(folder / "seed", labels={0: "background", 1: "organ"}))
    run = folder / "run"
    for step, best in ((10, True), (20, False)):
        with torch.no_grad():
            model.network.deformer.flow.bias.fill_(step / 10)
        card = model.card.model_copy(update={"step": step, "study": "Ann's scans", "about": None})
        state = TrainingState({"generator": torch.zeros(1)}, {"step": step})
        save_checkpoint(run, model.network, card, state, best=best)
    hashes = {"a": {"image": "0" * 64}, "b": {"image": "1" * 64}}
    if labelled:
        hashes["a"]["labels"] = "2" * 64
    config = {
        "data_sha256": hashes,
        "device": "cpu",
        "repeatability": {"threads": 2},
        "provenance": {"host": {"name": "anns-laptop", "cpu": "A processor"}},
    }
    (run / "config.json").write_text(json.dumps(config))
    times = [100.0, 400.0, 700.0, 999_000.0, 999_300.0]
    lines = [json.dumps({"event": "progress", "time": time, "done": 1}) for time in times]
    (run / "events.jsonl").write_text("\n".join(lines))
    return run


def test_the_best_checkpoint_becomes_a_model(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    result = publish_model(str(run), "organ-2d", Listener(), parent=tmp_path / "models")
    folder = tmp_path / "models" / "organ-2d"
    card = read_card(folder)
    assert (result["name"], card.name, card.step) == ("organ-2d", "organ-2d", 10)
    assert card.study == ""
    assert card.data_sha256 == {"a": "0" * 64, "b": "1" * 64}
    assert card.about is not None
    # Three steps of five minutes; the pause of days does not count.
    assert card.about.hours == pytest.approx(0.25)
    assert card.about.machine == "A processor, 2 threads"
    assert "anns-laptop" not in (folder / "model.json").read_text()
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "model.json",
        "weights.safetensors",
    ]


def test_only_a_head_that_saw_labels_keeps_them(tmp_path: Path) -> None:
    for name, labelled in (("without", False), ("with", True)):
        run = make_run(tmp_path / name, labelled=labelled)
        publish_model(str(run), name, Listener(), parent=tmp_path / "models")
        assert bool(read_card(tmp_path / "models" / name).labels) == labelled


def test_half_precision_gives_the_same(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    publish_model(str(run), "organ-2d", Listener(), parent=tmp_path / "models")
    folder = tmp_path / "models" / "organ-2d"
    stored = load_file(folder / "weights.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    model, original = load_model(folder), load_model(run)
    assert model.card.dtype == "float16"
    assert {p.dtype for p in model.network.parameters()} == {torch.float32}
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        features = [m.network.features(images) for m in (original, model)]
        fields = [
            m.network.displacement(f[:1], f[1:])
            for m, f in zip((original, model), features, strict=True)
        ]
    assert torch.allclose(*features, atol=0.05 * float(features[0].std()))
    assert torch.allclose(*fields, atol=publishing.FIELD_TOLERANCE)


def test_weights_that_half_precision_spoils_stay_whole(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "seed")
    weights = load_file(folder / "weights.safetensors")
    # Beyond the largest number of half precision; the norm after it takes the scale out again.
    weights["backbone.encoder.0.0.0.weight"] *= 1e6
    save_file(weights, folder / "weights.safetensors")
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**card, "weights_sha256": ""}))
    reporter = Listener()
    result = publish_model(str(folder), "large", reporter, parent=tmp_path / "models")
    assert result["dtype"] == "float32"
    stored = load_file(tmp_path / "models" / "large" / "weights.safetensors")
    assert all(torch.equal(stored[name], weights[name]) for name in weights)
    assert "stay in float32" in reporter.messages[0]


def test_the_cost_of_rounding_is_measured() -> None:
    torch.manual_seed(0)
    network = build_network(NetworkSettings(dimension=3, base_width=4))
    exact = half_precision_cost(network, network.state_dict())
    assert (exact.features, exact.field) == (0.0, 0.0)
    halves = {k: v.half() for k, v in network.state_dict().items()}
    assert 0 < half_precision_cost(network, halves).features < publishing.FEATURE_TOLERANCE
    rough = {k: (v * 8).round() / 8 for k, v in network.state_dict().items()}
    assert not half_precision_cost(network, rough).harmless


def test_the_folder_gets_a_registry_that_serves_it(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    about = {"title": "An organ", "licence": "CC0-1.0"}
    for name in ("first", "second"):
        publish_model(str(run), name, Listener(), about=about, parent=tmp_path / "models")
    registry = read_registry(str(tmp_path / "models" / "registry.json"))
    assert sorted(registry.models) == ["first", "second"]
    assert registry.models["first"].licence == "CC0-1.0"
    weights = registry.models["first"].files["weights.safetensors"]
    assert weights.sha256 == read_card(tmp_path / "models" / "first").weights_sha256


def test_a_name_that_is_taken_is_replaced_only_on_request(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    models = tmp_path / "models"
    publish_model(str(run), "organ", Listener(), parent=models)
    before = everything_in(models)
    with pytest.raises(InputError, match="already"):
        publish_model(str(run), "organ", Listener(), parent=models, general=True)
    assert everything_in(models) == before
    publish_model(str(run), "organ", Listener(), parent=models, general=True, replace=True)
    assert read_card(models / "organ").general
    assert sorted(p.name for p in models.iterdir()) == ["organ", "registry.json"]


def test_the_users_own_model_is_replaced_too(tmp_path: Path, own_models: Path) -> None:
    folder = make_run(tmp_path)
    publish_model(str(folder), "organ", Listener())
    publish_model(str(folder), "organ", Listener(), general=True, replace=True)
    assert read_card(own_models / "organ").general


def test_what_is_not_replaced_says_why(tmp_path: Path, own_models: Path) -> None:
    folder = str(make_run(tmp_path))
    with pytest.raises(InputError, match=r"general-2d is shipped.*not replaced: choose another"):
        publish_model(folder, "general-2d", Listener(), replace=True)
    (own_models / "photos").mkdir(parents=True)
    with pytest.raises(InputError, match=r"photos is no model \(it has no model\.json\)"):
        publish_model(folder, "photos", Listener(), replace=True)
    (tmp_path / "models").mkdir()
    outside = write_model(tmp_path / "outside")
    before = everything_in(outside)
    with pytest.raises(InputError, match="cannot be the name"):
        publish_model(folder, "../outside", Listener(), parent=tmp_path / "models", replace=True)
    assert everything_in(outside) == before


def test_a_model_that_is_too_large_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path)
    models = tmp_path / "models"
    publish_model(str(run), "organ", Listener(), parent=models)
    before = everything_in(models)
    monkeypatch.setattr(publishing, "LARGEST_BYTES", 1000)
    with pytest.raises(ModelError, match="base width of 16 at most"):
        publish_model(str(run), "organ", Listener(), parent=models, replace=True)
    assert everything_in(models) == before


def test_width_16_stays_within_the_limit() -> None:
    for dimension in (2, 3):
        network = build_network(NetworkSettings(dimension=dimension, base_width=16))
        count = sum(parameter.numel() for parameter in network.parameters())
        assert 2 * count + 100_000 < publishing.LARGEST_BYTES


def test_many_scans_get_one_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "MANY_SCANS", 1)
    run = make_run(tmp_path)
    publish_model(str(run), "organ", Listener(), parent=tmp_path / "models")
    hashes = read_card(tmp_path / "models" / "organ").data_sha256
    assert list(hashes) == ["2 scans"]
    assert len(hashes["2 scans"]) == 64


def test_the_commands(run: Run, tmp_path: Path, own_models: Path) -> None:
    folder = make_run(tmp_path)
    about = tmp_path / "about.json"
    score = {"what": "Dice", "value": 0.5, "command": "python benchmarks/pairs.py"}
    content = {"title": "An organ", "licence": "CC0-1.0", "limits": ["Never."], "scores": [score]}
    about.write_text(json.dumps(content))
    answer = run("models", "publish", folder, "organ-2d", "--about", about, "--json")
    assert answer.code == 0, answer.err
    assert Path(answer.json["folder"]) == own_models / "organ-2d"
    listed = run("models", "list")
    assert "organ-2d" in listed.out
    assert "An organ" in listed.out
    entries = {model["name"]: model for model in run("models", "list", "--json").json["models"]}
    assert entries["organ-2d"]["source"] == "own"
    assert entries["organ-2d"]["dimension"] == 2
    shown = run("models", "show", "organ-2d").out
    for part in ("CC0-1.0", "Never.", "0.500", "benchmarks/pairs.py", "cannot label"):
        assert part in shown
    assert run("models", "show", "organ-2d", "--json").json["step"] == 10
    readme = (own_models / "organ-2d" / "README.md").read_text()
    assert readme.startswith("# organ-2d\n")
    assert shown.startswith(readme.rstrip())


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("{", "does not describe"),
        ('{"titel": "x"}', "titel"),
        ('{"hours": "long"}', "hours"),
        ('{"scores": [{"value": 1}]}', "scores.0.what: Field required"),
        ("[]", "a JSON object"),
    ],
)
def test_a_bad_description(run: Run, tmp_path: Path, content: str, part: str) -> None:
    path = tmp_path / "about.json"
    path.write_text(content)
    answer = run("models", "publish", make_run(tmp_path), "organ", "--about", path)
    assert answer.code == 2
    assert part in answer.sentence
    assert answer.err == f"Error: {answer.sentence}\n"


@pytest.mark.parametrize("name", ["../evil", "none", "With Space", ""])
def test_names_that_cannot_be(run: Run, tmp_path: Path, name: str) -> None:
    answer = run("models", "publish", make_run(tmp_path), name)
    assert answer.code == 2
    assert "cannot be the name" in answer.sentence


def test_a_run_without_a_checkpoint(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    answer = run("models", "publish", tmp_path / "run", "organ")
    assert answer.code == 2
    assert "no usable checkpoint" in answer.sentence


def test_a_damaged_model_is_not_listed_and_shown_with_a_reason(run: Run, own_models: Path) -> None:
    write_model(own_models / "good")
    write_model(own_models / "bad")
    (own_models / "bad" / "model.json").write_text("{")
    assert [entry.name for entry in list_models() if entry.source == "own"] == ["good"]
    answer = run("models", "show", "bad")
    assert answer.code == 2
    assert "damaged" in answer.sentence
    assert "good" in run("models", "show", "nowhere").sentence

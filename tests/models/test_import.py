from __future__ import annotations

import io
import random
import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_gemini.errors import ModelError
from napari_gemini.learning import foreign
from napari_gemini.learning.checkpoints import load_model
from napari_gemini.learning.foreign import our_name, read_foreign
from napari_gemini.networks.blocks import count_parameters
from napari_gemini.volumes.pictures import write_png
from tests.cli.helpers import Run, everything_in
from tests.cli.models import Trap, pickled_trap
from tests.models.checkpoints import gemini, gvsl


def save(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(("dimension", "parameters"), [(2, 8_033_059), (3, 24_080_708)])
def test_every_weight_of_a_full_size_checkpoint_has_its_place(
    tmp_path: Path, dimension: int, parameters: int
) -> None:
    """The published sizes: backbone, deformer and restoration head together."""
    theirs = gemini(dimension)
    assert sum(tensor.numel() for tensor in theirs.values()) == parameters
    model = read_foreign(save(tmp_path / "x.pth", theirs))
    assert (model.kind, model.network.dimension, model.network.base_width) == (
        "gemini",
        dimension,
        32,
    )
    for name, tensor in theirs.items():
        if not name.startswith("res_conv"):
            assert torch.equal(model.weights[our_name(name)], tensor), name
    assert model.fresh == ["head"]
    assert {name.split(".")[0] for name in model.left_out} == {"res_conv"}


def test_an_imported_model_computes_what_the_layers_say(tmp_path: Path, run: Run) -> None:
    """The first stage, done by hand from their names."""
    theirs = gemini(2, width=8, outputs=4)
    path = save(tmp_path / "x.pth", theirs)
    answer = run("models", "import", path, "--name", "mine", "--into", tmp_path / "models")
    assert answer.code == 0, answer.err
    model = load_model(tmp_path / "models" / "mine")
    assert model.card.labels == {0: "background", 1: "label 1", 2: "label 2", 3: "label 3"}
    image = torch.rand(1, 1, 32, 32)
    x = image
    for k in (0, 3):
        stem = "unet.inc.double_conv"
        x = torch.nn.functional.conv2d(
            x, theirs[f"{stem}.{k}.weight"], theirs[f"{stem}.{k}.bias"], padding=1
        )
        norm = [theirs[f"{stem}.{k + 1}.{part}"] for part in ("weight", "bias")]
        x = torch.nn.functional.leaky_relu(torch.nn.functional.group_norm(x, 1, *norm), 0.2)
    with torch.no_grad():
        assert torch.allclose(model.network.backbone.encoder[0](image), x, atol=1e-5)
        features = model.network.features(image)
        hidden = torch.nn.functional.conv2d(
            features, theirs["res_conv.0.weight"], theirs["res_conv.0.bias"], padding=1
        )
        norm = [theirs[f"res_conv.1.{part}"] for part in ("weight", "bias")]
        hidden = torch.nn.functional.leaky_relu(
            torch.nn.functional.group_norm(hidden, 1, *norm), 0.2
        )
        logits = torch.nn.functional.conv2d(
            hidden, theirs["res_conv.3.weight"], theirs["res_conv.3.bias"]
        )
        assert torch.allclose(model.network.segment(features), logits, atol=1e-5)
        field = model.network.displacement(features, features)
    assert field.shape == (1, 2, 32, 32)
    assert float(field.abs().max()) > 0


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"state_dict": s, "epoch": 7},
        lambda s: {"model": OrderedDict(s)},
        lambda s: {f"module.{name}": tensor for name, tensor in s.items()},
        lambda s: {re.sub(r"^unet\.", "backbone.", name): t for name, t in s.items()},
        lambda s: {name: tensor.half() for name, tensor in s.items()},
    ],
    ids=["container", "ordered", "data-parallel", "old names", "half"],
)
def test_wrappers_and_old_names(tmp_path: Path, wrap: Any) -> None:
    theirs = gemini(2, width=8)
    model = read_foreign(save(tmp_path / "x.pth", wrap(theirs)))
    name = "unet.down2.maxpool_conv.1.double_conv.3.weight"
    assert torch.allclose(model.weights[our_name(name)], theirs[name], atol=1e-2)


def test_safetensors_are_read_as_well(tmp_path: Path) -> None:
    theirs = gemini(2, width=8)
    save_file(theirs, tmp_path / "x.safetensors")
    model = read_foreign(tmp_path / "x.safetensors")
    assert torch.equal(model.weights["deformer.flow.bias"], theirs["deformer.1.bias"])


def test_of_gvsl_the_backbone_is_taken(tmp_path: Path, run: Run, own_models: Path) -> None:
    theirs = gvsl(width=8)
    path = save(tmp_path / "GVSL3D-UNet.pth", theirs)
    answer = run("models", "import", path, "--spacing", "2", "--intensity", "ct", "--json")
    assert answer.code == 0, answer.err
    assert answer.json["kind"] == "gvsl"
    assert answer.json["fresh"] == ["deformer", "head"]
    assert "fc_rot.weight" in answer.json["left_out"]
    assert "start from the identity" in answer.err
    model = load_model(own_models / "gvsl3d-unet")
    assert (model.card.spacing_mm, model.card.intensity_mode) == ([2.0, 2.0, 2.0], "ct")
    assert model.card.labels == {}
    assert model.card.trained == ["backbone"]
    name = "unet.up4.conv.double_conv.0.weight"
    assert torch.equal(model.network.state_dict()[our_name(name)], theirs[name])
    with torch.no_grad():
        features = model.network.features(torch.rand(2, 1, 16, 16, 16))
        assert float(model.network.displacement(features[:1], features[1:]).abs().max()) < 1e-2


def test_a_pickle_with_code_is_refused_and_not_run(
    tmp_path: Path, run: Run, own_models: Path
) -> None:
    trap = tmp_path / "trap"
    (tmp_path / "raw.pth").write_bytes(pickled_trap(trap))
    save(tmp_path / "zip.pth", {"state_dict": Trap(trap), **gemini(2, width=8)})
    torch.save(
        {"unet.inc.double_conv.0.weight": Trap(trap)},
        tmp_path / "legacy.pth",
        _use_new_zipfile_serialization=False,
    )
    for name in ("raw", "zip", "legacy"):
        before = everything_in(tmp_path)
        answer = run("models", "import", tmp_path / f"{name}.pth")
        assert answer.code == 2
        assert "could run code" in answer.sentence
        assert "was not opened" in answer.sentence
        assert everything_in(tmp_path) == before
        assert not own_models.exists()
    # The trap does work: the unrestricted reader falls into it.
    torch.load(tmp_path / "zip.pth", weights_only=False)
    assert trap.exists()


def test_an_old_torch_does_not_open_pickles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    path = save(tmp_path / "x.pth", gemini(2, width=8))
    monkeypatch.setattr(foreign.torch, "__version__", "2.9.1+cpu")
    answer = run("models", "import", path)
    assert answer.code == 2
    assert "2.10 or newer" in answer.sentence


def test_a_head_of_sigmoids_is_imported_as_one_where_the_user_says_so(
    tmp_path: Path, run: Run
) -> None:
    """The authors' 2D network of the chest: three outputs, none of them the background."""
    path = save(tmp_path / "chest.pth", gemini(2, width=8, outputs=3))
    into = tmp_path / "models"
    answer = run("models", "import", path, "--name", "soft", "--into", into)
    assert answer.code == 0
    assert "--overlapping" in answer.err
    answer = run("models", "import", path, "--name", "chest", "--into", into, "--overlapping")
    assert answer.code == 0
    assert "--overlapping" not in answer.err
    soft, chest = (load_model(into / name) for name in ("soft", "chest"))
    assert soft.card.labels == {0: "background", 1: "label 1", 2: "label 2"}
    assert chest.card.labels == {1: "label 1", 2: "label 2", 3: "label 3"}
    assert (soft.network.config.overlapping, chest.network.config.overlapping) == (False, True)
    picture = tmp_path / "picture.png"
    write_png(picture, np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))
    answer = run("predict", into / "chest", picture, "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    masks = sorted(path.name for path in (tmp_path / "out" / "picture").iterdir())
    assert masks == ["label_1.png", "label_2.png", "label_3.png"]


def drop(name: str) -> Any:
    return lambda s: s.pop(name)


def reshape(name: str, *shape: int) -> Any:
    return lambda s: s.update({name: torch.zeros(shape)})


def wide_head(s: dict[str, Any]) -> None:
    reshape("res_conv.0.weight", 300, 8, 3, 3)(s)
    reshape("res_conv.3.weight", 5, 300, 1, 1)(s)


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (
            drop("unet.up2.conv.double_conv.3.bias"),
            ["unet.up2.conv.double_conv.3.bias is missing", "2D", "width 8"],
        ),
        (
            reshape("unet.down1.maxpool_conv.1.double_conv.0.weight", 16, 8, 5, 5),
            ["double_conv.0.weight is 16x8x5x5 instead of 16x8x3x3"],
        ),
        (reshape("deformer.1.weight", 3, 8, 3, 3), ["deformer.1.weight is 3x8x3x3"]),
        (drop("deformer.0.Conv4.one_conv.0.weight"), ["Conv4.one_conv.0.weight is missing"]),
        (reshape("unet.inc.double_conv.0.weight", 8, 3, 3, 3), ["several channels"]),
        (reshape("unet.inc.double_conv.0.weight", 7, 1, 3, 3), ["base width of 7"]),
        (wide_head, ["300 channels in the head", "1 to 256"]),
        (drop("unet.inc.double_conv.0.weight"), ["lacks unet.inc.double_conv.0.weight"]),
        (
            lambda s: s.update({"deformer.1.bias": torch.full((2,), np.nan)}),
            ["not finite (deformer.1.bias)"],
        ),
    ],
)
def test_what_does_not_fit_is_listed(
    tmp_path: Path, run: Run, own_models: Path, spoil: Any, parts: list[str]
) -> None:
    theirs = gemini(2, width=8)
    spoil(theirs)
    answer = run("models", "import", save(tmp_path / "x.pth", theirs))
    assert answer.code == 2
    for part in parts:
        assert part in answer.sentence
    assert not own_models.exists()


@pytest.mark.parametrize(
    ("width", "outputs", "parts"),
    [
        (8, 600, ["600 outputs of the head", "at most 512"]),
        (6, 3, ["a base width of 6", "multiples of 4"]),
        (6, 600, ["a base width of 6", "600 outputs of the head"]),
    ],
)
def test_only_the_bound_that_is_broken_is_named(
    tmp_path: Path, width: int, outputs: int, parts: list[str]
) -> None:
    path = save(tmp_path / "x.pth", gemini(2, width=width, outputs=outputs))
    with pytest.raises(ModelError, match="no network here has") as error:
        read_foreign(path)
    named = {"base width", "outputs of the head", "channels in the head"}
    assert {name for name in named if name in str(error.value)} == {
        name for name in named if any(name in part for part in parts)
    }
    for part in parts:
        assert part in str(error.value)


def test_a_long_list_is_cut(tmp_path: Path, run: Run) -> None:
    theirs = {k: v for k, v in gemini(2, width=8).items() if not k.startswith("unet.up")}
    sentence = run("models", "import", save(tmp_path / "x.pth", theirs)).sentence
    assert sentence.count("is missing") == 5
    assert "and 27 more" in sentence


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "damaged or no checkpoint"),
        (b"PK\x03\x04 cut", "damaged or no checkpoint"),
        (b"<html>", "opened"),
    ],
)
def test_what_is_no_checkpoint(tmp_path: Path, run: Run, content: bytes, part: str) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    answer = run("models", "import", path)
    assert answer.code == 2
    assert part in answer.sentence


def damaged_archive(whole: Path, rng: random.Random) -> bytes:
    """An archive that is whole, with a pickle that is not."""
    out = io.BytesIO()
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(out, "w") as sink:
        for name in source.namelist():
            content = bytearray(source.read(name))
            if name.endswith("data.pkl"):
                spoil_bytes(content, 0, len(content), rng)
            sink.writestr(name, bytes(content))
    return out.getvalue()


def spoil_bytes(content: bytearray, start: int, stop: int, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 3)):
        content[rng.randrange(start, stop)] = rng.randrange(256)


@pytest.mark.parametrize("kind", ["pickle", "archive", "directory", "legacy", "safetensors", "cut"])
def test_a_damaged_checkpoint_ends_in_one_sentence(
    tmp_path: Path, kind: str, recwarn: pytest.WarningsRecorder
) -> None:
    """Whatever its first odd byte leads to, and no warning of PyTorch beside it."""
    names = ("unet.inc.double_conv.0.weight", "unet.inc.double_conv.0.bias", "res_conv.3.weight")
    theirs = {name: tensor for name, tensor in gemini(2, width=4).items() if name in names}
    whole = tmp_path / "whole.pth"
    torch.save(theirs, whole, _use_new_zipfile_serialization=kind != "legacy")
    path = tmp_path / "x.pth"
    if kind == "safetensors":
        whole, path = (p.with_suffix(".safetensors") for p in (whole, path))
        save_file(theirs, whole)
    size = whole.stat().st_size
    beside = everything_in(tmp_path)
    for seed in range(60):
        rng = random.Random(seed)
        content = bytearray(whole.read_bytes())
        if kind == "pickle":
            content = bytearray(damaged_archive(whole, rng))
        elif kind == "cut":
            del content[rng.randrange(size) :]
        else:
            spoil_bytes(content, max(0, size - 900) if kind == "directory" else 0, size, rng)
        path.write_bytes(content)
        with pytest.raises(ModelError) as error:  # three of its layers are no network
            read_foreign(path)
        assert str(error.value).isprintable(), seed
        path.unlink()
        assert everything_in(tmp_path) == beside
    assert [str(w.message) for w in recwarn] == []


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda t: t.to_sparse(), "sparse_coo"),
        (lambda t: torch.nested.nested_tensor([t[0], t[1]]), "nested"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "quantized"),
        (lambda t: t.to("meta"), "without values"),
        (lambda t: t.to(torch.complex64), "complex"),
        (lambda t: t[0, 0, 0, 0].expand(10**14), "larger than what the file holds"),
        (lambda t: t.to(torch.uint8).view(torch.bits8), "bits8"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # PyTorch's, of making them
def test_weights_that_are_no_plain_numbers_are_refused_by_name(
    tmp_path: Path, make: Any, word: str
) -> None:
    theirs = gemini(2, width=8)
    name = "unet.down1.maxpool_conv.1.double_conv.0.weight"
    theirs[name] = make(theirs[name])
    path = save(tmp_path / "x.pth", theirs)
    with pytest.raises(ModelError, match=rf"{re.escape(name)} is {word}"):
        read_foreign(path)


@pytest.mark.parametrize(
    ("hidden", "shape"),
    [(torch.tensor(1.0), "a number"), (torch.zeros(0, 8, 3, 3), "0x8x3x3")],
    ids=["number", "empty"],
)
def test_a_head_without_channels_does_not_fit(tmp_path: Path, hidden: Any, shape: str) -> None:
    theirs = {**gemini(2, width=8, outputs=3), "res_conv.0.weight": hidden}
    with pytest.raises(ModelError, match=rf"res_conv\.0\.weight is {shape} instead of"):
        read_foreign(save(tmp_path / "x.pth", theirs))


def test_names_cannot_spoil_the_terminal_or_the_card(tmp_path: Path, run: Run) -> None:
    name = "fc_rot\n\x1b[2J\ud800.weight"
    path = save(tmp_path / "x.pth", {**gvsl(width=8), name: torch.zeros(1)})
    answer = run("models", "import", path, "--name", "mine", "--into", tmp_path / "models")
    assert answer.code == 0, answer.err
    card = (tmp_path / "models" / "mine" / "model.json").read_text()
    assert "fc_rot??[2J?.weight" in card


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_not_the_files_fault_is_not_laid_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException], suffix: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise stop

    monkeypatch.setattr(foreign.torch, "load", fail)
    monkeypatch.setattr(foreign, "load_file", fail)
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"x")
    with pytest.raises(stop):
        read_foreign(path)


def test_the_card_does_not_claim_a_grid_that_nobody_knows(tmp_path: Path, run: Run) -> None:
    for dimension, size in ((2, "512x512"), (3, "160x160x128")):
        path = save(tmp_path / "x.pth", gemini(dimension, width=4))
        name = f"mine-{dimension}d"
        words = ("--name", name, "--spacing", "2", "--into", tmp_path / "models")
        assert run("models", "import", path, *words).code == 0
        folder = tmp_path / "models" / name
        readme = (folder / "README.md").read_text()
        assert size not in readme
        spacing = "x".join("2" * dimension)
        assert f"| Training grid | not known; voxels taken to be {spacing} mm |" in readme
        assert load_model(folder).card.extra["grid_known"] is False


def test_other_contents(tmp_path: Path, run: Run) -> None:
    for content, part in (
        ([1, 2], "holds no state_dict"),
        ({"epoch": 3}, "it has nothing"),
        ({"conv1.weight": torch.zeros(2, 2)}, "it has conv1"),
    ):
        answer = run("models", "import", save(tmp_path / "x.pth", content))
        assert answer.code == 2
        assert part in answer.sentence
    assert "no file" in run("models", "import", tmp_path / "nowhere.pth").sentence


def test_options_that_cannot_be(tmp_path: Path, run: Run, own_models: Path) -> None:
    path = save(tmp_path / "x.pth", gemini(2, width=8))
    for words, part in (
        (["--spacing", "0"], "more than 0 mm"),
        (["--intensity", "loud"], "percentile"),
        (["--name", "With Space"], "cannot be the name"),
    ):
        answer = run("models", "import", path, *words)
        assert answer.code == 2
        assert part in answer.sentence
    assert not own_models.exists()
    assert run("models", "import", path, "--name", "one").code == 0
    assert "already" in run("models", "import", path, "--name", "one").sentence


def test_an_imported_model_serves_a_pair_and_a_training(
    tmp_path: Path, run: Run, own_models: Path
) -> None:
    from napari_gemini.engine.tasks.serving import choose_model
    from napari_gemini.engine.tasks.train import start_from
    from napari_gemini.networks.gemini import build_network
    from tests.models.helpers import Listener

    run("models", "import", save(tmp_path / "x.pth", gemini(2, width=8)), "--name", "heart")
    assert choose_model("heart", 2) == ("heart", own_models / "heart")
    model = load_model("heart")
    fresh = build_network(model.card.network.model_copy(update={"classes": 5}))
    start_from(fresh, "heart", {0: "background", 1: "heart"}, Listener())
    assert torch.equal(fresh.deformer.flow.bias, model.network.deformer.flow.bias)
    assert count_parameters(fresh.backbone) == count_parameters(model.network.backbone)

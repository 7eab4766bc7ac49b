from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from napari_gemini.engine.models import download
from napari_gemini.engine.models.download import DownloadError
from napari_gemini.engine.models.fetch import fetch_model
from napari_gemini.engine.models.registry import read_registry, write_registry
from napari_gemini.errors import EngineError, InputError, ModelError
from napari_gemini.learning.checkpoints import file_sha256
from napari_gemini.progress import Cancelled
from tests.cli.helpers import Run
from tests.models.helpers import Behaviour, Listener

WEIGHTS = "weights.safetensors"


def fetch(registry: str, reporter: Listener | None = None, **options: Any) -> dict[str, Any]:
    reporter = reporter or Listener()
    return fetch_model("small-2d", registry, reporter, wait_seconds=0.01, **options)


def same_files(a: Path, b: Path) -> bool:
    contents = [{p.name: p.read_bytes() for p in folder.iterdir()} for folder in (a, b)]
    return contents[0] == contents[1]


def edit_registry(folder: Path, change: Any) -> None:
    path = folder / "registry.json"
    content = json.loads(path.read_text())
    change(content["models"]["small-2d"])
    path.write_text(json.dumps(content))


def test_a_model_comes_whole(server: str, offered: Path, own_models: Path) -> None:
    reporter = Listener()
    result = fetch(f"{server}/registry.json", reporter)
    assert Path(result["folder"]) == own_models / "small-2d"
    assert result["licence"] == "BSD-3-Clause"
    assert same_files(own_models / "small-2d", offered / "small-2d")
    assert [p.name for p in own_models.iterdir()] == ["small-2d"]
    assert reporter.done
    assert "BSD-3-Clause" in reporter.messages[0]


def test_a_url_that_the_registry_lists_is_as_good_as_the_name(server: str) -> None:
    result = fetch_model(f"{server}/small-2d", f"{server}/registry.json", Listener())
    assert result["name"] == "small-2d"


def test_a_broken_connection_is_taken_up_again(
    server: str, offered: Path, own_models: Path, behaviour: Behaviour
) -> None:
    chunk = download._CHUNK
    behaviour.break_after = [3 * chunk + 5, 2 * chunk + 5]
    fetch(f"{server}/registry.json")
    ranges = [None, f"bytes={3 * chunk}-", f"bytes={5 * chunk}-"]
    assert behaviour.ranges_of(WEIGHTS) == ranges
    assert same_files(own_models / "small-2d", offered / "small-2d")


def test_a_second_call_goes_on_where_the_first_gave_up(
    server: str, offered: Path, own_models: Path, behaviour: Behaviour
) -> None:
    behaviour.break_after = [2 * download._CHUNK] * download.ATTEMPTS
    have = 2 * download._CHUNK * download.ATTEMPTS
    with pytest.raises(DownloadError, match=rf"run the same command again.*{have:,} bytes"):
        fetch(f"{server}/registry.json")
    assert not (own_models / "small-2d").exists()
    before = len(behaviour.asked)
    fetch(f"{server}/registry.json")
    # What was complete is not fetched twice.
    assert [path for path, _ in behaviour.asked[before:] if "model.json" in path] == []
    assert behaviour.ranges_of(WEIGHTS)[-1] == f"bytes={have}-"
    assert same_files(own_models / "small-2d", offered / "small-2d")


def test_a_server_without_ranges_sends_all_of_it_again(
    server: str, offered: Path, own_models: Path, behaviour: Behaviour
) -> None:
    behaviour.break_after, behaviour.ranges = [100_000], False
    fetch(f"{server}/registry.json")
    assert same_files(own_models / "small-2d", offered / "small-2d")


def test_stopping_keeps_what_has_come(server: str, own_models: Path, behaviour: Behaviour) -> None:
    with pytest.raises(Cancelled):
        fetch(f"{server}/registry.json", Listener(cancel_at=9))
    assert not (own_models / "small-2d").exists()
    fetch(f"{server}/registry.json")
    assert (own_models / "small-2d").is_dir()
    assert any(behaviour.ranges_of(WEIGHTS))


def test_another_file_than_the_registry_says_is_refused(
    server: str, offered: Path, own_models: Path
) -> None:
    path = offered / "small-2d" / WEIGHTS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="sha256 is another"):
        fetch(f"{server}/registry.json")
    assert not (own_models / "small-2d").exists()
    # Nothing of it is taken for the beginning of the right file.
    assert not list(own_models.rglob(f"{WEIGHTS}*"))
    content[-1] ^= 1
    path.write_bytes(content)
    fetch(f"{server}/registry.json")
    assert same_files(own_models / "small-2d", offered / "small-2d")


def test_the_rest_of_another_version_does_no_harm(
    server: str, offered: Path, own_models: Path, behaviour: Behaviour
) -> None:
    partial = own_models / ".fetching-small-2d"
    partial.mkdir(parents=True)
    sha256 = file_sha256(offered / "small-2d" / WEIGHTS)
    (partial / f"{WEIGHTS}.{sha256[:8]}.part").write_bytes(b"x" * 10_000_000)
    fetch(f"{server}/registry.json")
    assert behaviour.ranges_of(WEIGHTS) == [None]
    assert same_files(own_models / "small-2d", offered / "small-2d")


@pytest.mark.parametrize("named", ["as before hashes", "by its hash"])
def test_the_beginning_of_other_weights_is_not_gone_on_with(
    server: str, offered: Path, own_models: Path, behaviour: Behaviour, named: str
) -> None:
    """A model that was trained anew has as many bytes; only its hash tells it from the old one."""
    partial = own_models / ".fetching-small-2d"
    partial.mkdir(parents=True)
    middle = "" if named == "as before hashes" else ".01234567"
    (partial / f"{WEIGHTS}{middle}.part").write_bytes(b"x" * 1000)
    behaviour.refuse = [503] * download.ATTEMPTS
    with pytest.raises(DownloadError):
        fetch(f"{server}/registry.json")
    assert not list(partial.glob("*.part"))  # it takes no room while the download waits
    fetch(f"{server}/registry.json")
    assert set(behaviour.ranges_of(WEIGHTS)) == {None}
    assert same_files(own_models / "small-2d", offered / "small-2d")


def test_weights_and_card_have_to_belong_together(
    server: str, offered: Path, own_models: Path
) -> None:
    card = offered / "small-2d" / "model.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "weights_sha256": "0" * 64}))
    write_registry(offered)
    with pytest.raises(ModelError, match="not those of its model"):
        fetch(f"{server}/registry.json")
    assert not list(own_models.iterdir())


def test_a_folder_is_a_mirror(
    offered: Path, own_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The registry names a server that is not there; its copy is.
    edit_registry(offered, lambda m: m.update(url="http://127.0.0.1:9/models/small-2d/"))
    registry = str(offered / "registry.json")
    fetch(registry, mirror=str(offered), folder=tmp_path / "first")
    monkeypatch.setenv("NAPARI_GEMINI_MIRROR", str(offered))
    fetch(registry)
    monkeypatch.setenv("NAPARI_GEMINI_MIRROR", offered.as_uri())
    fetch(registry, folder=tmp_path / "third")
    for folder in (own_models, tmp_path / "first", tmp_path / "third"):
        assert same_files(folder / "small-2d", offered / "small-2d")


def test_a_registry_on_a_drive_needs_no_network(offered: Path, own_models: Path) -> None:
    moved = offered.parent / "a drive" / "models"
    shutil.copytree(offered, moved)
    fetch(str(moved / "registry.json"))
    assert same_files(own_models / "small-2d", offered / "small-2d")


def test_what_is_there_is_not_replaced(server: str, own_models: Path) -> None:
    fetch(f"{server}/registry.json")
    (own_models / "small-2d" / "README.md").write_text("my notes")
    with pytest.raises(InputError, match="already"):
        fetch(f"{server}/registry.json")
    assert (own_models / "small-2d" / "README.md").read_text() == "my notes"


def test_a_server_that_is_not_there(offered: Path) -> None:
    edit_registry(offered, lambda m: m.update(url="http://127.0.0.1:9/small-2d/"))
    with pytest.raises(DownloadError, match="check the connection"):
        fetch(str(offered / "registry.json"))


def test_a_file_that_the_server_does_not_have(server: str, offered: Path) -> None:
    (offered / "small-2d" / "README.md").unlink()
    with pytest.raises(DownloadError, match="404"):
        fetch(f"{server}/registry.json")


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_server_that_cannot_serve_just_now_is_asked_again(
    server: str, offered: Path, own_models: Path, behaviour: Behaviour, status: int
) -> None:
    behaviour.refuse = [status] * (download.ATTEMPTS - 1)
    fetch(f"{server}/registry.json")
    assert len(behaviour.ranges_of(WEIGHTS)) == download.ATTEMPTS
    assert same_files(own_models / "small-2d", offered / "small-2d")


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_cannot_serve_at_all_is_not_a_wrong_address(
    server: str, behaviour: Behaviour, status: int
) -> None:
    behaviour.refuse = [status] * download.ATTEMPTS
    with pytest.raises(DownloadError, match=rf"{status}.*cannot serve it now.*again later") as e:
        fetch(f"{server}/registry.json")
    assert "correct the address" not in str(e.value)
    assert len(behaviour.ranges_of(WEIGHTS)) == download.ATTEMPTS


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_wrong_address_is_not_asked_again(server: str, behaviour: Behaviour, status: int) -> None:
    behaviour.refuse = [status]
    with pytest.raises(DownloadError, match=rf"{status}.*correct the address"):
        fetch(f"{server}/registry.json")
    assert behaviour.ranges_of(WEIGHTS) == [None]


def test_a_file_that_is_not_there_is_the_mirrors_or_the_registrys(
    offered: Path, tmp_path: Path
) -> None:
    registry = str(offered / "registry.json")
    with pytest.raises(DownloadError, match=r"There is no file .*: complete the mirror"):
        fetch(registry, mirror=str(tmp_path))
    (offered / "small-2d" / "README.md").unlink()
    with pytest.raises(DownloadError, match=r"There is no file .*: correct the registry"):
        fetch(registry)


def test_a_model_elsewhere_goes_by_its_folder(run: Run, offered: Path, tmp_path: Path) -> None:
    words = ("models", "fetch", "small-2d", "--registry", offered / "registry.json")
    answer = run(*words, "--into", tmp_path / "elsewhere")
    assert answer.code == 0, answer.err
    folder = tmp_path / "elsewhere" / "small-2d"
    assert f"Use it with --model {folder}, or train from it with --init {folder}" in answer.out
    assert "Use it with --model small-2d," in run(*words).out


def test_a_model_that_the_registry_does_not_have(offered: Path) -> None:
    registry = str(offered / "registry.json")
    for spec in ("other", "http://127.0.0.1:9/other/"):
        with pytest.raises(InputError, match="without a known hash nothing is fetched"):
            fetch_model(spec, registry, Listener())


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda m: m.pop("licence"), "licence"),
        (lambda m: m["files"].pop(WEIGHTS), "is missing"),
        (lambda m: m["files"][WEIGHTS].pop("sha256"), "sha256"),
        (lambda m: m["files"][WEIGHTS].update(sha256="abc"), "sha256"),
        (lambda m: m["files"].update({"../../evil.py": m["files"][WEIGHTS]}), "evil"),
    ],
)
def test_a_registry_has_to_be_complete(offered: Path, change: Any, part: str) -> None:
    edit_registry(offered, change)
    with pytest.raises(InputError, match=rf"is not a registry of models .*{part}"):
        read_registry(str(offered / "registry.json"))


def test_a_registry_that_is_not_complete_says_what_is_needed(offered: Path) -> None:
    edit_registry(offered, lambda m: m.pop("url"))
    with pytest.raises(InputError, match=r"url: .*; every model needs a url, a licence and files,"):
        read_registry(str(offered / "registry.json"))


def test_what_is_no_registry(tmp_path: Path, server: str) -> None:
    path = tmp_path / "registry.json"
    with pytest.raises(InputError, match="cannot be read"):
        read_registry(str(path))
    path.write_text("<html>")
    with pytest.raises(InputError, match="no JSON"):
        read_registry(str(path))
    path.write_text('{"schema_version": 99}')
    with pytest.raises(InputError, match="newer version"):
        read_registry(str(path))
    with pytest.raises(InputError, match="cannot be fetched"):
        read_registry(f"{server}/nowhere.json")


def test_a_registry_that_the_server_cannot_serve_just_now(
    server: str, offered: Path, behaviour: Behaviour
) -> None:
    behaviour.refuse = [503]
    with pytest.raises(InputError, match=r"503.*cannot serve it now.*again later"):
        read_registry(f"{server}/small-2d/{WEIGHTS}")


def test_names_that_cannot_be_folders(offered: Path) -> None:
    content = json.loads((offered / "registry.json").read_text())
    content["models"]["../evil"] = content["models"]["small-2d"]
    (offered / "registry.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="cannot be the name of a model"):
        fetch_model("../evil", str(offered / "registry.json"), Listener())


def test_a_disk_that_is_too_small_is_said_first(offered: Path, own_models: Path) -> None:
    edit_registry(offered, lambda m: m["files"][WEIGHTS].update(size=1 << 60))
    with pytest.raises(EngineError, match="small-2d"):
        fetch(str(offered / "registry.json"))
    assert not (own_models / "small-2d").exists()

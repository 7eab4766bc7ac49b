"""Folders that appear whole or not at all, settings from options, and what the demo decides."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from napari_gemini.engine.tasks.result_folder import (
    case_name,
    check_result_file,
    check_result_folder,
    result_folder,
    uninterrupted,
)
from napari_gemini.errors import EngineError, InputError

KNOWN = frozenset(["a.txt", "b.txt"])


def test_a_result_appears_at_the_end(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "er" / "out"
    with result_folder(final, KNOWN) as folder:
        (folder / "a.txt").write_text("a")
        assert not final.exists()
        assert folder.parent == final.parent
    assert (final / "a.txt").read_text() == "a"
    assert [path.name for path in final.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_an_error_leaves_the_former_result(tmp_path: Path, error: type[BaseException]) -> None:
    final = tmp_path / "out"
    with result_folder(final, KNOWN) as folder:
        (folder / "a.txt").write_text("old")

    def fail() -> None:
        with result_folder(final, KNOWN) as folder:
            (folder / "b.txt").write_text("new")
            raise error(28, "No space left on device") if error is OSError else error

    with pytest.raises(EngineError if error is OSError else error):
        fail()
    assert [path.name for path in final.iterdir()] == ["a.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_error_leaves_no_parents(tmp_path: Path) -> None:
    def fail() -> None:
        with result_folder(tmp_path / "deep" / "out", KNOWN):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_new_result_replaces_the_whole_former_one(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        with result_folder(tmp_path / "out", KNOWN) as folder:
            (folder / name).touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.txt"]


def test_places_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for place in ("file", "file/below", "mine", "here", "."):
        with pytest.raises(InputError):
            check_result_folder(tmp_path / place, KNOWN)
    with pytest.raises(InputError):
        check_result_folder(tmp_path, KNOWN)
    for place in ("mine", "missing/report.json"):
        with pytest.raises(InputError):
            check_result_file(tmp_path / place)
    check_result_file(tmp_path / "report.json")
    assert not (tmp_path / "report.json").exists()


def test_ctrl_c_waits_for_the_exchange_of_folders() -> None:
    steps = []

    def work() -> None:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            steps.append("inside")
        steps.append("after")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["inside"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("x/a.nii.gz", "a"),
        ("a.b.NII", "a.b"),
        ("a b.png", "a_b"),
        ("series", "series"),
        (".nii", "nii"),
        ("äö.tif", "_"),
    ],
)
def test_case_names(path: str, name: str) -> None:
    assert case_name(path) == name

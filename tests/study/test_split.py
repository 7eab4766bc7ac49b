from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_gemini.errors import InputError
from napari_gemini.study.split import read_split

GOOD = {
    "labels": {"0": "background", "1": "a"},
    "labelled": {"seed0": ["x"], "seed1": ["y"]},
    "pool": ["x", "y", "z"],
    "test": ["t"],
    "same_person": [["y", "z"]],
    "note": "anything",
}
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def write(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "split.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_roles(tmp_path: Path) -> None:
    split = read_split(write(tmp_path, GOOD))
    assert split.roles("seed1") == {
        "y": "labelled", "x": "unlabelled", "z": "unlabelled", "t": "test"
    }  # fmt: skip
    assert split.roles(None)["x"] == "labelled"
    assert set(split.roles("seed0", all_labels=True).values()) == {"labelled", "test"}
    assert split.persons() == {"y": "y", "z": "y"}
    scheme = split.scheme()
    assert scheme is not None
    assert scheme.names == {1: "a"}
    with pytest.raises(InputError, match=r"no seed 'seed9'.*seed0, seed1"):
        split.roles("seed9")


def test_labels_are_optional(tmp_path: Path) -> None:
    split = read_split(write(tmp_path, {"labelled": {"s": ["x"]}, "pool": ["x", "y"]}))
    assert split.scheme() is None
    only_background = {**GOOD, "labels": {"0": "background"}}
    assert read_split(write(tmp_path, only_background)).scheme() is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labelled": {}}, "no labelled case"),
        ({"labelled": {"seed0": []}}, "no labelled case"),
        ({"test": ["x"]}, "the case x both"),
        ({"same_person": [["x", "t"]]}, "one person .x, t. both"),
        ({"pool": "all"}, "pool"),
        ({"labels": {"1": "a", "2": "A"}}, "same name"),
    ],
)
def test_bad_splits_are_refused(tmp_path: Path, change: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_split(write(tmp_path, {**GOOD, **change}))


def test_files_that_are_no_split(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_split(tmp_path / "nothing.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_split(write(tmp_path, "{"))
    with pytest.raises(InputError, match="not a split file"):
        read_split(write(tmp_path, [1, 2]))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")
@pytest.mark.parametrize("name", ["hippocampus", "heart2d", "brain"])
def test_shared_splits_are_understood(name: str) -> None:
    split = read_split(SHARED / name / "split.json")
    roles = list(split.roles("seed0").values())
    assert roles.count("labelled") == 5
    assert roles.count("test") == len(split.test)

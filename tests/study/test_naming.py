from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_gemini.errors import InputError
from napari_gemini.study.naming import by_case, case_id, check_name, find_images, is_dicom_series


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub-01_T1w.nii.gz", "sub-01_T1w"),
        ("IMG.001.nrrd", "IMG.001"),
        ("A.PNG", "A"),
        ("a scan (2).tif", "a_scan__2_"),
        ("-x.nii", "_x"),
        ("Kopf_Ü.mha", "Kopf__"),
        ("series3", "series3"),
    ],
)
def test_case_ids(name: str, expected: str) -> None:
    assert case_id(Path("some/folder") / name) == expected


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_case_ids_are_always_allowed(name: str) -> None:
    try:
        found = case_id(name + ".nii.gz")
    except InputError:
        return
    assert re.fullmatch(r"[A-Za-z0-9._-]+", found)
    assert check_name(found, "case") == found


def test_names_that_no_folder_should_have() -> None:
    for name in ("", "..", "a/b", ".hidden", "-rf", "a b"):
        with pytest.raises(InputError, match="cannot be the name of a run"):
            check_name(name, "run")
    with pytest.raises(InputError, match="rename the file"):
        case_id("_.png")


def make(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_files_patterns_and_folders(tmp_path: Path) -> None:
    scans = [tmp_path / "in" / n for n in ("b.nii.gz", "a.nii.gz", "c.png")]
    make(*scans, tmp_path / "in" / ".hidden.nii.gz", tmp_path / "in" / "notes.txt")
    inside = sorted(scans)
    assert find_images([tmp_path / "in"]) == inside
    assert find_images([f"{tmp_path}/in/*.nii.gz"]) == inside[:2]
    assert find_images([f"{tmp_path}/i*"]) == inside
    assert find_images([scans[0], str(scans[0]), tmp_path / "in" / ".." / "in"]) == [
        scans[0], scans[1], scans[2]
    ]  # fmt: skip
    missing = tmp_path / "missing.nii.gz"
    assert find_images([missing]) == [missing]  # reading it says what is wrong


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    assert find_images(["a.png"]) == [tmp_path / "a.png"]


def test_dicom_folders_are_one_image_each(tmp_path: Path) -> None:
    make(tmp_path / "p1" / "1.dcm", tmp_path / "p1" / "2.dcm", tmp_path / "empty" / "readme.txt")
    (tmp_path / "p2").mkdir()
    (tmp_path / "p2" / "IM0001").write_bytes(b"\0" * 128 + b"DICM")
    assert find_images([tmp_path / "p1"]) == [tmp_path / "p1"]
    assert find_images([tmp_path]) == [tmp_path / "p1", tmp_path / "p2"]
    assert not is_dicom_series(tmp_path / "empty")
    assert list(by_case(find_images([tmp_path]), "images")) == ["p1", "p2"]


def test_sources_that_name_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image"):
        find_images([tmp_path / "empty"])
    with pytest.raises(InputError, match="No image matches"):
        find_images([f"{tmp_path}/*.nii.gz"])


@pytest.mark.parametrize("second", ["x/a.nii.gz", "a.png", "A.nii.gz"])
def test_two_files_for_one_case_are_refused(second: str) -> None:
    with pytest.raises(InputError, match="would both be the images"):
        by_case([Path("a.nii.gz"), Path(second)], "images")

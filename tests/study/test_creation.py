from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import napari_gemini.study.creation as creation
from napari_gemini.errors import EngineError, InputError, StudyError
from napari_gemini.phantom.cohort import make_cohort
from napari_gemini.phantom.files import write_cohort
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.study.study import Study
from napari_gemini.volumes.reading import read_labels
from tests.study.helpers import (
    SHAPE,
    as_ordinary_user,
    contents,
    labels,
    read_only_copy,
    write_map,
    write_scan,
)


def roles(study: Study) -> dict[str, str]:
    return {case.id: case.role for case in study.cases}


def test_split_decides_roles_and_which_labels_come_in(study: Study) -> None:
    assert roles(study) == {
        "a": "labelled", "b": "labelled", "c": "unlabelled", "d": "unlabelled", "e": "test"
    }  # fmt: skip
    assert sorted(p.name for p in (study.folder / "labels").iterdir()) == ["a.nii.gz", "b.nii.gz"]
    for seed, name in enumerate("ab"):
        found = study.load_labels(name)
        assert found is not None
        assert np.array_equal(found.data, labels(seed))
    assert study.load_labels("c") is None
    assert study.scheme.names == {1: "left part", 2: "right part"}
    assert study.case("a").status == "done"
    assert study.case("c").status == "todo"
    assert study.grid.shape == (16, 16, 16)
    assert study.grid.spacings == (2.0, 2.0, 2.0)
    assert study.dimension == 3
    assert study.spacing_known


def test_all_labels_means_the_pool_and_never_the_test_cases(tmp_path: Path, data: Path) -> None:
    write_map(data / "labels" / "e.nii.gz", labels(4))
    study = Study.create(
        tmp_path / "s", [data / "images"], data / "labels", data / "split.json", all_labels=True
    )
    assert roles(study) == dict.fromkeys("abcd", "labelled") | {"e": "test"}
    assert not study.has_labels("e")
    assert len(study.cases_with("labelled", labels=True)) == 4
    assert study.cases_with("labelled", labels=False) == []


def test_other_seed_and_images_beside_the_split(tmp_path: Path, data: Path) -> None:
    write_scan(data / "images" / "stranger.nii.gz", 9)
    study = Study.create(
        tmp_path / "s", [data / "images"], data / "labels", data / "split.json", "seed1"
    )
    assert [c.id for c in study.cases_with("labelled")] == ["b", "c"]
    assert "stranger" not in roles(study)


def test_without_split_what_has_labels_is_labelled(tmp_path: Path, data: Path) -> None:
    study = Study.create(tmp_path / "s", [data / "images"], data / "labels")
    assert roles(study) == dict.fromkeys("abcd", "labelled") | {"e": "unlabelled"}
    assert study.scheme.names == {1: "label 1", 2: "label 2"}


def test_without_labels_a_study_to_label_by_hand(tmp_path: Path, data: Path) -> None:
    study = Study.create(tmp_path / "s", [data / "images"])
    assert set(roles(study).values()) == {"unlabelled"}
    with_split = Study.create(tmp_path / "t", [data / "images"], split=data / "split.json")
    assert [c.status for c in with_split.cases_with("labelled")] == ["todo", "todo"]


def test_spacing_align_and_scheme_are_taken(tmp_path: Path, data: Path) -> None:
    scheme = LabelScheme(names={1: "x", 2: "y", 7: "z"}, ignore=9)
    study = Study.create(
        tmp_path / "s",
        [data / "images"],
        data / "labels",
        scheme=scheme,
        spacing=1.0,
        align="affine",
    )
    assert study.scheme == scheme
    assert study.grid.spacings == (1.0, 1.0, 1.0)
    assert study.grid.shape == (32, 32, 16)
    assert study.file.reference == "a"


def test_images_stay_and_are_only_read(tmp_path: Path, data: Path) -> None:
    before = contents(data)
    study = Study.create(tmp_path / "s", [data / "images"], data / "labels", data / "split.json")
    study.save_labels("a", labels(7))
    study.placements()
    assert contents(data) == before
    assert study.image_path("a") == data / "images" / "a.nii.gz"
    assert study.case("a").relative == "../data/images/a.nii.gz"


def test_pictures_get_png_labels(tmp_path: Path) -> None:
    write_cohort(tmp_path / "c", make_cohort(9, 2, seed=1))
    source = tmp_path / "c"
    study = Study.create(
        tmp_path / "s", [f"{source}/images/*.png"], source / "labels", source / "split.json"
    )
    assert study.dimension == 2
    assert not study.spacing_known
    assert study.labels_path("phantom_001").name == "phantom_001.png"
    copied = read_labels(study.labels_path("phantom_001")).data
    assert np.array_equal(copied, read_labels(source / "labels" / "phantom_001.png").data)
    assert study.placement("phantom_001").method == "center"


def test_persons_come_from_same_person(tmp_path: Path, data: Path) -> None:
    split = json.loads((data / "split.json").read_text()) | {"same_person": [["c", "d"]]}
    (data / "split.json").write_text(json.dumps(split))
    study = Study.create(tmp_path / "s", [data / "images"], split=data / "split.json")
    assert [c.person for c in study.cases] == [None, None, "c", "c", None]


def test_overlapping_masks_are_taken_by_name_or_value(overlapping: Study) -> None:
    names = sorted(p.name for p in (overlapping.folder / "labels" / "a").iterdir())
    assert names == ["heart.nii.gz", "left_lung.nii.gz"]
    masks = overlapping.load_masks("a")
    assert masks is not None
    assert masks.shape == (2, *SHAPE)
    assert np.array_equal(masks[0], labels(5) > 0)
    assert roles(overlapping) == {"a": "labelled", "b": "unlabelled"}


def test_an_empty_folder_may_become_a_study(tmp_path: Path, data: Path) -> None:
    (tmp_path / "s").mkdir()
    assert Study.create(tmp_path / "s", [data / "images"]).name == "s"


def foreign_labels(data: Path) -> dict:
    write_map(data / "labels" / "b.nii.gz", np.full(SHAPE, 7, np.uint8))
    return {"labels_dir": data / "labels", "split": data / "split.json"}


def other_shape(data: Path) -> dict:
    write_map(data / "labels" / "b.nii.gz", labels(1, (12, 10, 9)))
    return {"labels_dir": data / "labels"}


def other_place(data: Path) -> dict:
    write_map(data / "labels" / "b.nii.gz", labels(1), shift=3.0)
    return {"labels_dir": data / "labels"}


def one_scan(data: Path) -> dict:
    return {"images": [data / "images" / "a.nii.gz"]}


def no_scan(data: Path) -> dict:
    return {"images": []}


def missing_scan(data: Path) -> dict:
    return {"images": [data / "images", data / "nothing.nii.gz"]}


def empty_scan(data: Path) -> dict:
    (data / "images" / "c.nii.gz").write_bytes(b"")
    return {}


def constant_scan(data: Path) -> dict:
    write_map(data / "images" / "c.nii.gz", np.ones(SHAPE, np.uint8))
    return {}


def picture_among_volumes(data: Path) -> dict:
    write_scan(data / "images" / "p.nii.gz", 3, (12, 10))
    return {}


def huge_scan(data: Path) -> dict:
    write_scan(data / "images" / "z.nii.gz", 3, (50, 10, 8))
    return {}


def twice(data: Path) -> dict:
    write_scan(data / "more" / "a.nii.gz", 3)
    return {"images": [data / "images", data / "more"]}


def labels_twice(data: Path) -> dict:
    write_map(data / "labels" / "a.nii", labels(0))
    return {"labels_dir": data / "labels"}


def no_labels_folder(data: Path) -> dict:
    return {"labels_dir": data / "nowhere"}


def labels_of_others(data: Path) -> dict:
    for name in "abcd":
        (data / "labels" / f"{name}.nii.gz").rename(data / "labels" / f"{name}_seg.nii.gz")
    return {"labels_dir": data / "labels"}


def split_without_image(data: Path) -> dict:
    (data / "images" / "d.nii.gz").unlink()
    return {"split": data / "split.json"}


def split_without_label(data: Path) -> dict:
    (data / "labels" / "b.nii.gz").unlink()
    return {"split": data / "split.json", "labels_dir": data / "labels"}


def wrong_seed(data: Path) -> dict:
    return {"split": data / "split.json", "seed": "seed7"}


def seed_without_split(data: Path) -> dict:
    return {"seed": "seed0"}


def only_background(data: Path) -> dict:
    for name in "abcd":
        write_map(data / "labels" / f"{name}.nii.gz", np.zeros(SHAPE, np.uint8))
    return {"labels_dir": data / "labels"}


def bad_spacing(data: Path) -> dict:
    return {"spacing": -1.0}


def units_mixed(data: Path) -> dict:
    shutil.rmtree(data / "images")
    write_scan(data / "images" / "p.png", 3, (12, 10))
    write_scan(data / "images" / "q.nii.gz", 3, (12, 10))
    return {}


BAD = {
    foreign_labels: "holds the label 7, which the study's label scheme does not have",
    other_shape: "labels have to be drawn on the grid of their image",
    other_place: "away from .*grid of their image",
    one_scan: "at least two scans and has only one",
    no_scan: "at least two scans and has no image",
    missing_scan: "nothing.nii.gz does not exist",
    empty_scan: "c.nii.gz is empty",
    constant_scan: "c.nii.gz is constant",
    picture_among_volumes: "p.nii.gz is 2D and .*a.nii.gz is 3D",
    huge_scan: "z.nii.gz is .* times as large as the other scans",
    twice: "would both be the images of the case a",
    labels_twice: "would both be the labels of the case a",
    no_labels_folder: "nowhere does not exist",
    labels_of_others: "No label map in .* has the name of an image",
    split_without_image: "The split names d, and there is no such image",
    split_without_label: "counts b among the labelled",
    wrong_seed: "no seed 'seed7'",
    seed_without_split: "give the split",
    only_background: "nothing but background",
    bad_spacing: "has to be above 0 mm",
    units_mixed: "convert them to one format",
}


@pytest.mark.parametrize("damage", BAD, ids=lambda f: f.__name__)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, data: Path, damage: object
) -> None:
    options = damage(data)  # type: ignore[operator]
    before = contents(tmp_path)
    with pytest.raises(InputError, match=BAD[damage]) as caught:  # type: ignore[index]
        Study.create(tmp_path / "deep" / "study", **{"images": [data / "images"], **options})
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("missing", "lacks the mask heart"),
        ("unknown", "no label of the scheme"),
        ("values", "more than two values"),
    ],
)
def test_bad_masks_are_named(tmp_path: Path, data: Path, change: str, says: str) -> None:
    masks = tmp_path / "masks" / "a"
    write_map(masks / "left_lung.nii.gz", (labels(0) > 0).astype(np.uint8))
    if change != "missing":
        write_map(masks / "heart.nii.gz", (labels(0) > 0).astype(np.uint8))
    if change == "unknown":
        write_map(masks / "spine.nii.gz", (labels(0) > 0).astype(np.uint8))
    if change == "values":
        write_map(masks / "heart.nii.gz", labels(0))
    scheme = LabelScheme(names={1: "Left lung", 2: "Heart"}, overlapping=True)
    with pytest.raises(InputError, match=says):
        Study.create(tmp_path / "s", [data / "images"], tmp_path / "masks", scheme=scheme)
    assert not (tmp_path / "s").exists()


def test_what_exists_is_never_overwritten(tmp_path: Path, data: Path, study: Study) -> None:
    before = contents(study.folder)
    for place in (study.folder, data / "split.json"):
        with pytest.raises(InputError, match="exists and is not an empty folder"):
            Study.create(place, [data / "images"])
    with pytest.raises(InputError, match="is a file"):
        Study.create(data / "split.json" / "s", [data / "images"])
    assert contents(study.folder) == before


@pytest.mark.skipif(os.name == "nt", reason="permissions work differently on Windows")
def test_read_only_place(data: Path) -> None:
    code = (
        "try: Study.create(sys.argv[1] + '/s', [sys.argv[1] + '/images'])\n"
        "except InputError as error: print(error)\n"
    )
    with read_only_copy(data) as folder:
        before = contents(folder)
        assert "read-only" in as_ordinary_user(code, folder)
        assert contents(folder) == before


def test_full_disk_leaves_nothing(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    # A file size limit makes real writes fail as a full disk does (EFBIG instead of ENOSPC).
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
    try:
        with pytest.raises(EngineError, match="disk is full"):
            Study.create(tmp_path / "s", [data / "images"], data / "labels")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]


def test_ctrl_c_leaves_nothing(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = creation.read_volume

    def interrupted(path: Path, **options: object) -> object:
        if path.name == "c.nii.gz":
            raise KeyboardInterrupt
        return read(path, **options)

    monkeypatch.setattr(creation, "read_volume", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Study.create(tmp_path / "s", [data / "images"], data / "labels")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]


def test_killed_creation_is_no_study(tmp_path: Path, data: Path) -> None:
    code = (
        "import sys, napari_gemini.study.study as s\n"
        "print('ready', flush=True)\n"
        "s.Study.create(sys.argv[1], [sys.argv[2] + '/images'], sys.argv[2] + '/labels')\n"
        "print('done', flush=True)\n"
    )
    for number, delay in enumerate((0.0, 0.01, 0.03)):
        folder = tmp_path / f"s{number}"
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(folder), str(data)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(delay)
        child.kill()
        child.wait()
        child.stdout.close()
        if folder.exists():
            study = Study(folder)
            assert all(study.load_labels(c.id) is not None for c in study.cases_with("labelled"))
        else:
            with pytest.raises(StudyError, match="is no study"):
                Study(folder)
            assert Study.create(folder, [data / "images"]).cases

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_gemini.errors import InputError, StudyError
from napari_gemini.study.files import SCHEMA_VERSION, relative_path
from napari_gemini.study.landmarks import LandmarkPair
from napari_gemini.study.placements import PLACEMENTS_FILE
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.study.status import study_status
from napari_gemini.study.study import Study
from napari_gemini.volumes.grid import image_to_grid, place_by_center_of_mass
from tests.study.helpers import SHAPE, contents, labels, write_map, write_scan


def edit(study: Study, **changes: object) -> None:
    path = study.folder / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_study_opens_as_it_was_made(study: Study) -> None:
    again = Study.open(study.folder)
    assert again.file == study.file
    assert again.grid == study.grid
    assert again.scheme == study.scheme
    assert again.name == "study"


def test_paths_of_runs_and_predictions(study: Study) -> None:
    assert study.runs_dir == study.folder / "runs"
    assert study.run_dir("first") == study.folder / "runs" / "first"
    assert study.prediction_path("first", "c") == study.predictions_dir("first") / "c.nii.gz"
    for bad in ("../out", "", ".hidden"):
        with pytest.raises(InputError, match="cannot be the name of a run"):
            study.predictions_dir(bad)
    with pytest.raises(InputError, match="has no case 'x'"):
        study.case("x")


def test_newer_layout_is_refused_and_left_alone(study: Study) -> None:
    edit(study, schema_version=SCHEMA_VERSION + 1, something_new={"a": 1})
    before = contents(study.folder)
    with pytest.raises(StudyError, match=r"newer napari-gemini .* update"):
        Study(study.folder)
    assert contents(study.folder) == before


def test_unknown_keys_survive_a_change(study: Study) -> None:
    edit(study, remark="keep me")
    Study(study.folder).set_case("c", status="started")
    assert json.loads((study.folder / "study.json").read_text())["remark"] == "keep me"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "is damaged"),
        ('{"schema_version": 1}', "is damaged .dimension"),
    ],
)
def test_damaged_study_files_are_named(study: Study, text: str, says: str) -> None:
    (study.folder / "study.json").write_text(text)
    with pytest.raises(StudyError, match=says):
        Study(study.folder)


def test_case_lists_that_cannot_be(study: Study) -> None:
    cases = json.loads((study.folder / "study.json").read_text())["cases"]
    edit(study, cases=[cases[0], cases[0]])
    with pytest.raises(StudyError, match="listed twice"):
        Study(study.folder)
    edit(study, cases=[cases[0] | {"id": "../../etc"}])
    with pytest.raises(StudyError, match="a case id consists of"):
        Study(study.folder)


def test_what_is_no_study(tmp_path: Path, data: Path) -> None:
    with pytest.raises(StudyError, match="is no study"):
        Study(tmp_path)
    with pytest.raises(StudyError, match="is no study") as caught:
        Study(tmp_path / "nothing")
    assert str(caught.value).count("napari-gemini study new") == 1
    with pytest.raises(StudyError, match="is a file"):
        Study(data / "split.json")


# ---------------------------------------------------------------------- images


def test_study_and_images_move_together(tmp_path: Path, study: Study) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("study", "data"):
        (tmp_path / name).rename(moved / name)
    again = Study(moved / "study")
    assert again.image_path("a") == moved / "data" / "images" / "a.nii.gz"
    assert again.load_image("a").shape == SHAPE


def test_study_moves_alone(tmp_path: Path, study: Study) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    study.folder.rename(tmp_path / "deep" / "er" / "study")
    again = Study(tmp_path / "deep" / "er" / "study")
    assert again.image_path("a") == tmp_path / "data" / "images" / "a.nii.gz"


def test_a_lost_image_is_named_and_can_be_found_again(tmp_path: Path, study: Study) -> None:
    (tmp_path / "data" / "images").rename(tmp_path / "data" / "scans")
    with pytest.raises(StudyError, match=r"image of the case b is no longer at .*b.nii.gz"):
        study.load_image("b")
    write_scan(tmp_path / "data" / "scans" / "c.nii.gz", 5, (9, 9, 9))  # not the old one
    assert study.relocate_images([tmp_path / "data" / "scans"]) == ["a", "b", "d", "e"]
    assert Study(study.folder).load_image("b").shape == SHAPE


def test_an_exchanged_image_is_noticed(tmp_path: Path, study: Study) -> None:
    write_scan(tmp_path / "data" / "images" / "b.nii.gz", 5, (9, 9, 9))
    with pytest.raises(StudyError, match="case b has the size"):
        study.load_image("b")


@pytest.mark.skipif(os.name == "nt", reason="POSIX paths")
def test_only_near_images_get_relative_paths() -> None:
    study = Path("/home/ann/project/study")
    assert relative_path(Path("/home/ann/project/scans/a.nii"), study) == "../scans/a.nii"
    assert relative_path(study / "images" / "a.nii", study) == "images/a.nii"
    assert relative_path(Path("/data/a.nii"), study) is None
    assert relative_path(Path("/data/a.nii"), Path("/study")) is None


def test_outline_has_the_place_and_no_voxels(study: Study) -> None:
    outline, image = study.outline("a"), study.load_image("a")
    assert outline.shape == image.shape
    assert np.array_equal(outline.affine, image.affine)
    assert outline.data.strides == (0, 0, 0)
    assert study.outline("a") is outline


# ---------------------------------------------------------------------- placements


def test_placements_are_worked_out_once(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    first = study.placements()
    assert set(first) == set("abcde")
    expected = place_by_center_of_mass(study.load_image("a"), study.grid)
    assert np.array_equal(first["a"].matrix, expected.matrix)
    again = Study(study.folder)
    monkeypatch.setattr(again, "load_image", None)
    assert np.array_equal(again.placement("a").matrix, first["a"].matrix)
    assert again.placement("a").method == "center"


def test_a_changed_image_is_placed_anew(tmp_path: Path, study: Study) -> None:
    before = study.placement("a").matrix
    write_scan(tmp_path / "data" / "images" / "a.nii.gz", 0, SHAPE, shift=40.0)
    after = Study(study.folder).placement("a").matrix
    assert np.abs(after - before).max() > 30
    assert len(json.loads((study.folder / PLACEMENTS_FILE).read_text())) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a:1": {}}', '{"a:1": {"matrix": 1}}'])
def test_a_broken_cache_is_worked_out_anew(study: Study, text: str) -> None:
    before = study.placement("a").matrix
    (study.folder / PLACEMENTS_FILE).write_text(text)
    assert np.array_equal(Study(study.folder).placement("a").matrix, before)


def test_affine_alignment_goes_to_one_reference(tmp_path: Path, data: Path) -> None:
    for name in "bc":
        write_scan(data / "images" / f"{name}.nii.gz", 0, SHAPE, shift=10.0)
        write_map(data / "labels" / f"{name}.nii.gz", labels(0), shift=10.0)
    study = Study.create(
        tmp_path / "s", [data / "images"], data / "labels", data / "split.json", align="affine"
    )
    assert study.placement("a").method == "center"
    placement = study.placement("b")
    outside = study.place(study.load_image("c"))
    assert np.allclose(placement.matrix, outside.matrix)
    on_grid = [image_to_grid(study.load_image(n), study.grid, study.placement(n)) for n in "ab"]
    assert np.corrcoef(on_grid[0].ravel(), on_grid[1].ravel())[0, 1] > 0.9


def test_a_scan_from_outside_is_placed_the_same_way(study: Study) -> None:
    assert np.array_equal(study.place(study.load_image("a")).matrix, study.placement("a").matrix)


# ---------------------------------------------------------------------- changes


def test_roles_and_persons_change(study: Study) -> None:
    study.set_case("d", role="test", person="person 1")
    case = Study(study.folder).case("d")
    assert (case.role, case.status, case.person) == ("test", "todo", "person 1")
    study.cases[0].role = "test"  # a copy
    assert study.case("a").role == "labelled"


def test_scheme_changes_when_labels_still_fit(study: Study) -> None:
    study.set_scheme(LabelScheme(names={1: "a", 2: "b", 3: "c"}, ignore=9))
    assert Study(study.folder).scheme.ignore == 9
    with pytest.raises(StudyError, match=r"labels of a do not fit .* holds the label 2"):
        study.set_scheme(LabelScheme(names={1: "a"}))
    with pytest.raises(StudyError, match="another kind"):
        study.set_scheme(LabelScheme(names={1: "a", 2: "b"}, overlapping=True))


def test_overlapping_scheme_keeps_its_masks(overlapping: Study) -> None:
    names = {1: "Left lung", 2: "Heart", 3: "Spine"}
    overlapping.set_scheme(LabelScheme(names=names, overlapping=True))
    # The new label is not drawn yet, so the case is no longer complete.
    assert not overlapping.has_labels("a")
    write_map(overlapping.labels_path("a") / "spine.nii.gz", np.zeros(SHAPE, np.uint8))
    assert overlapping.has_labels("a")
    with pytest.raises(StudyError, match="lacks heart, spine"):
        overlapping.set_scheme(LabelScheme(names={1: "Left lung"}, overlapping=True))


def test_another_program_keeps_writers_out_and_readers_in(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Study(study.folder)
    with study.lock("labelling by hand"):
        assert study.writable
        study.save_labels("a", labels(10))
        # What another process would see: a living owner that is not itself.
        monkeypatch.setattr("napari_gemini.study.folder.is_ours", lambda path: False)
        assert not other.writable
        assert other.load_labels("a") is not None
        with pytest.raises(StudyError, match="labelling by hand"):
            other.save_labels("a", labels(11))
        with pytest.raises(StudyError, match="in use by process"):
            other.set_case("a", status="todo")
    assert other.writable
    other.save_labels("a", labels(11))


def test_writers_see_what_others_changed(study: Study) -> None:
    other = Study(study.folder)
    other.set_case("c", status="started")
    study.set_case("d", status="done")
    final = Study(study.folder)
    assert (final.case("c").status, final.case("d").status) == ("started", "done")


# ---------------------------------------------------------------------- review, landmarks, status


def test_review_and_landmarks(study: Study) -> None:
    study.add_review("c", "rejected", "spill at the edge", who="Ann")
    study.add_review("c", "accepted")
    assert [row.verdict for row in Study(study.folder).review()] == ["rejected", "accepted"]
    with pytest.raises(InputError, match="has no case"):
        study.add_review("x", "accepted")
    pairs = [LandmarkPair("tip", (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))]
    path = study.save_landmarks("a", "b", pairs)
    assert path.name == "a__b.csv"
    assert study.landmarks("a", "b") == pairs
    assert study.landmarks("b", "a")[0].a == (4.0, 5.0, 6.0)
    # The pair keeps one file, whichever way round it is saved.
    assert study.save_landmarks("b", "a", study.landmarks("b", "a")) == path
    assert study.landmarks("a", "b") == pairs
    assert study.landmarks("a", "c") == []
    shutil.rmtree(study.folder / "landmarks")
    assert study.save_landmarks("a", "c", pairs).is_file()


def test_status_tells_everything(study: Study) -> None:
    study.save_labels("a", labels(10))
    study.add_review("c", "accepted")
    (study.runs_dir / "first").mkdir()
    write_map(study.prediction_path("first", "c"), labels(3))
    study.image_path("e").unlink()
    status = study_status(study)
    assert json.loads(json.dumps(status)) == status
    assert status["counts"] == {
        "cases": 5, "labelled": 2, "unlabelled": 2, "test": 1, "with_labels": 2,
        "missing_images": 1,
    }  # fmt: skip
    assert status["labels"] == {"1": "left part", "2": "right part"}
    assert status["grid"] == {"shape": [16, 16, 16], "spacing": [2.0, 2.0, 2.0]}
    assert status["unit"] == "mm"
    assert status["runs"] == ["first"]
    assert status["predictions"] == {"first": 1}
    assert status["review"] == {"accepted": 1}
    assert status["in_use_by"] is None
    a, _, c, _, e = status["cases"]
    assert (a["id"], a["labels"], a["versions"], a["status"]) == ("a", True, 1, "done")
    assert a["saved"].startswith("20")
    assert (c["verdict"], c["saved"]) == ("accepted", None)
    assert not e["image_found"]
    with study.lock():
        assert study_status(study)["in_use_by"]["pid"] == os.getpid()
    shutil.rmtree(study.runs_dir)
    assert study_status(study)["runs"] == []


def test_status_of_masks(overlapping: Study) -> None:
    status = study_status(overlapping)
    assert status["overlapping"]
    assert [case["labels"] for case in status["cases"]] == [True, False]
    assert status["cases"][0]["saved"] is not None

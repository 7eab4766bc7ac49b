"""Bad input: one clear sentence, a non-zero exit, and nothing written or changed."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tests.cli.helpers import Run, everything_in, noise, run_process, save


def bad_missing(path: Path, good: Path) -> Path:
    return path / "nowhere.nii.gz"


def bad_truncated(path: Path, good: Path) -> Path:
    content = good.read_bytes()
    (path / "truncated.nii.gz").write_bytes(content[: len(content) // 2])
    return path / "truncated.nii.gz"


def bad_empty(path: Path, good: Path) -> Path:
    (path / "empty.nii.gz").touch()
    return path / "empty.nii.gz"


def bad_text(path: Path, good: Path) -> Path:
    (path / "text.nii").write_text("this is no image, only words " * 30)
    return path / "text.nii"


def bad_gzip(path: Path, good: Path) -> Path:
    # A plain NIfTI under a name that promises gzip, cut so that no reader can guess.
    (path / "wrong.nii.gz").write_bytes(b"PK\x03\x04" + bytes(600))
    return path / "wrong.nii.gz"


def bad_gzip_checksum(path: Path, good: Path) -> Path:
    content = bytearray(good.read_bytes())
    content[-6] ^= 0xFF
    (path / "checksum.nii.gz").write_bytes(bytes(content))
    return path / "checksum.nii.gz"


def bad_nan(path: Path, good: Path) -> Path:
    data = noise()
    data[3, 3, 3] = np.nan
    return save(path / "nan.nii.gz", data)


def bad_infinite(path: Path, good: Path) -> Path:
    data = noise()
    data[3, 3, 3] = np.inf
    return save(path / "inf.nii.gz", data)


def bad_constant(path: Path, good: Path) -> Path:
    return save(path / "constant.nii.gz", np.ones((16, 16, 16), np.float32))


def bad_complex(path: Path, good: Path) -> Path:
    return save(path / "complex.nii.gz", noise().astype(np.complex64))


def bad_rgb(path: Path, good: Path) -> Path:
    pixels = (noise((16, 16, 3)) * 255).astype(np.uint8)
    Image.fromarray(pixels, "RGB").save(path / "colour.png")
    return path / "colour.png"


def bad_rgb_volume(path: Path, good: Path) -> Path:
    voxels = np.zeros((16, 16, 16), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    return save(path / "colour.nii.gz", voxels)


def bad_series(path: Path, good: Path) -> Path:
    return save(path / "series.nii.gz", noise((16, 16, 16, 5)))


def bad_spacing(value: float) -> Callable[[Path, Path], Path]:
    def make(path: Path, good: Path) -> Path:
        target = path / f"spacing{value:g}.nii"
        save(target, noise())
        content = bytearray(target.read_bytes())
        content[80:84] = struct.pack("<f", value)  # pixdim[1]
        content[252:256] = struct.pack("<hh", 0, 0)  # neither qform nor sform
        target.write_bytes(bytes(content))
        return target

    return make


def bad_affine(path: Path, good: Path) -> Path:
    target = save(path / "singular.nii", noise())
    content = bytearray(target.read_bytes())
    content[252:256] = struct.pack("<hh", 0, 1)
    content[280:328] = struct.pack("<12f", *([1, 0, 0, 0] * 2 + [0, 0, 1, 0]))
    target.write_bytes(bytes(content))
    return target


SCANS = {
    "missing": (bad_missing, "does not exist"),
    "truncated": (bad_truncated, "truncated"),
    "empty": (bad_empty, "empty"),
    "no image": (bad_text, "text.nii"),
    "wrong gzip": (bad_gzip, "gzip"),
    "gzip checksum": (bad_gzip_checksum, "damaged"),
    "NaN": (bad_nan, "NaN"),
    "infinite": (bad_infinite, "infinite"),
    "constant": (bad_constant, "constant"),
    "complex": (bad_complex, "complex"),
    "RGB picture": (bad_rgb, "RGB"),
    "RGB volume": (bad_rgb_volume, "RGB"),
    "4D": (bad_series, "4D"),
    "zero spacing": (bad_spacing(0.0), "spacing"),
    "negative spacing": (bad_spacing(-1.0), "spacing"),
    "singular affine": (bad_affine, "singular"),
}


@pytest.mark.parametrize(("make", "word"), SCANS.values(), ids=SCANS.keys())
@pytest.mark.parametrize("command", ["correspond", "study"])
def test_bad_scans(
    run: Run,
    tmp_path: Path,
    scans: list[Path],
    make: Callable[[Path, Path], Path],
    word: str,
    command: str,
) -> None:
    bad = make(tmp_path, scans[0])
    before = everything_in(tmp_path)
    if command == "correspond":
        answer = run("correspond", bad, scans[0], "--out", tmp_path / "new" / "out")
    else:
        answer = run("study", "new", tmp_path / "new" / "study", scans[0], bad)
    assert answer.code == 2
    assert word in answer.sentence
    assert bad.name in answer.sentence
    assert answer.sentence.rstrip().endswith(".")
    assert "Traceback" not in answer.err
    assert everything_in(tmp_path) == before


def test_labels_on_another_grid(run: Run, tmp_path: Path, scans: list[Path]) -> None:
    labels = save(tmp_path / "labels.nii.gz", np.ones((8, 8, 8), np.uint8))
    before = everything_in(tmp_path)
    answer = run("correspond", scans[0], scans[1], "--labels", labels, "--out", tmp_path / "out")
    assert answer.code == 2
    assert "grid" in answer.sentence
    assert everything_in(tmp_path) == before


def test_labels_moved_away(run: Run, tmp_path: Path, cohort3d: Path, scans: list[Path]) -> None:
    found = nib.load(cohort3d / "labels" / scans[0].name)
    moved = found.affine.copy()
    moved[0, 3] += 1
    labels = save(tmp_path / scans[0].name, np.asarray(found.dataobj), moved)
    answer = run("study", "new", tmp_path / "s", *scans[:3], "--labels", labels.parent)
    assert answer.code == 2
    assert "mm away" in answer.sentence
    assert not (tmp_path / "s").exists()


def test_labels_outside_the_scheme(
    run: Run, tmp_path: Path, cohort3d: Path, scans: list[Path]
) -> None:
    folder = tmp_path / "labels"
    shutil.copytree(cohort3d / "labels", folder)
    found = nib.load(folder / scans[0].name)
    wrong = np.asarray(found.dataobj).copy()
    wrong[:3] = 99
    save(folder / scans[0].name, wrong, found.affine)
    words = ["study", "new", tmp_path / "s", cohort3d / "images", "--labels", folder]
    answer = run(*words, "--split", cohort3d / "split.json")
    assert answer.code == 2
    assert "99" in answer.sentence
    assert not (tmp_path / "s").exists()


def test_fewer_than_two_scans(run: Run, tmp_path: Path, scans: list[Path]) -> None:
    answer = run("study", "new", tmp_path / "s", scans[0])
    assert answer.code == 2
    assert "two" in answer.sentence
    assert list(tmp_path.iterdir()) == []


def test_no_labelled_scan(run: Run, tmp_path: Path, scans: list[Path]) -> None:
    assert run("study", "new", tmp_path / "s", *scans[:3]).code == 0
    answer = run("train", tmp_path / "s", "--steps", 1, "--device", "cpu")
    assert answer.code == 2
    assert "label" in answer.sentence


def test_scan_much_larger_than_the_others(run: Run, tmp_path: Path, scans: list[Path]) -> None:
    huge = save(tmp_path / "huge.nii.gz", noise(), np.diag([80.0, 80, 80, 1]))
    before = everything_in(tmp_path)
    answer = run("study", "new", tmp_path / "s", *scans[:3], huge)
    assert answer.code == 2
    assert "huge.nii.gz" in answer.sentence
    assert everything_in(tmp_path) == before


def test_two_and_three_dimensions(
    run: Run, tmp_path: Path, scans: list[Path], cohort2d: Path
) -> None:
    flat = next((cohort2d / "images").iterdir())
    answer = run("correspond", scans[0], flat, "--out", tmp_path / "out")
    assert answer.code == 2
    assert "2D" in answer.sentence
    assert list(tmp_path.iterdir()) == []


def test_run_of_a_newer_schema(run: Run, tmp_path: Path, cohort3d: Path) -> None:
    study = tmp_path / "s"
    words = ["study", "new", study, cohort3d / "images", "--labels", cohort3d / "labels"]
    assert run(*words, "--split", cohort3d / "split.json").code == 0
    (study / "runs" / "old").mkdir(parents=True)
    (study / "runs" / "old" / "config.json").write_text(json.dumps({"schema_version": 99}))
    for option in ("--resume", "--follow", "--stop"):
        answer = run("train", study, "--run", "old", option)
        assert answer.code == 2
        assert "newer" in answer.sentence


def test_study_of_a_newer_schema(run: Run, tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(json.dumps({"schema_version": 99}))
    answer = run("study", "status", tmp_path)
    assert answer.code == 2
    assert "newer" in answer.sentence


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--set", "weights.gsv=1"], "weights.gsv"),
        (["--set", "weights.gvs=-1"], "weights.gvs"),
        (["--set", "weights.gvs"], "key=value"),
        (["--set", "network.dimension=2"], "3D"),
        (["--set", "network=5"], "network"),
        (["--preset", "huge"], "quick"),
        (["--objective", "magic"], "objective"),
        (["--base-width", "6"], "base_width"),
        (["--resume", "--steps", "5"], "--steps"),
        (["--resume"], "no run to resume"),
        (["--stop", "--follow"], "--stop"),
        (["--follow", "--steps", "3", "--preset", "quick"], "leave out --preset, --steps"),
        (["--follow", "--resume"], "leave out --resume"),
        (["--stop", "--steps", "3"], "leave out --steps"),
        (
            ["--set", "transport.heads=3"],
            "The setting transport.heads cannot be 3: expansion has to be a multiple",
        ),
        (
            ["--set", "transport.heads=3", "--set", "transport.tokens=5"],
            "The settings transport.heads, transport.tokens do not fit: expansion has to be",
        ),
        (["--run", "a/b"], "run"),
        (["--init", "nowhere"], "nowhere"),
    ],
)
def test_bad_training_options(
    run: Run, tmp_path: Path, cohort3d: Path, words: list[str], told: str
) -> None:
    study = tmp_path / "s"
    make = ["study", "new", study, cohort3d / "images", "--labels", cohort3d / "labels"]
    assert run(*make, "--split", cohort3d / "split.json").code == 0
    answer = run("train", study, *words, "--device", "cpu")
    assert answer.code == 2
    assert told in answer.sentence
    assert not any((study / "runs").glob("*/checkpoints"))


def test_json_errors_are_json(run: Run, tmp_path: Path) -> None:
    answer = run("evaluate", tmp_path, tmp_path, "--out", tmp_path / "r.json", "--json")
    assert answer.code == 2
    assert answer.json == {"error": answer.sentence, "exit_code": 2}


def test_debug_shows_the_traceback(run: Run, tmp_path: Path) -> None:
    answer = run("study", "status", tmp_path / "nowhere", "--debug")
    assert answer.code == 2
    assert "Traceback" in answer.err


def test_results_do_not_replace_other_files(run: Run, tmp_path: Path, scans: list[Path]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    answer = run("correspond", scans[0], scans[1], "--out", tmp_path / "out")
    assert answer.code == 2
    assert "thesis.txt" in answer.sentence
    assert everything_in(tmp_path) == {"out": b"", "out/thesis.txt": b"years of work"}


def test_unknown_device_and_no_such_gpu(run: Run, tmp_path: Path, scans: list[Path]) -> None:
    answer = run("correspond", scans[0], scans[1], "--out", tmp_path / "o", "--device", "gpu")
    assert answer.code == 2
    assert "cuda:N" in answer.err
    answer = run("correspond", scans[0], scans[1], "--out", tmp_path / "o", "--device", "cuda:77")
    assert answer.code == 3
    assert "cuda" in answer.sentence.lower()
    assert list(tmp_path.iterdir()) == []


def test_a_whole_process_says_the_same(tmp_path: Path, scans: list[Path]) -> None:
    (tmp_path / "cut.nii.gz").write_bytes(gzip.compress(b"\x00" * 100))
    answer = run_process("correspond", "cut.nii.gz", scans[0], "--out", "out", cwd=tmp_path)
    assert answer.code == 2
    assert "cut.nii.gz" in answer.sentence
    assert answer.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["cut.nii.gz"]

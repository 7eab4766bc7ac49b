"""The commands as a user types them, on small phantoms."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.helpers import Answer, Run
from tests.cli.models import write_model

COMMANDS = ["demo", "study new", "study status", "train", "predict", "correspond", "propagate"]
COMMANDS += ["embed", "evaluate", "doctor"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_the_common_options(run: Run, command: str) -> None:
    answer = run(*command.split(), "--help")
    assert answer.code == 0
    assert f"napari-gemini {command}" in answer.out
    for option in ("--device", "--json", "--debug"):
        assert option in answer.out


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, napari_gemini.cli as c; c.main(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert not loaded & {
        "torch",
        "numpy",
        "scipy",
        "nibabel",
        "SimpleITK",
        "matplotlib",
        "pydantic",
    }


def test_version_and_no_command(run: Run) -> None:
    assert run("--version").out.startswith("napari-gemini ")
    assert "Commands" in run().out + run().err
    assert run("nonsense").code == 2


def make_study(run: Run, cohort: Path, folder: Path) -> Answer:
    words = ["study", "new", folder, cohort / "images", "--labels", cohort / "labels"]
    return run(*words, "--split", cohort / "split.json", "--seed", "seed1", "--json")


def test_from_study_to_scores(run: Run, cohort2d: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    made = make_study(run, cohort2d, study)
    assert made.code == 0
    assert made.json["counts"]["labelled"] == 5
    options = ["--preset", "quick", "--base-width", 4, "--steps", 2, "--seed", 3, "--device", "cpu"]
    trained = run("train", study, "--run", "a", *options, "--set", "weights.gvs=0.5", "--json")
    assert trained.code == 0, trained.err
    assert trained.json["step"] == 2
    assert "training" in trained.err
    config = json.loads((study / "runs" / "a" / "config.json").read_text())
    settings = config["job"]["settings"]
    assert (settings["seed"], settings["network"]["base_width"]) == (3, 4)
    assert settings["weights"]["gvs"] == 0.5
    status = run("study", "status", study, "--json").json
    assert status["runs"] == {"a": "finished"}
    predicted = run("predict", study / "runs" / "a", "--study", study, "--device", "cpu")
    assert predicted.code == 0
    folder = study / "predictions" / "a"
    assert "3 scans" in predicted.out
    scores = tmp_path / "scores.json"
    scored = run("evaluate", folder, cohort2d / "labels", "--out", scores)
    assert scored.code == 0
    assert "3 cases: mean Dice" in scored.out
    report = json.loads(scores.read_text())
    case = next(iter(report["cases"].values()))
    assert "dice" in next(iter(case.values()))
    assert set(report["mean"]) >= {"dice"}
    assert "hd95_mm" not in report["mean"]


def test_predict_images_without_a_study(run: Run, scans: list[Path], tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    answer = run("predict", model, *scans[:2], "--out", tmp_path / "out", "--device", "cpu")
    assert answer.code == 0
    assert {path.name for path in scans[:2]} <= {p.name for p in (tmp_path / "out").iterdir()}


def test_a_run_in_the_background(run: Run, cohort2d: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    make_study(run, cohort2d, study)
    options = ["--preset", "quick", "--base-width", 4, "--steps", 100_000, "--device", "cpu"]
    started = run("train", study, "--run", "b", *options, "--detach", "--json")
    assert started.code == 0, started.err
    assert started.json["state"] == "running"
    again = run("train", study, "--run", "b", "--resume", "--device", "cpu")
    assert again.code == 4
    assert "already running" in again.sentence
    stopped = run("train", study, "--run", "b", "--stop", "--json")
    assert stopped.json["state"] == "stopped"
    followed = run("train", study, "--run", "b", "--follow", "--json")
    assert followed.code == 0
    assert followed.json["stopped"] is True


def test_embed_without_a_model(run: Run, cohort3d: Path, scans: list[Path], tmp_path: Path) -> None:
    words = ["embed", scans[0], scans[1], "--labels", cohort3d / "labels" / scans[0].name]
    out = tmp_path / "out"
    answer = run(*words, "--out", out, "--samples", 60, "--model", "none", "--json")
    assert answer.code == 0, answer.err
    report = answer.json
    assert report["features"] == "local descriptors"
    assert any("local descriptors" in note for note in report["notes"])
    assert report["voxels"] == 120
    assert report["seed"] == 0
    assert {p.name for p in out.iterdir()} == set(report["files"])
    with (out / "embedding.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 120
    assert {row["image"] for row in rows} == {"1", "2"}
    assert {row["label"] for row in rows if row["image"] == "2"} == {""}
    assert all(row["label"] for row in rows if row["image"] == "1")


def test_embed_pictures_with_a_model(run: Run, cohort2d: Path, tmp_path: Path) -> None:
    picture = sorted((cohort2d / "images").iterdir())[0]
    model = write_model(tmp_path / "model", 2, 1.0, 32)
    answer = run("embed", picture, "--out", tmp_path / "out", "--model", model, "--samples", 50)
    assert answer.code == 0, answer.err
    assert {"clusters.nii.gz", "clusters.png"} <= {p.name for p in (tmp_path / "out").iterdir()}
    assert str(model) in answer.out


def test_correspond_with_a_model_says_so(run: Run, scans: list[Path], tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    answer = run("correspond", *scans[:2], "--model", model, "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    assert f"Model: {model}" in answer.err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["model"] == str(model)
    assert -1 <= report["gss_mean"] <= 1
    assert report["settings"]["refine"] == 100
    assert (tmp_path / "out" / "gss.nii.gz").is_file()


def test_a_similarity_that_is_none_is_refused(run: Run, scans: list[Path], tmp_path: Path) -> None:
    answer = run("correspond", *scans[:2], "--out", tmp_path / "out", "--similarity", "colour")
    assert answer.code == 2
    assert "similarity" in answer.err
    assert "'auto', 'correlation' or 'self-similarity'" in answer.err
    assert not (tmp_path / "out").exists()


def test_propagate_exits_with_an_error_when_a_target_fails(
    run: Run, cohort3d: Path, scans: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(scans[1].read_bytes()[:1000])
    words = ["propagate", "--atlas", scans[0], "--labels", cohort3d / "labels" / scans[0].name]
    words += [scans[1], bad, "--out", tmp_path / "out", "--model", "none", "--refine", 0]
    answer = run(*words, "--device", "cpu")
    assert answer.code == 2
    assert "bad: FAILED" in answer.out
    assert (tmp_path / "out" / scans[1].name.split(".")[0] / "labels.nii.gz").is_file()


def test_doctor_answers_in_json(run: Run) -> None:
    answer = run("doctor", "--json")
    assert answer.code in (0, 4)
    assert {check["name"] for check in answer.json["checks"]} >= {"Python", "torch"}
    assert answer.json["ok"] is (answer.code == 0)

"""``napari-gemini pretrain`` as a user types it: the happy path and every refusal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_gemini.engine.events import CancelledEvent, StartedEvent
from napari_gemini.engine.jobs import TrainJob
from napari_gemini.engine.run_folder import RunFolder
from tests.cli.helpers import Run, everything_in

FAST = ("--preset", "quick", "--steps", 2, "--base-width", 4, "--set", "threads=1")


@pytest.fixture
def study(run: Run, cohort2d: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    assert run("study", "new", folder, cohort2d / "images").code == 0
    return folder


def test_pretrain_then_resume_then_start_a_training_from_it(
    run: Run, study: Path, cohort2d: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    answer = run("pretrain", study, "--out", model, *FAST)
    assert answer.code == 0, answer.err
    assert f"--init {model}" in answer.out
    assert (model / "last.json").is_file()
    again = run(
        "pretrain", study, "--out", model, "--objective", "gemini-mip", "--resume", "--json"
    )
    assert again.code == 0, again.err
    assert again.json["step"] == 2
    labelled = tmp_path / "labelled"
    made = run(
        "study", "new", labelled, cohort2d / "images",
        "--labels", cohort2d / "labels", "--split", cohort2d / "split.json", "--seed", "seed0",
    )  # fmt: skip
    assert made.code == 0, made.err
    probed = run(
        "train", labelled, "--init", model, "--freeze-backbone", "--objective", "supervised",
        "--set", "network.head_width=0", "--run", "probe", *FAST,
    )  # fmt: skip
    assert probed.code == 0, probed.err
    assert "Starting from the weights" in probed.err
    both = run("train", labelled, "--objective", "gvsl", "--run", "both", *FAST)
    assert both.code == 0, both.err
    settings = json.loads((labelled / "runs/both/config.json").read_text())["settings"]
    assert settings["use_labels"]
    assert settings["weights"]["smooth"] == settings["weights"]["restoration"] == 1


def test_what_cannot_be_done_is_one_sentence_and_changes_nothing(
    run: Run, study: Path, tmp_path: Path
) -> None:
    filled = tmp_path / "filled"
    filled.mkdir()
    (filled / "mine.txt").write_text("precious")
    before = everything_in(tmp_path)
    fresh = tmp_path / "fresh"
    for words, sentence in (
        (("--objective", "magic", "--out", fresh), "no pre-training objective 'magic'"),
        (("--objective", "gemini-semi", "--out", fresh), "no pre-training objective"),
        (("--preset", "slow", "--out", fresh), "no preset"),
        (("--set", "pixel.pixel=3", "--out", fresh), "did you mean pixel.pixels"),
        (("--set", "cover.neighbourhood=4", "--out", fresh), "odd"),
        (("--out", filled), "is not empty"),
        (("--out", fresh, "--resume"), "no run folder"),
        (("--out", fresh, "--stop"), "no run folder"),
        (("--out", fresh, "--follow", "--steps", 3), "leave out --steps"),
        (("--out", fresh, "--follow", "--preset", "quick"), "leave out --preset"),
        (("--out", fresh, "--stop", "--set", "seed=3"), "leave out --set"),
    ):
        answer = run("pretrain", study, *words)
        assert answer.code == 2, words
        assert sentence in answer.sentence
    assert everything_in(tmp_path) == before


def test_a_begun_run_is_not_overwritten_or_changed(run: Run, study: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    assert run("pretrain", study, "--out", model, *FAST).code == 0
    before = everything_in(model)
    for words, sentence in (
        ((), "holds a run already"),
        (("--resume", "--objective", "gvsl"), "started with --objective gemini-mip"),
        (("--resume", "--preset", "paper"), "started with --preset quick"),
        (("--resume", "--steps", 9), "leave out --steps"),
    ):
        answer = run("pretrain", study, "--out", model, *words)
        assert answer.code == 2
        assert sentence in answer.sentence
    assert everything_in(model) == before


def test_a_study_with_one_scan_left_or_a_lonely_group_is_one_sentence(
    run: Run, study: Path, tmp_path: Path
) -> None:
    path = study / "study.json"
    content = json.loads(path.read_text())
    content["cases"][0]["group"] = "front"
    path.write_text(json.dumps(content))
    answer = run("pretrain", study, "--out", tmp_path / "a", *FAST)
    assert answer.code == 2
    assert "The group 'front' has one scan" in answer.sentence
    for case in content["cases"][1:]:
        case["role"] = "test"
    path.write_text(json.dumps(content))
    answer = run("pretrain", study, "--out", tmp_path / "b", *FAST)
    assert answer.code == 2
    assert "at least two scans" in answer.sentence


def begin_run(study: Path, path: Path) -> RunFolder:
    """A run folder whose process began and is gone."""
    folder = RunFolder(path)
    folder.make()
    folder.write_config(TrainJob(study=study, out=path))
    folder.append(StartedEvent(kind="train"))
    return folder


def test_a_run_that_died_is_gone_on_with_by_its_folder(
    run: Run, study: Path, tmp_path: Path
) -> None:
    begin_run(study, tmp_path / "model")
    answer = run("pretrain", study, "--out", tmp_path / "model", "--follow")
    assert answer.code == 4
    assert f"go on with --out {tmp_path / 'model'} --resume." in answer.sentence


@pytest.mark.parametrize(
    ("values", "told"),
    [({"step": 7, "stopped": True}, "Stopped at step 7"), ({}, "Stopped before its end")],
)
def test_a_stopped_run_says_how_far_it_came(
    run: Run, study: Path, tmp_path: Path, values: dict[str, object], told: str
) -> None:
    for command, path in (("pretrain", tmp_path / "model"), ("train", study / "runs" / "model")):
        begin_run(study, path).append(CancelledEvent(values=values))
        place = ("--out", path) if command == "pretrain" else ("--run", "model")
        answer = run(command, study, *place, "--follow")
        assert answer.code == 0, answer.err
        assert answer.out.splitlines()[0] == told
        assert "--resume" in answer.out

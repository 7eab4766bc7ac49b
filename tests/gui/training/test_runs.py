"""Runs as a window sees them, from real run folders; no window needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_gemini.engine.events import (
    CancelledEvent,
    ErrorEvent,
    NoticeEvent,
    ProgressEvent,
    ResultEvent,
    StartedEvent,
)
from napari_gemini.engine.jobs import TrainJob
from napari_gemini.engine.run_folder import RunFolder
from napari_gemini.widgets.training.runs import RunFollower, list_runs


def begin(study: Path, name: str) -> RunFolder:
    folder = RunFolder(study / "runs" / name)
    folder.make()
    folder.write_config(TrainJob(study=study, run=name))
    folder.append(StartedEvent(kind="train", pid=1))
    return folder


def step(folder: RunFolder, number: int, loss: float) -> None:
    folder.append(
        ProgressEvent(
            done=number, total=100, message="training", values={"gss": loss}, remaining=9.0
        )
    )


def test_a_run_is_followed_from_where_it_was_read(tmp_path):
    folder = begin(tmp_path, "a")
    follower = RunFollower(folder)
    with folder.lock():
        step(folder, 5, 0.9)
        assert follower.read()
        assert follower.progress.state == "running"
        assert (follower.progress.step, follower.progress.steps) == (5, 100)
        assert not follower.read()
        step(folder, 10, 0.8)
        folder.append(NoticeEvent(name="validation", payload={"step": 10, "score": 0.5}))
        assert follower.read()
    assert follower.progress.losses["gss"].steps == [5, 10]
    assert follower.progress.score.values == [0.5]
    # The lock is gone and nothing was said: it was killed.
    assert follower.read()
    assert follower.progress.state == "interrupted"


def test_what_a_resumed_run_repeats_replaces_what_was(tmp_path):
    folder = begin(tmp_path, "a")
    for number in (5, 10, 15):
        step(folder, number, 1.0)
    folder.append(StartedEvent(kind="train", pid=2))
    step(folder, 10, 2.0)
    follower = RunFollower(folder)
    follower.read()
    assert follower.progress.losses["gss"].steps == [5, 10]
    assert follower.progress.losses["gss"].values == [1.0, 2.0]


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (ResultEvent(values={"step": 100, "steps": 100}), "finished"),
        (CancelledEvent(values={"step": 7, "steps": 100}), "stopped"),
        (ErrorEvent(message="The memory is full.", kind="DeviceError"), "failed"),
    ],
)
def test_every_end_is_told(tmp_path, event, state):
    folder = begin(tmp_path, "a")
    folder.append(event)
    follower = RunFollower(folder)
    follower.read()
    assert follower.progress.state == state == folder.state()
    assert (follower.progress.error is not None) == (state == "failed")


def test_the_list_has_running_runs_first_and_says_which_have_a_model(tmp_path):
    old, new = begin(tmp_path, "old"), begin(tmp_path, "new")
    new.append(ResultEvent())
    (new.path / "last.json").write_text("{}")
    (tmp_path / "runs" / "no run").mkdir()
    with old.lock():
        infos = list_runs(tmp_path / "runs")
    assert [(info.name, info.state, info.has_model) for info in infos] == [
        ("old", "running", False),
        ("new", "finished", True),
    ]
    assert list_runs(tmp_path / "nowhere") == []

"""A real training of a real study, started, followed, stopped and resumed from outside."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from GeminiPropagateLib.command_run import CommandRun
from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.training_run import (
    FINAL_STATES,
    EventTail,
    TrainingRun,
    TrainingUpdate,
    TrainOptions,
    trainings_of_study,
)

from napari_gemini.phantom.cohort import make_cohort
from napari_gemini.phantom.files import write_cohort
from tests.slicer_module.lib.helpers import environment, script, wait_until

TINY = ("network.base_width=4", "checkpoint_every=2", "validate_every=1000")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("study")
    scans = make_cohort(6, 2, (32, 32), noise=0.02)
    write_cohort(folder / "c", scans, test=1)
    words = ["study", "new", str(folder / "s"), str(folder / "c" / "images")]
    words += ["--labels", str(folder / "c" / "labels")]
    answer = CommandRun(sys.executable, words, environment()).wait(240.0)
    assert answer["counts"]["cases"] == 6
    yield folder / "s"
    # A test that failed must not leave a training behind.
    for run in (folder / "s" / "runs").iterdir():
        (run / "stop").touch()


def options(steps: int) -> TrainOptions:
    return TrainOptions("quick", steps, "cpu", None, TINY)


def follow(
    run: TrainingRun, until: Callable[[TrainingUpdate], object] | None = None
) -> list[tuple[int, dict[str, float]]]:
    """Poll until the training has ended, or until something is so; return its history."""
    history: list[tuple[int, dict[str, float]]] = []

    def ended() -> object:
        update = run.poll()
        history.extend(update.history)
        return until(update) if until else update.state in FINAL_STATES

    wait_until(ended)
    return history


def test_a_training_is_followed_stopped_resumed_and_finished(study: Path) -> None:
    run = TrainingRun(sys.executable, study, environment=environment())
    assert run.name == "slicer-1"
    run.start(options(steps=100_000))
    assert run.poll().state == "starting"
    follow(run, lambda update: update.step >= 3)
    assert run.poll().steps == 100_000
    run.stop()
    follow(run)
    stopped = run.poll()
    assert stopped.state == "stopped"
    assert run.has_model
    assert trainings_of_study(study) == ["slicer-1"]

    # Another object, as after a restart of Slicer, sees the same run.
    seen = TrainingRun(sys.executable, study, "slicer-1", environment())
    assert seen.poll().state == "stopped"
    again = TrainingRun(sys.executable, study, "slicer-1", environment())
    again.resume("cpu")
    assert again.poll().state == "starting"
    history = follow(again, lambda update: update.step > stopped.step + 1)
    assert history[-1][1]
    again.stop()
    follow(again)
    assert again.poll().state == "stopped"
    assert TrainingRun(sys.executable, study).name == "slicer-2"


def test_a_training_that_finishes_says_so(study: Path) -> None:
    run = TrainingRun(sys.executable, study, "short", environment())
    run.start(options(steps=2))
    history = follow(run)
    last = run.poll()
    assert (last.state, last.step, last.steps, last.error) == ("finished", 2, 2, "")
    assert [step for step, _ in history][-1] == 2


def test_a_training_that_is_killed_counts_as_interrupted_and_can_be_resumed(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = TrainingRun(sys.executable, study, "killed", environment())
    run.start(options(steps=100_000))
    follow(run, lambda update: update.step >= 3)
    for event in EventTail(run.folder / "events.jsonl").read():
        if event["event"] == "started":
            os.kill(event["pid"], signal.SIGKILL)
    # As if the minute without a heartbeat were over.
    lock = run.folder / "lock"
    old = lock.stat().st_mtime - 3600
    os.utime(lock, (old, old))
    follow(run)
    update = run.poll()
    assert update.state == "interrupted"
    assert "resume" in update.error
    run.resume("cpu")
    follow(run, lambda update: update.state == "running" and update.step > 3)
    run.stop()
    follow(run)
    assert run.poll().state == "stopped"


def test_a_training_that_cannot_start_fails_with_the_engines_sentence(tmp_path: Path) -> None:
    run = TrainingRun(sys.executable, tmp_path / "none", "r", environment())
    run.start(options(steps=2))
    follow(run)
    assert run.poll().state == "failed"
    assert str(tmp_path / "none") in run.poll().error


def test_half_a_line_and_garbage_in_the_events_are_survived(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    assert tail.read() == []
    path.write_bytes(b'{"event": "log", "message": "a"}\n\xff\xfe garbage\n[1]\n{"event": "lo')
    assert [event["message"] for event in tail.read()] == ["a"]
    with path.open("ab") as stream:
        stream.write(b'g", "message": "b"}\n')
    assert [event["message"] for event in tail.read()] == ["b"]
    path.write_bytes(b'{"event": "log", "message": "new"}\n')
    assert [event["message"] for event in tail.read()] == ["new"]


def test_a_command_fails_with_its_own_sentence(tmp_path: Path) -> None:
    words = ["study", "new", str(tmp_path / "s"), str(tmp_path / "nothing")]
    with pytest.raises(PropagateError, match="at least two scans"):
        CommandRun(sys.executable, words, environment()).wait(240.0)


def test_what_a_launcher_says_before_the_answer_does_not_matter(tmp_path: Path) -> None:
    noisy = f'echo "{{ starting"\n"{sys.executable}" "$@"\n'
    words = ["study", "status", str(tmp_path)]
    with pytest.raises(PropagateError) as refused:
        CommandRun(script(tmp_path / "p", noisy), words, environment()).wait(240.0)
    assert str(tmp_path) in str(refused.value)
    assert "exit_code" not in str(refused.value)


def test_a_command_that_is_killed_says_so(study: Path) -> None:
    command = CommandRun(sys.executable, ["study", "status", str(study)], environment())
    command.kill()
    with pytest.raises(PropagateError, match="ended"):
        command.poll()

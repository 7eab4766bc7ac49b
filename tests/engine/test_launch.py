"""Detached trainings as real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from napari_gemini.engine.detached import run_detached
from napari_gemini.engine.events import CancelledEvent
from napari_gemini.engine.jobs import TrainJob
from napari_gemini.engine.launch import run_state, start_training, stop_run
from napari_gemini.engine.run_folder import RunFolder
from napari_gemini.errors import EngineError, InputError
from napari_gemini.settings import TrainSettings
from tests.engine.helpers import IMPORT_FAKES, environment, lives, wait_until

pytestmark = pytest.mark.usefixtures("fake_training")


def job_in(study: Path, steps: int = 100_000, **options: object) -> TrainJob:
    return TrainJob(study=study, settings=TrainSettings(steps=steps), **options)  # type: ignore[arg-type]


def start(job: TrainJob) -> RunFolder:
    return start_training(job, arguments=IMPORT_FAKES)


def steps_done(folder: RunFolder) -> int:
    return max((e.done for e in folder.tail().read() if e.event == "progress"), default=0)  # type: ignore[union-attr]


def test_a_run_is_started_followed_and_ends(study: Path) -> None:
    folder = start(job_in(study, steps=20))
    assert folder.name == "gemini-semi-1"
    events = list(folder.follow(interval=0.02))
    assert events[-1].event == "result"
    assert steps_done(folder) == 20
    assert run_state(folder) == "finished"


def test_it_outlives_its_launcher(study: Path) -> None:
    code = (
        "import sys; from napari_gemini.engine.launch import start_training\n"
        "from napari_gemini.engine.jobs import TrainJob\n"
        f"start_training(TrainJob(study=sys.argv[1], run='r'), arguments={IMPORT_FAKES!r})\n"
        "import os, signal; os.killpg(0, signal.SIGKILL)"
    )
    launcher = subprocess.run(
        [sys.executable, "-c", code, str(study)], env=environment(), start_new_session=True
    )
    assert launcher.returncode == -signal.SIGKILL
    folder = RunFolder(study / "runs" / "r")
    before = steps_done(folder)
    wait_until(lambda: steps_done(folder) > before + 5)
    owner = folder.owner()
    assert owner
    assert os.getsid(owner.pid) == owner.pid
    assert stop_run(folder) == "stopped"
    # It stopped at a safe point: the checkpoint holds the last step that was reported.
    state = (folder.checkpoints_path / "state.json").read_text()
    assert int(state) == steps_done(folder)
    assert not folder.stop_requested()
    assert not folder.lock_path.exists()


def test_two_runners_of_one_run_are_refused(study: Path) -> None:
    folder = start(job_in(study, run="r"))
    owner = folder.owner()
    with pytest.raises(EngineError, match="already running"):
        start(job_in(study, run="r", resume=True))
    with pytest.raises(InputError, match="exists already"):
        start(job_in(study, run="r"))
    assert folder.owner() == owner
    # Past the launcher's own check, the process itself refuses.
    process = subprocess.run(
        [sys.executable, "-m", "napari_gemini.engine", "--detached", *IMPORT_FAKES],
        input=job_in(study, run="r", resume=True).model_dump_json().encode(),
        capture_output=True,
        env=environment(),
    )
    assert process.returncode == EngineError.exit_code
    assert b'"event":"error"' in process.stdout
    assert b"already running" in process.stdout
    assert stop_run(folder) == "stopped"


def test_a_deaf_run_is_killed_and_can_be_resumed(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_DEAF", "1")
    folder = start(job_in(study, run="r"))
    wait_until(lambda: steps_done(folder) > 12)
    owner = folder.owner()
    assert owner
    assert stop_run(folder, timeout=0.1, kill=False) == "running"
    assert stop_run(folder, timeout=0.1) == "stopped"
    assert not lives(owner.pid)
    final = folder.last_final_event()
    assert isinstance(final, CancelledEvent)
    assert final.killed
    monkeypatch.delenv("FAKE_DEAF")
    done = steps_done(folder)
    start(job_in(study, run="r", resume=True))
    wait_until(lambda: steps_done(folder) > done)
    assert stop_run(folder) == "stopped"
    assert stop_run(folder) == "stopped"


def test_a_kill_from_outside_leaves_an_interrupted_run(study: Path) -> None:
    folder = start(job_in(study, run="r"))
    wait_until(lambda: steps_done(folder) > 12)
    owner = folder.owner()
    assert owner
    os.kill(owner.pid, signal.SIGKILL)
    wait_until(lambda: run_state(folder) == "interrupted")
    start(job_in(study, resume=True))
    assert run_state(folder) == "running"


def test_termination_is_a_wish_to_stop(study: Path) -> None:
    folder = start(job_in(study, run="r"))
    wait_until(lambda: steps_done(folder) > 2)
    owner = folder.owner()
    assert owner
    os.kill(owner.pid, signal.SIGTERM)
    wait_until(lambda: run_state(folder) == "stopped")


def test_what_cannot_start_says_why(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="does not exist"):
        start(job_in(study / "missing"))
    with pytest.raises(EngineError, match="choose a Python"):
        start_training(job_in(study), python=str(study / "python"))
    with pytest.raises(EngineError, match=r"log\.txt says why"):
        start_training(job_in(study, run="x"), arguments=("--import", "no.such.module"))
    assert "No module named 'no'" in (study / "runs" / "x" / "log.txt").read_text()
    monkeypatch.setenv("FAKE_FAIL", "1")
    folder = start(job_in(study, run="y"))
    wait_until(lambda: run_state(folder) == "failed")


def pipe_with(data: bytes) -> tuple[BinaryIO, int, int]:
    read_end, write_end = os.pipe()
    os.write(write_end, data)
    os.close(write_end)
    heard, say = os.pipe()
    return os.fdopen(read_end, "rb"), say, heard


@pytest.mark.parametrize(("steps", "code"), [(3, 0), (10_000, 130)])
def test_detached_in_process(study: Path, steps: int, code: int) -> None:
    job = job_in(study, run="r", steps=steps)
    requests, answers, heard = pipe_with(job.model_dump_json().encode())
    if steps > 1000:
        threading.Timer(0.5, RunFolder(study / "runs" / "r").request_stop).start()
    assert run_detached(requests, answers) == code
    assert b'"event":"started"' in os.read(heard, 10_000)
    os.close(heard)


@pytest.mark.parametrize(
    ("text", "code", "sentence"),
    [
        (b'{"kind": "tra', 4, b"no whole job"),
        (b'{"kind": "ping"}', 4, b"Only a training"),
        (b'{"kind": "train"}', 2, b"'study' of train"),
    ],
)
def test_a_bad_detached_job_is_answered(text: bytes, code: int, sentence: bytes) -> None:
    requests, answers, heard = pipe_with(text)
    assert run_detached(requests, answers) == code
    assert sentence in os.read(heard, 10_000)
    os.close(heard)

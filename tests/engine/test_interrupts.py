"""Ctrl-C in real processes: the first asks, the second kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import tests.engine.fake_tasks as fakes
from napari_gemini.engine.dispatch import run_in_foreground
from napari_gemini.engine.interrupts import polite_interrupts
from napari_gemini.engine.run_folder import RunFolder
from napari_gemini.progress import Cancelled, SilentReporter
from tests.engine.helpers import Recorder, environment, wait_until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

FOREGROUND = """
import sys
from napari_gemini.engine.console import ConsoleReporter
from napari_gemini.engine.dispatch import run_in_foreground
from napari_gemini.engine.jobs import parse_job
from napari_gemini.progress import Cancelled
import json, tests.engine.fake_tasks
print("up", flush=True)
try:
    with ConsoleReporter() as reporter:
        run_in_foreground(parse_job(json.loads(sys.argv[1])), reporter)
except Cancelled:
    print("cancelled")
    sys.exit(130)
"""


def foreground(job: str, **extra: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", FOREGROUND, job],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**extra),
    )
    assert process.stdout
    assert process.stdout.readline() == "up\n"
    return process


def test_one_ctrl_c_leaves_a_usable_checkpoint(study: Path) -> None:
    job = json.dumps({"kind": "train", "run": "r", "study": str(study)})
    process = foreground(job, FAKE_TRAINING="1")
    folder = RunFolder(study / "runs" / "r")
    wait_until(lambda: any(event.event == "progress" for event in folder.tail().read()))
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert out == "cancelled\n"
    assert "press Ctrl-C again" in error
    assert "Traceback" not in error
    assert folder.state() == "stopped"
    last = [event for event in folder.tail().read() if event.event == "progress"][-1]
    assert int((folder.checkpoints_path / "state.json").read_text()) == last.done  # type: ignore[union-attr]


def test_two_ctrl_c_kill() -> None:
    process = foreground('{"kind": "test-count", "deaf": true, "n": 1000, "delay": 0.05}')
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT


def test_handlers_are_put_back_and_the_second_signal_kills(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed: list[int] = []
    monkeypatch.setattr("napari_gemini.engine.interrupts.die_of", killed.append)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with polite_interrupts() as cancel:
        assert not cancel.is_set()
        signal.raise_signal(signal.SIGTERM)
        assert cancel.is_set()
        assert killed == []
        signal.raise_signal(signal.SIGINT)
        assert killed == [signal.SIGINT]
    assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))


def test_other_threads_leave_signals_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[bool] = []

    def run() -> None:
        with polite_interrupts() as cancel:
            seen.append(signal.getsignal(signal.SIGINT) is before and not cancel.is_set())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [True]


def test_in_the_foreground_a_job_runs_and_stops() -> None:
    recorder = Recorder()
    assert run_in_foreground(fakes.CountJob(n=2), recorder) == {"counted": 2}
    recorder.stop()
    with pytest.raises(Cancelled):
        run_in_foreground(fakes.CountJob(n=2), recorder)
    timer = threading.Timer(0.2, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    with pytest.raises(Cancelled):
        run_in_foreground(fakes.CountJob(n=1000, delay=0.01), SilentReporter())

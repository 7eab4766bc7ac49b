"""Jobs that behave and misbehave, for engine processes (``--import tests.engine.fake_tasks``)."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

from napari_gemini.engine import dispatch
from napari_gemini.engine.jobs import Job, TrainJob
from napari_gemini.engine.run_folder import RunFolder
from napari_gemini.engine.run_session import run_folder_of
from napari_gemini.errors import InputError
from napari_gemini.progress import Cancelled, Reporter, stop_if_cancelled
from napari_gemini.volumes.atomic import write_json_atomic


class CountJob(Job):
    """Count to n; stops when asked unless it is deaf."""

    kind: Literal["test-count"] = "test-count"
    n: int = 3
    delay: float = 0.0
    deaf: bool = False


class PrintJob(Job):
    """Write to standard output in every way there is."""

    kind: Literal["test-print"] = "test-print"
    lines: int = 3


class ArrayJob(Job):
    """Give an array back."""

    kind: Literal["test-array"] = "test-array"
    size: int = 4


class CrashJob(Job):
    """End the process or fail, in many ways."""

    kind: Literal["test-crash"] = "test-crash"
    how: Literal[
        "exit", "segfault", "raise", "user", "system-exit", "torch-oom", "numpy-oom", "nan"
    ] = "raise"


class SpawnJob(Job):
    """Start another process, say its number and wait."""

    kind: Literal["test-spawn"] = "test-spawn"


def count(job: CountJob, reporter: Reporter) -> dict[str, Any]:
    for index in range(job.n):
        if not job.deaf:
            stop_if_cancelled(reporter)
        reporter.progress(index, job.n, "counting", value=float(index))
        time.sleep(job.delay)
    reporter.progress(job.n, job.n, "counted")
    return {"counted": job.n}


def print_everywhere(job: PrintJob, reporter: Reporter) -> dict[str, Any]:
    libc = ctypes.CDLL(None)
    for index in range(job.lines):
        print('{"event": "result", "values": {"fake": 1}}', flush=True)
        os.write(1, b'{"event": "error", "message": "no')
        libc.puts(b"from C without a flush")
        libc.fflush(None)
        subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
        reporter.progress(index + 1, job.lines, "printed \u2713", index=float(index))
    return {"stdin": sys.stdin.read() if sys.stdin else "", "printed": job.lines}


def give_array(job: ArrayJob, reporter: Reporter) -> dict[str, Any]:
    import numpy as np

    from napari_gemini.engine.arrays import exchange

    return {"array": exchange().put(np.arange(job.size, dtype=np.int16)).model_dump()}


def crash(job: CrashJob, reporter: Reporter) -> dict[str, Any]:
    if job.how == "exit":
        print("last words", file=sys.stderr, flush=True)
        os._exit(7)
    if job.how == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if job.how == "user":
        raise InputError("The scan is bad; give another.")
    if job.how == "system-exit":
        sys.exit("bye")
    if job.how == "torch-oom":
        import torch

        torch.empty(10**15)
    if job.how == "numpy-oom":
        import numpy as np

        np.empty(10**15)
    if job.how == "nan":
        return {"bad": float("nan"), "path": Path("x")}
    raise RuntimeError("something\nbroke")


def spawn(job: SpawnJob, reporter: Reporter) -> dict[str, Any]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    reporter.event("spawned", pid=child.pid)
    time.sleep(600)
    return {}


def train(job: TrainJob, reporter: Reporter) -> dict[str, Any]:
    """Count steps into a checkpoint; resume from it."""
    folder: RunFolder = run_folder_of(job)
    folder.checkpoints_path.mkdir(exist_ok=True)
    path = folder.checkpoints_path / "state.json"
    step = int(path.read_text().strip()) if job.resume and path.exists() else 0
    delay = float(os.environ.get("FAKE_STEP_SECONDS", "0.02"))
    deaf = "FAKE_DEAF" in os.environ
    if "FAKE_FAIL" in os.environ:
        raise InputError("The study has no labelled scan; label one.")
    while step < job.settings.steps:
        if reporter.cancelled() and not deaf:
            write_json_atomic(path, step)
            raise Cancelled
        step += 1
        reporter.progress(step, job.settings.steps, "training", loss=1 / step)
        time.sleep(delay)
        if step % 10 == 0:
            write_json_atomic(path, step)
    write_json_atomic(path, step)
    reporter.log("trained")
    return {"steps": step}


for job_class, function in (
    (CountJob, "count"),
    (PrintJob, "print_everywhere"),
    (ArrayJob, "give_array"),
    (CrashJob, "crash"),
    (SpawnJob, "spawn"),
):
    dispatch.register_task(job_class, f"tests.engine.fake_tasks:{function}")

FAKE_TRAINING = "tests.engine.fake_tasks:train"
if "FAKE_TRAINING" in os.environ:
    dispatch.TASKS["train"] = FAKE_TRAINING

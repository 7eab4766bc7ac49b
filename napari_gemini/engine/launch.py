"""Trainings that outlive the window: start one, ask it to stop, see how it is."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time

from napari_gemini.engine.events import CancelledEvent, ErrorEvent, parse_event
from napari_gemini.engine.failures import error_from_event
from napari_gemini.engine.jobs import TrainJob
from napari_gemini.engine.processes import (
    engine_command,
    engine_environment,
    kill_tree,
    session_options,
)
from napari_gemini.engine.run_folder import RunFolder, RunState
from napari_gemini.engine.run_session import check_run, name_run
from napari_gemini.errors import EngineError
from napari_gemini.study.processes import liveness

#: Seconds that a run has for its last checkpoint before it is killed.
STOP_TIMEOUT = 120.0
_INTERVAL = 0.05

#: Trainings that this process started; looked at now and then, so that none stays a zombie.
_started: list[subprocess.Popen[bytes]] = []


def start_training(
    job: TrainJob, python: str | None = None, arguments: tuple[str, ...] = ()
) -> RunFolder:
    """Start a training in a session of its own and return its run folder.

    It goes on when the starting process ends in whatever way. The call returns when the training
    owns its folder, before the slow imports.

    Parameters
    ----------
    job
        The training; without a run name the next free one is taken.
    python
        Interpreter; the running one unless given.
    arguments
        More options of ``python -m napari_gemini.engine``.

    Raises
    ------
    InputError
        If the study or the run does not fit (see :func:`.run_session.run_session`).
    EngineError
        If the run is running already or the process cannot be started.
    """
    _reap()
    job = name_run(job)
    folder = check_run(job)
    folder.make()
    command = engine_command("--detached", *arguments, python=python)
    with folder.log_path.open("ab") as log:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=engine_environment(python),
                **session_options(),
            )
        except OSError as error:
            raise EngineError(
                f"The training cannot be started with {command[0]} ({error.strerror}); choose a "
                "Python that has napari-gemini."
            ) from error
    _started.append(process)
    _hand_over(process, job, folder)
    return folder


def _hand_over(process: subprocess.Popen[bytes], job: TrainJob, folder: RunFolder) -> None:
    """Give the process its job and take its one answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    # A process that died says so by answering nothing.
    with contextlib.suppress(OSError):
        process.stdin.write(job.model_dump_json().encode())
    with contextlib.suppress(OSError):
        process.stdin.close()
    line = process.stdout.readline()
    process.stdout.close()
    if not line:
        process.wait()
        raise EngineError(f"The training could not start; {folder.log_path} says why.")
    answer = parse_event(line)
    if isinstance(answer, ErrorEvent):
        process.wait()
        raise error_from_event(answer)


def _reap() -> None:
    _started[:] = [process for process in _started if process.poll() is None]


def run_state(folder: RunFolder) -> RunState:
    """Return how a run is, whoever started it."""
    _reap()
    return folder.state()


def stop_run(folder: RunFolder, timeout: float = STOP_TIMEOUT, kill: bool = True) -> RunState:
    """Ask a run to end, wait for it and kill it when it does not.

    Parameters
    ----------
    folder
        Of the run.
    timeout
        Seconds for its last step and checkpoint.
    kill
        Whether to kill it after that; a run on another machine is only asked.

    Returns
    -------
    str
        The state afterwards; ``running`` when it could not be ended.
    """
    state = run_state(folder)
    if state != "running":
        return state
    folder.request_stop()
    until = time.monotonic() + timeout
    while state == "running" and time.monotonic() < until:
        time.sleep(_INTERVAL)
        state = run_state(folder)
    return _kill_run(folder) if kill and state == "running" else state


def _kill_run(folder: RunFolder) -> RunState:
    owner = folder.owner()
    # Only a process that is certainly the owner: its number may be another's elsewhere.
    if owner is not None and owner.pid != os.getpid() and liveness(owner) == "alive":
        kill_tree(owner.pid)
        while liveness(owner) == "alive":
            time.sleep(_INTERVAL)
        folder.append(CancelledEvent(killed=True))
        folder.clear_stop()
    return run_state(folder)

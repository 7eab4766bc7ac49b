"""One training from first to last event: folder, lock, configuration and record around it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from napari_gemini.engine.events import CancelledEvent, Event, ResultEvent, StartedEvent
from napari_gemini.engine.failures import error_event
from napari_gemini.engine.jobs import TrainJob
from napari_gemini.engine.plain import to_plain
from napari_gemini.engine.provenance import collect_provenance
from napari_gemini.engine.reporting import TeeReporter
from napari_gemini.engine.run_folder import RunFolder, RunFolderReporter
from napari_gemini.errors import EngineError, InputError
from napari_gemini.progress import Cancelled, Reporter


class RunSession:
    """A run that this process owns.

    Attributes
    ----------
    folder
        Its folder.
    job
        What really runs: a resumed run keeps the settings that it was started with.
    reporter
        Reports to the caller's reporter and into the folder; stops for either, and when the
        ``stop`` file appears.
    """

    def __init__(self, folder: RunFolder, job: TrainJob, reporter: Reporter) -> None:
        self.folder = folder
        self.job = job
        self.reporter = reporter
        self.values: dict[str, Any] = {}

    def finish(self, values: dict[str, Any]) -> dict[str, Any]:
        """Keep what the training returned; it is recorded when the session ends well."""
        self.values = {"run": self.folder.name, "folder": str(self.folder.path), **values}
        return self.values


_active: dict[Path, RunSession] = {}


def run_folder_of(job: TrainJob) -> RunFolder:
    """Return the folder of a job whose run has a name.

    Raises
    ------
    InputError
        If the job names no run; see :func:`name_run`.
    """
    if job.out is not None:
        return RunFolder(job.out)
    if job.run is None:
        raise InputError("The run has no name; give one with --run.")
    return RunFolder(job.study / "runs" / job.run)


def name_run(job: TrainJob) -> TrainJob:
    """Give a job's run its name: the next free one, or the latest run when it is to be resumed.

    Raises
    ------
    InputError
        If there is nothing to resume.
    """
    if job.run is not None or job.out is not None:
        return job
    runs = job.study / "runs"
    found = [path for path in runs.iterdir() if path.is_dir()] if runs.is_dir() else []
    if job.resume:
        begun = [path for path in found if (path / "config.json").is_file()]
        if not begun:
            raise InputError(f"The study {job.study} has no run to resume; train without --resume.")
        latest = max(begun, key=lambda path: (path / "config.json").stat().st_mtime)
        return job.model_copy(update={"run": latest.name})
    stem = job.settings.objective
    numbers = [
        int(match.group(1))
        for path in found
        if (match := re.fullmatch(rf"{re.escape(stem)}-(\d+)", path.name))
    ]
    return job.model_copy(update={"run": f"{stem}-{max(numbers, default=0) + 1}"})


def check_run(job: TrainJob) -> RunFolder:
    """Refuse what cannot be begun or resumed before anything is touched.

    Parameters
    ----------
    job
        A training whose run has a name.

    Raises
    ------
    InputError
        If the study is missing, the run exists and is not to be resumed, there is none to resume,
        or it is of a newer version.
    EngineError
        If another process runs it.
    """
    if not job.study.is_dir():
        raise InputError(f"The study folder {job.study} does not exist; make it or check its name.")
    folder = run_folder_of(job)
    if job.resume:
        folder.read_job()
    elif folder.exists and not folder.failed_at_once():
        other = "--run name" if job.out is None else "folder (--out)"
        raise InputError(
            f"The run {folder.name} exists already; continue it with --resume or choose another "
            f"{other}."
        )
    folder.refuse_if_running()
    return folder


@contextmanager
def run_session(job: TrainJob, reporter: Reporter) -> Iterator[RunSession]:
    """Own a run while the block trains, and leave a record of how it ended.

    Inside the block the folder is locked, ``config.json`` is written and everything reported is
    recorded. Asking again for a run that this process owns gives the same session.

    Parameters
    ----------
    job
        The training.
    reporter
        The caller's reporter.

    Yields
    ------
    RunSession
        With the folder, the job to do and the reporter to use.

    Raises
    ------
    InputError
        If the study is missing, the run exists and is not to be resumed, or there is none to
        resume, or the folder is of a newer version.
    EngineError
        If another process runs it.
    """
    job = name_run(job)
    active = _active.get(run_folder_of(job).path)
    if active is not None:
        yield active
        return
    folder = check_run(job)
    # What is there already and passed the check failed before it trained; it is replaced.
    replaces = folder.exists
    folder.make()
    with folder.lock():
        if job.resume:
            job = _resumed(job, folder)
        elif folder.exists and not replaces:
            raise InputError(f"The run {folder.name} was begun a moment ago; choose another name.")
        folder.clear_stop()
        _record_start(folder, job)
        session = RunSession(folder, job, TeeReporter(reporter, RunFolderReporter(folder)))
        _active[folder.path] = session
        try:
            yield from _recorded(session)
        finally:
            folder.clear_stop()
            del _active[folder.path]


def _recorded(session: RunSession) -> Iterator[RunSession]:
    folder = session.folder
    try:
        yield session
    except (Cancelled, KeyboardInterrupt):
        _append_last(folder, CancelledEvent())
        raise
    except BaseException as error:
        _append_last(folder, error_event(error))
        raise
    # A training that was asked to stop may also return what it reached.
    ended = CancelledEvent if session.values.get("stopped") else ResultEvent
    _append_last(folder, ended(values=to_plain(session.values)))


def _append_last(folder: RunFolder, event: Event) -> None:
    # A full disk must not hide what the run ended with.
    with suppress(EngineError):
        folder.append(event)


def _resumed(job: TrainJob, folder: RunFolder) -> TrainJob:
    stored = folder.read_job()
    # The study may have been moved since, and another device may be meant; the rest is repeated.
    return stored.model_copy(
        update={
            "study": job.study,
            "run": job.run,
            "out": job.out,
            "device": job.device,
            "resume": True,
        }
    )


def _record_start(folder: RunFolder, job: TrainJob) -> None:
    provenance = collect_provenance()
    if job.resume:
        resumed = folder.read_config().get("resumed", [])
        folder.update_config(resumed=[*resumed, provenance])
    else:
        folder.write_config(job, provenance=provenance)
    folder.append(StartedEvent(kind=job.kind, pid=os.getpid()))

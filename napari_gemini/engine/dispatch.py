"""From a job to the code that does it, imported only when it is needed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, cast

from napari_gemini.engine.device import is_out_of_memory, out_of_memory_error, release_memory
from napari_gemini.engine.interrupts import polite_interrupts
from napari_gemini.engine.jobs import Job, TrainJob, register_job
from napari_gemini.engine.plain import to_plain
from napari_gemini.engine.reporting import CancelReporter
from napari_gemini.errors import EngineError
from napari_gemini.progress import Reporter

Task = Callable[[Any, Reporter], dict[str, Any]]

#: Kind of job -> ``module:function`` of ``function(job, reporter) -> dict``.
TASKS: dict[str, str] = {
    "ping": "napari_gemini.engine.builtin:ping",
    "load-volume": "napari_gemini.engine.builtin:load_volume",
    "load-pair": "napari_gemini.engine.loading_pairs:load_pair",
    "train": "napari_gemini.engine.tasks.train:run",
    "predict": "napari_gemini.engine.tasks.predict:run",
    "correspond": "napari_gemini.engine.tasks.correspond:run",
    "propagate": "napari_gemini.engine.tasks.propagate:run",
    "embed": "napari_gemini.engine.tasks.embed:run",
    "explore": "napari_gemini.engine.tasks.explore:run",
    "cluster-map": "napari_gemini.engine.tasks.cluster_map:run",
    "probe": "napari_gemini.engine.tasks.probe:run",
    "evaluate": "napari_gemini.engine.tasks.evaluate:run",
    "preview": "napari_gemini.engine.tasks.preview:run",
    "new-study": "napari_gemini.engine.studies:new_study",
    "find-images": "napari_gemini.engine.studies:find_images",
    "next-case": "napari_gemini.engine.tasks.next_case:run",
}


def register_task(job_class: type[Job], target: str) -> None:
    """Add a kind of job and the ``module:function`` that does it."""
    register_job(job_class)
    TASKS[job_class.model_fields["kind"].default] = target


def find_task(kind: str) -> Task:
    """Import the code of a kind of job.

    Raises
    ------
    EngineError
        If the kind is unknown, or a library that it needs is missing.
    """
    target = TASKS.get(kind)
    if target is None:
        raise EngineError(f"The engine has no task for {kind!r}; update napari-gemini.")
    module_name, _, function = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise EngineError(
            f"The job {kind} cannot start, because {error.name or 'a library'} cannot be loaded "
            f"({error}); install what is missing with pip install 'napari-gemini[engine]'."
        ) from error
    return cast(Task, getattr(module, function))


def run_job(job: Job, reporter: Reporter) -> dict[str, Any]:
    """Do a job in this process.

    A training gets its run folder locked and recorded around it
    (:func:`napari_gemini.engine.run_session.run_session`).

    Parameters
    ----------
    job
        What to do.
    reporter
        Hears about progress and says whether to stop.

    Returns
    -------
    dict
        What the task returned, JSON-ready.

    Raises
    ------
    GeminiError
        With one sentence for the user; out of memory becomes a DeviceError.
    Cancelled
        If the reporter asked to stop.
    """
    if isinstance(job, TrainJob):
        from napari_gemini.engine.run_session import run_session

        with run_session(job, reporter) as session:
            return session.finish(_run_task(session.job, session.reporter))
    return _run_task(job, reporter)


def _run_task(job: Job, reporter: Reporter) -> dict[str, Any]:
    task = find_task(job.kind)
    try:
        values = task(job, reporter)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        release_memory()
        device = getattr(job, "device", None)
        known = device if device not in (None, "auto") else None
        raise out_of_memory_error(job.memory_advice, known, error) from error
    return cast(dict[str, Any], to_plain(values or {}))


def run_in_foreground(job: Job, reporter: Reporter) -> dict[str, Any]:
    """Do a job for a person at a terminal: Ctrl-C asks it to stop, a second one kills.

    Raises
    ------
    GeminiError, Cancelled
        As :func:`run_job`.
    """
    with polite_interrupts() as cancel:
        return run_job(job, CancelReporter(reporter, cancel))

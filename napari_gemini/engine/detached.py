"""Inside of a detached training: it answers once, then its run folder is all it talks to."""

from __future__ import annotations

import json
import os
from typing import BinaryIO

from napari_gemini.engine.child import LineWriter
from napari_gemini.engine.dispatch import run_job
from napari_gemini.engine.events import StartedEvent, format_event
from napari_gemini.engine.failures import error_event, explain
from napari_gemini.engine.interrupts import CANCEL_EXIT_CODE, polite_interrupts
from napari_gemini.engine.jobs import TrainJob, parse_job
from napari_gemini.engine.reporting import CancelReporter
from napari_gemini.engine.run_session import run_session
from napari_gemini.errors import EngineError
from napari_gemini.progress import Cancelled, SilentReporter


def _read_job(text: bytes) -> TrainJob:
    try:
        job = parse_job(json.loads(text))
    except ValueError as error:
        raise EngineError("The training got no whole job; start it again.") from error
    if not isinstance(job, TrainJob):
        raise EngineError(f"Only a training runs detached, not {job.kind}.")
    return job


def run_detached(requests: BinaryIO, answers: int) -> int:
    """Run the training whose job is all of `requests`.

    The answer is one event: started, when the run folder is ours, or an error. A launcher may die
    right after it.

    Returns
    -------
    int
        Exit code; 0 when the training ended well.
    """
    answered = False

    def answer(line: str) -> None:
        nonlocal answered
        if not answered:
            LineWriter(answers)(line)
            os.close(answers)
        answered = True

    try:
        job = _read_job(requests.read())
        requests.close()
        with polite_interrupts() as cancel:
            reporter = CancelReporter(SilentReporter(), cancel)
            with run_session(job, reporter) as session:
                answer(format_event(StartedEvent(kind=job.kind, pid=os.getpid())))
                run_job(session.job, session.reporter)
    except Cancelled:
        return CANCEL_EXIT_CODE
    except Exception as error:
        answer(format_event(error_event(error)))
        return explain(error).exit_code
    return 0

"""A batch spread over the workers of a dask cluster, which see the same files as we do."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from napari_gemini.engine.batch import BatchTarget, Outcome, Work, do_target
from napari_gemini.engine.failures import explain
from napari_gemini.errors import EngineError
from napari_gemini.progress import Cancelled, Reporter, SilentReporter

#: Seconds between two looks whether somebody wants to stop.
_LOOK_INTERVAL = 0.2
#: Seconds that running targets have to stop.
_STOP_TIMEOUT = 30.0
#: How often a target is tried again when its worker dies.
_RETRIES = 2


class _WorkerReporter(SilentReporter):
    """Reporter on a worker: silent, and stops when the batch's stop file appears."""

    def __init__(self, stop: Path) -> None:
        self._stop = stop
        self._next_look = 0.0
        self._stopped = False

    def cancelled(self) -> bool:
        """Whether the stop file is there."""
        now = time.monotonic()
        if not self._stopped and now >= self._next_look:
            self._next_look = now + _LOOK_INTERVAL
            self._stopped = self._stop.exists()
        return self._stopped


def _do_on_worker(target: BatchTarget, work: Work, records: Path, stop: Path) -> Outcome:
    return do_target(target, work, records, _WorkerReporter(stop))


def run_on_cluster(
    targets: Sequence[BatchTarget],
    work: Work,
    records: Path,
    reporter: Reporter,
    scheduler: str,
) -> Iterator[Outcome]:
    """Do targets on the workers and yield outcomes as they come; see :func:`.batch.run_batch`.

    A worker that dies costs a new try of its target, not the batch. A wish to stop reaches the
    workers through a file, since running work there cannot be interrupted otherwise.

    Raises
    ------
    Cancelled
        If the reporter asked to stop.
    EngineError
        If dask is missing or the scheduler does not answer.
    """
    stop = records / f".stop-{secrets.token_hex(8)}"
    with _connect(scheduler) as client:
        pending = {
            client.submit(
                _do_on_worker, target, work, records, stop, pure=False, retries=_RETRIES
            ): target.key
            for target in targets
        }
        try:
            while pending:
                if reporter.cancelled():
                    _stop_all(client, list(pending), stop)
                    raise Cancelled
                for future in _finished(client, list(pending), _LOOK_INTERVAL):
                    yield _outcome_of(future, pending.pop(future))
        finally:
            client.cancel(list(pending))
            stop.unlink(missing_ok=True)


def _connect(scheduler: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise EngineError(
            "--scheduler needs dask; install it with pip install 'napari-gemini[cluster]'."
        ) from error
    try:
        return Client(scheduler, timeout="10s", set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise EngineError(
            f"The scheduler {scheduler} does not answer ({error or 'no answer in time'}); check "
            "the address, or leave --scheduler out to work on this machine."
        ) from error


def _finished(client: Any, futures: list[Any], timeout: float) -> list[Any]:
    from distributed import wait

    try:
        with client.as_current():
            return list(wait(futures, timeout=timeout, return_when="FIRST_COMPLETED").done)
    except TimeoutError:
        return []


def _outcome_of(future: Any, key: str) -> Outcome:
    if future.status == "finished":
        outcome: Outcome = future.result()
        return outcome
    error = future.exception() if future.status == "error" else None
    name = type(error).__name__
    if name == "KilledWorker" or error is None:
        message = "its worker died again and again, maybe because the worker's memory is too small."
    else:
        message = str(explain(error))
    return Outcome(key, "failed", {}, message)


def _stop_all(client: Any, futures: list[Any], stop: Path) -> None:
    from distributed import wait

    stop.touch()
    try:
        with client.as_current():
            wait(futures, timeout=_STOP_TIMEOUT)
    except TimeoutError:
        client.cancel(futures, force=True)

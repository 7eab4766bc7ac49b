"""The engine's child for docks: jobs run there, their events arrive on the GUI thread.

The waiting happens in napari's own workers, so its task manager knows of every job and asks before
a window with a running one is closed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_gemini.engine.arrays import ArrayExchange
from napari_gemini.engine.client import EngineClient
from napari_gemini.engine.events import Event
from napari_gemini.engine.jobs import Job, PingJob
from napari_gemini.engine.memory import LIMIT_VARIABLE
from napari_gemini.errors import GeminiError
from napari_gemini.progress import Cancelled

if TYPE_CHECKING:
    from napari.qt.threading import GeneratorWorker

OnEvent = Callable[[Event], None]
OnResult = Callable[[dict[str, Any]], None]
OnError = Callable[[str], None]

#: Seconds between two looks at the child; what a cancel by the task manager may take longer.
_INTERVAL = 0.1
#: What a closed window leaves a running job to stop in, in seconds.
_CLOSE_TIMEOUT = 0.5


@dataclass(frozen=True)
class _Ended:
    """How a job ended: exactly one of the three."""

    values: dict[str, Any] | None = None
    error: str | None = None
    cancelled: bool = False


@dataclass(frozen=True)
class _Listener:
    """Whom a job is told of."""

    on_event: OnEvent | None
    on_result: OnResult | None
    on_error: OnError | None
    on_cancelled: Callable[[], None] | None

    def hear(self, event: Event) -> None:
        if self.on_event is not None:
            self.on_event(event)

    def end(self, ended: _Ended) -> None:
        if ended.cancelled:
            if self.on_cancelled is not None:
                self.on_cancelled()
        elif ended.error is not None:
            if self.on_error is not None:
                self.on_error(ended.error)
        elif self.on_result is not None:
            self.on_result(ended.values or {})


@dataclass(eq=False)
class JobHandle:
    """A job that was given to the engine.

    Parameters
    ----------
    engine
        That does it.
    job_id
        Its id there.
    description
        What the task manager calls it.
    """

    engine: QtEngine
    job_id: str
    description: str
    active: bool = True
    cancelling: bool = False
    _worker: Any = field(default=None, repr=False)

    def cancel(self) -> None:
        """Ask the job to stop; the child is killed when that does not help."""
        if self.active and not self.cancelling:
            self.cancelling = True
            self.engine.client.cancel(self.job_id)


class QtEngine:
    """Run jobs in the engine's child without ever blocking the window.

    Parameters
    ----------
    client
        Made with defaults unless given.
    memory_limit
        Returns the most memory, in GB, that a job may be estimated to need; 0 for no limit.
    """

    def __init__(
        self,
        client: EngineClient | None = None,
        memory_limit: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._environment: dict[str, str] = {}
        self._memory_limit = memory_limit
        if client is None:
            client = EngineClient(environment=self._environment)
        self.client = client
        self._handles: list[JobHandle] = []
        self._warm = False

    @property
    def busy(self) -> bool:
        """Whether a job is queued or runs."""
        return any(handle.active for handle in self._handles)

    @property
    def arrays(self) -> ArrayExchange:
        """Arrays that results name are opened here."""
        return self.client.arrays

    def warm(self) -> None:
        """Start the child and let it import torch in the background, once.

        A child that cannot start is told of by the first real job.
        """
        if self._warm:
            return
        self._warm = True
        with contextlib.suppress(GeminiError):
            self.run(PingJob(devices=True), description="Starting the engine")

    def run(
        self,
        job: Job,
        *,
        description: str,
        on_event: OnEvent | None = None,
        on_result: OnResult | None = None,
        on_error: OnError | None = None,
        on_cancelled: Callable[[], None] | None = None,
    ) -> JobHandle:
        """Queue a job; all callbacks come on the GUI thread, one of the last three exactly once.

        Parameters
        ----------
        job
            What to do.
        description
            What the task manager calls it.
        on_event
            Hears progress, log lines and notices.
        on_result
            Gets the job's values.
        on_error
            Gets one sentence.
        on_cancelled
            Called when the job was stopped.

        Raises
        ------
        EngineError
            If the child cannot be started.
        """
        from napari.qt.threading import create_worker

        self._take_limit()
        handle = JobHandle(self, self.client.submit(job), description)
        worker: GeneratorWorker = create_worker(
            _watch, self.client, handle.job_id, _start_thread=False, _ignore_errors=True
        )
        handle._worker = worker
        self._handles = [*(h for h in self._handles if h.active), handle]
        # Workers that have ended are kept by napari; what they call is let go of, or docks would
        # stay with them.
        listening = [_Listener(on_event, on_result, on_error, on_cancelled)]

        def end(ended: _Ended) -> None:
            handle.active = False
            for listener in [listening.pop() for _ in range(len(listening))]:
                listener.end(ended)

        def hear(batch: list[Event | _Ended]) -> None:
            for event in batch:
                if isinstance(event, _Ended):
                    end(event)
                elif handle.active:
                    for listener in listening:
                        listener.hear(event)

        def stop() -> None:
            # The task manager stopped the worker; the job itself has to be told.
            handle.cancel()
            end(_Ended(cancelled=True))

        worker.yielded.connect(hear)
        worker.aborted.connect(stop)
        worker.errored.connect(lambda error: end(_Ended(error=str(error))))
        worker.start()
        return handle

    def _take_limit(self) -> None:
        """Let the child know of the limit; only a new one takes it in, so an idle one goes."""
        limit = f"{self._memory_limit():g}"
        known = self._environment.get(LIMIT_VARIABLE, "0")
        if limit == known or (self.client.running and self.busy):
            return
        self._environment[LIMIT_VARIABLE] = limit
        if self.client.running:
            self.client.restart()

    def cancel_all(self) -> None:
        """Ask every job to stop."""
        for handle in self._handles:
            handle.cancel()

    def close(self) -> None:
        """End the child; results of finished jobs stay, unfinished jobs leave nothing."""
        for handle in self._handles:
            handle.active = False
            with contextlib.suppress(RuntimeError):
                handle._worker.quit()
        self._handles = []
        self.client.close(_CLOSE_TIMEOUT)


def _watch(client: EngineClient, job_id: str) -> Iterator[list[Event | _Ended]]:
    """Wait for a job in a worker's thread and hand over what it says."""
    events: list[Event | _Ended] = []
    while True:
        ended: _Ended | None = None
        try:
            values = client.wait(job_id, timeout=_INTERVAL, on_event=events.append)
        except TimeoutError:
            pass
        except Cancelled:
            ended = _Ended(cancelled=True)
        except GeminiError as error:
            ended = _Ended(error=str(error))
        else:
            ended = _Ended(values=values)
        if ended is not None:
            events.append(ended)
        # Yielded even when empty: only here does a worker notice that it is to stop.
        yield events
        if ended is not None:
            return
        events = []

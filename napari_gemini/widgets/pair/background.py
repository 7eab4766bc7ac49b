"""Short work off the GUI thread: reading maps, tables, resampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from napari_gemini.errors import GeminiError

Result = TypeVar("Result")


def in_background(
    function: Callable[[], Result],
    on_done: Callable[[Result], None],
    on_error: Callable[[str], None],
) -> Any:
    """Run `function` in one of napari's workers; the callbacks come on the GUI thread.

    Parameters
    ----------
    function
        Must touch neither widgets nor layers.
    on_done
        Gets the result.
    on_error
        Gets one sentence.

    Returns
    -------
    WorkerBase
        Has started already.
    """
    from napari.qt.threading import create_worker

    # napari keeps workers that have ended; what they call is let go of, or docks would stay too.
    work: list[Callable[[], Result]] = [function]
    done, failed = [on_done], [on_error]

    def let_go() -> None:
        for calls in (work, done, failed):
            calls.clear()

    worker = create_worker(lambda: work[0](), _start_thread=False, _ignore_errors=True)
    worker.returned.connect(lambda result: [call(result) for call in done])
    worker.errored.connect(lambda error: [call(words_of(error)) for call in failed])
    worker.finished.connect(let_go)
    worker.start()
    return worker


def words_of(error: BaseException) -> str:
    """Return what a user is told about an error."""
    if isinstance(error, GeminiError):
        return str(error)
    if isinstance(error, MemoryError):
        return "The memory does not suffice for this; close other programs or crop the scans."
    return f"This did not work ({type(error).__name__}: {error}); please report it."

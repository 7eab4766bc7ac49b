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

    worker = create_worker(function, _start_thread=False, _ignore_errors=True)
    worker.returned.connect(on_done)
    worker.errored.connect(lambda error: on_error(words_of(error)))
    worker.start()
    return worker


def words_of(error: BaseException) -> str:
    """Return what a user is told about an error."""
    if isinstance(error, GeminiError):
        return str(error)
    if isinstance(error, MemoryError):
        return "The memory does not suffice for this; close other programs or crop the scans."
    return f"This did not work ({type(error).__name__}: {error}); please report it."

"""Work that takes a moment, in one of napari's threads, so that its task manager knows of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


def in_thread(
    work: Callable[[], Result],
    description: str,
    done: Callable[[Result], Any],
    failed: Callable[[str], Any],
) -> None:
    """Do something in a thread and hear of it on the GUI thread.

    Parameters
    ----------
    work
        Called in the thread; it touches no widget and no layer.
    description
        What the task manager calls it.
    done
        Gets what `work` returned.
    failed
        Gets the sentence of what it raised.
    """
    from napari.qt.threading import create_worker

    create_worker(
        work,
        _connect={"returned": done, "errored": lambda error: failed(str(error))},
        _ignore_errors=True,
        _progress={"total": 0, "desc": description},
    )

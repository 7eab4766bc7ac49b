"""Work that takes a moment, in one of napari's threads, so that its task manager knows of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from napari_gemini.errors import GeminiError

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

    # Nothing is raised in the worker: napari's own listener to that fails on PySide6.
    def guarded() -> tuple[Result | None, str]:
        try:
            return work(), ""
        except GeminiError as error:
            return None, str(error)
        except Exception as error:
            return None, f"{description} failed ({type(error).__name__}: {error}): try again."

    def ended(outcome: tuple[Any, str]) -> None:
        result, sentence = outcome
        if sentence:
            failed(sentence)
        else:
            done(result)

    create_worker(
        guarded,
        _connect={"returned": ended},
        _progress={"total": 0, "desc": description},
    )

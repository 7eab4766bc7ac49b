"""Ctrl-C and termination outside of jobs: end at once, say one sentence, leave nothing behind.

While a job runs, :func:`napari_gemini.engine.interrupts.polite_interrupts` takes over.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: What a shell reports for a command ended by Ctrl-C.
INTERRUPTED = 130


class Interrupts:
    """Whether the user asked to stop.

    Attributes
    ----------
    heard
        Set by the first signal. Libraries may swallow or rename the exception that it raises.
    """

    def __init__(self) -> None:
        self.heard = False

    def take(self, number: int, frame: FrameType | None) -> None:
        """Take a signal."""
        self.heard = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt when a signal was heard."""
        if self.heard:
            raise KeyboardInterrupt


#: Of the command that runs.
current = Interrupts()


@contextmanager
def hear_interrupts() -> Iterator[Interrupts]:
    """Take SIGINT and SIGTERM during the block, in the main thread.

    Yields
    ------
    Interrupts
        Fresh for this command.
    """
    current.heard = False
    if threading.current_thread() is not threading.main_thread():
        yield current
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, current.take) for number in signals}
    try:
        yield current
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_of_interrupt() -> str:
    """Print and return what is said after Ctrl-C."""
    sentence = "Stopped; nothing was left half-written."
    print(sentence, file=sys.stderr)
    return sentence

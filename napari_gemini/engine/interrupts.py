"""Ctrl-C and termination: the first asks politely, the second kills.

Everything on disk is written atomically, so the kill loses time, not data.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

#: What a shell reports for a command ended by Ctrl-C.
CANCEL_EXIT_CODE = 130
_SHOW_CURSOR = b"\x1b[?25h"
_HEARD = b"\nStopping at the next safe point; press Ctrl-C again to kill.\n"


@contextmanager
def polite_interrupts() -> Iterator[threading.Event]:
    """Turn the first SIGINT or SIGTERM of the block into a request to stop.

    The second one ends the process at once, as it would without us. Only the main thread can take
    signals; in another one this does nothing but give the event.

    Yields
    ------
    threading.Event
        Set when the work should stop.
    """
    cancel = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield cancel
        return

    def ask_or_kill(number: int, frame: FrameType | None) -> None:
        if cancel.is_set():
            die_of(number)
        cancel.set()
        # Not through a reporter: the work may be in the middle of its own write.
        with suppress(OSError):
            os.write(2, _HEARD)

    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, ask_or_kill) for number in signals}
    try:
        yield cancel
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def die_of(number: int) -> None:
    """End this process by a signal's default action, so that callers see the true reason."""
    if sys.stderr is not None and sys.stderr.isatty():  # pragma: no cover
        os.write(2, _SHOW_CURSOR)  # a progress bar hid it
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)

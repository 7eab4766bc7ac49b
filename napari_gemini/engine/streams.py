"""The engine's own ends of standard input and output; imports nothing that could print."""

from __future__ import annotations

import os
from typing import BinaryIO


def take_streams() -> tuple[BinaryIO, int]:
    """Take standard input and output for the engine alone.

    Descriptor 0 becomes empty and 1 becomes another name of 2, so neither a print, nor a C library,
    nor a process that one of them starts can read requests or write among the events.

    Returns
    -------
    tuple
        The stream of requests and the descriptor for events; no started process inherits them.
    """
    requests, answers = os.dup(0), os.dup(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    return os.fdopen(requests, "rb"), answers

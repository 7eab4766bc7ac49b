"""Connections that are dropped together when a dock goes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any


class Connections:
    """Signals (psygnal, Qt or napari events) and the slots joined to them."""

    def __init__(self) -> None:
        self._pairs: list[tuple[Any, Callable[..., Any]]] = []

    def connect(self, signal: Any, slot: Callable[..., Any]) -> None:
        """Join `slot` to `signal` until :meth:`drop`."""
        signal.connect(slot)
        self._pairs.append((signal, slot))

    def drop(self) -> None:
        """Part everything that was joined; what has gone already is no error."""
        pairs, self._pairs = self._pairs, []
        for signal, slot in pairs:
            # Qt says RuntimeError for dead objects, TypeError and ValueError for parted ones.
            with contextlib.suppress(RuntimeError, TypeError, ValueError):
                signal.disconnect(slot)

"""What happens before and after a window closes."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QWidget

Guard = Callable[[], bool]


class CloseWatch(QObject):
    """Asks guards before a window closes and tells listeners when it has gone.

    Parameters
    ----------
    window
        The main window.
    """

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._guards: list[Guard] = []
        window.installEventFilter(self)

    def add_guard(self, guard: Guard) -> None:
        """Ask `guard` before each close; False keeps the window open."""
        if guard not in self._guards:
            self._guards.append(guard)

    def remove_guard(self, guard: Guard) -> None:
        """Ask `guard` no longer."""
        if guard in self._guards:
            self._guards.remove(guard)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """Stop a close event when a guard says no."""
        if event is not None and event.type() == QEvent.Type.Close:
            # All are asked: each may have something to save.
            if not all([guard() for guard in list(self._guards)]):
                event.ignore()
                return True
        return False

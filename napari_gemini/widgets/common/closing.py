"""What happens before and after a window closes."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakMethod

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QWidget

Guard = Callable[[], bool]


class CloseWatch(QObject):
    """Asks guards before a window closes.

    Parameters
    ----------
    window
        The main window.
    """

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._guards: list[WeakMethod[Guard]] = []
        window.installEventFilter(self)

    def add_guard(self, guard: Guard) -> None:
        """Ask `guard`, a method, before each close; its object is held weakly."""
        weak = WeakMethod(guard)
        if weak not in self._guards:
            self._guards.append(weak)

    def remove_guard(self, guard: Guard) -> None:
        """Ask `guard` no longer."""
        weak = WeakMethod(guard)
        if weak in self._guards:
            self._guards.remove(weak)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Stop a close event when a guard says no."""
        if event is None or event.type() != QEvent.Type.Close:
            return False
        # All are asked, also after a no: each may have something to save.
        guards = [weak() for weak in self._guards]
        answers = [guard() for guard in guards if guard is not None]
        if all(answers):
            return False
        event.ignore()
        return True

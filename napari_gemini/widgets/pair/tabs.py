"""Tabs that are as high as the page that is shown, so that a short page needs no scroll bar."""

from __future__ import annotations

from qtpy.QtWidgets import QSizePolicy, QTabWidget, QWidget

#: Around a page before it has been laid out, in pixels.
_FRAME = 8


class Tabs(QTabWidget):
    """Tabs of a dock; the dock scrolls where the page that is shown is too high."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.currentChanged.connect(self._fit)

    def _fit(self, index: int) -> None:
        for number in range(self.count()):
            page = self.widget(number)
            assert page is not None
            policy = page.sizePolicy()
            shown = number == index
            policy.setVerticalPolicy(
                QSizePolicy.Policy.Preferred if shown else QSizePolicy.Policy.Ignored
            )
            page.setSizePolicy(policy)
        self.updateGeometry()

    def tabInserted(self, index: int) -> None:
        """Let a new page not count before it is shown."""
        super().tabInserted(index)
        self._fit(self.currentIndex())

    def heightForWidth(self, width: int) -> int:
        """Return how high the page that is shown wants to be; Qt asks for the highest of all."""
        page, bar = self.currentWidget(), self.tabBar()
        if page is None or bar is None:
            return super().heightForWidth(width)
        frame = self.width() - page.width() if page.isVisible() else _FRAME
        inside = width - frame
        height = (
            page.heightForWidth(inside) if page.hasHeightForWidth() else page.sizeHint().height()
        )
        return max(height, page.minimumSizeHint().height()) + bar.sizeHint().height() + _FRAME

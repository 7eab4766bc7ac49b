"""A list of (volume, segmentation) pairs: two selectors, buttons, a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from GeminiPropagateLib.ui_tools import alive, blocked

Pair = tuple[Any, Any]


class PairList:
    """Keeps a table of pairs; the pairs themselves belong to the parameter node.

    Parameters
    ----------
    table, volume_selector, segmentation_selector, add_button, remove_button
        Widgets.
    on_change
        Called with the new pairs after the user changed them.
    """

    def __init__(
        self,
        table: Any,
        volume_selector: Any,
        segmentation_selector: Any,
        add_button: Any,
        remove_button: Any,
        on_change: Callable[[list[Pair]], None],
    ) -> None:
        self._table = table
        self._volume_selector = volume_selector
        self._segmentation_selector = segmentation_selector
        self._on_change = on_change
        self._pairs: list[Pair] = []
        table.setHorizontalHeaderLabels([_("Volume"), _("Segmentation")])
        table.horizontalHeader().stretchLastSection = True
        add_button.clicked.connect(self._add)
        remove_button.clicked.connect(self._remove)

    @property
    def pairs(self) -> list[Pair]:
        """The pairs of which both nodes are still there."""
        return [pair for pair in self._pairs if alive(pair[0]) and alive(pair[1])]

    def show(self, pairs: Sequence[Pair]) -> None:
        """Fill the table; does not call `on_change`."""
        self._pairs = list(pairs)
        with blocked(self._table):
            self._table.rowCount = len(self.pairs)
            for row, pair in enumerate(self.pairs):
                for column, node in enumerate(pair):
                    self._table.setItem(row, column, qt.QTableWidgetItem(node.GetName()))

    def add(self, pairs: Sequence[Pair]) -> None:
        """Add pairs that are not in the list."""
        new = [pair for pair in pairs if pair not in self.pairs]
        if new:
            self._on_change(self.pairs + new)

    def _add(self, *_args: object) -> None:
        volume = self._volume_selector.currentNode()
        segmentation = self._segmentation_selector.currentNode()
        if volume is not None and segmentation is not None:
            self.add([(volume, segmentation)])

    def _remove(self, *_args: object) -> None:
        row = self._table.currentRow()
        if 0 <= row < len(self.pairs):
            self._on_change(self.pairs[:row] + self.pairs[row + 1 :])

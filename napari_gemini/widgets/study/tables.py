"""Tables that look alike: narrow, without a grid, one row at a time."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTableView,
    QTableWidget,
    QTableWidgetItem,
)


def plain_table(table: QTableView, row_height: int) -> QHeaderView:
    """Give a table its looks and return its horizontal header."""
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setShowGrid(False)
    table.setWordWrap(False)
    vertical, horizontal = table.verticalHeader(), table.horizontalHeader()
    assert vertical is not None
    assert horizontal is not None
    vertical.hide()
    vertical.setDefaultSectionSize(row_height)
    horizontal.setHighlightSections(False)
    return horizontal


def item_at(table: QTableWidget, row: int, column: int) -> QTableWidgetItem:
    """Return the item of a cell that has one."""
    item = table.item(row, column)
    assert item is not None
    return item

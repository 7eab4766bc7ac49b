"""The table of results: one row each, one column for each piece of evidence, sortable."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from qtpy.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QPersistentModelIndex,
    QSortFilterProxyModel,
    Qt,
)
from qtpy.QtGui import QColor, QFont
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from napari_gemini.evaluation.doubt import FEWEST_FOR_OUTLIERS, OUTLIER_Z
from napari_gemini.study.review import ReviewRow
from napari_gemini.widgets.review.items import MEASURES, Item

Show = Literal["all", "predictions", "pairs", "outliers", "not reviewed"]
SHOWS: tuple[Show, ...] = ("all", "predictions", "pairs", "outliers", "not reviewed")

NAME, SOURCE, DOUBT, VERDICT, COMMENT = "name", "source", "doubt", "verdict", "comment"
_TITLES = {NAME: "Case", SOURCE: "From", DOUBT: "Doubt", VERDICT: "Verdict", COMMENT: "Comment"}
_HELP = {
    NAME: "The case whose labels were predicted, or the pair",
    SOURCE: "The run that predicted it, or where the pair lies: rows of one origin are compared",
    DOUBT: (
        "How far the evidence on a result lies on the bad side of its cohort: the root sum of "
        "squares of the robust z-scores of all measures. It ranks; no threshold says what is good."
    ),
    VERDICT: "Who decided what, and when",
    COMMENT: "What was written about it",
}
#: Readable on napari's dark and light background.
_MARK = QColor("#e07b1a")
#: Pixels; the evidence has to fit into a dock.
FONT = 11
_SORT = int(Qt.ItemDataRole.UserRole)
_Index = QModelIndex | QPersistentModelIndex


class ItemModel(QAbstractTableModel):
    """Items as a table.

    Parameters
    ----------
    one_source
        Whether all rows have one origin, so that no column need name it.
    """

    def __init__(self, parent: QWidget | None = None, *, one_source: bool = False) -> None:
        super().__init__(parent)
        self.items: list[Item] = []
        self._one_source = one_source
        self.columns: list[str] = []
        self._lay_out()

    def set_items(self, items: Sequence[Item]) -> None:
        """Show other items."""
        self.beginResetModel()
        self.items = list(items)
        self._lay_out()
        self.endResetModel()

    def _lay_out(self) -> None:
        known = [key for key in MEASURES if any(key in item.values for item in self.items)]
        origin = [] if self._one_source else [SOURCE]
        self.columns = [NAME, DOUBT, VERDICT, *known, *origin, COMMENT]

    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008 - Qt's signature
        """Return the number of items."""
        return 0 if parent.isValid() else len(self.items)

    def columnCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008
        """Return the number of columns."""
        return 0 if parent.isValid() else len(self.columns)

    def headerData(
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = int(Qt.ItemDataRole.DisplayRole),
    ) -> Any:
        """Return title or tooltip of a column."""
        if orientation != Qt.Orientation.Horizontal or section >= len(self.columns):
            return None
        column = self.columns[section]
        measure = MEASURES.get(column)
        if role == Qt.ItemDataRole.DisplayRole:
            return measure.title if measure else _TITLES[column]
        if role == Qt.ItemDataRole.ToolTipRole:
            return measure.help if measure else _HELP[column]
        return None

    def data(self, index: _Index, role: int = int(Qt.ItemDataRole.DisplayRole)) -> Any:
        """Return what a cell shows, says, and how it is sorted and marked."""
        if not index.isValid():
            return None
        item, column = self.items[index.row()], self.columns[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return cell_text(item, column)
        if role == _SORT:
            return _sort_key(item, column)
        if role == Qt.ItemDataRole.ToolTipRole:
            return cell_help(item, column)
        if role == Qt.ItemDataRole.TextAlignmentRole and (column == DOUBT or column in MEASURES):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if is_marked(item, column):
            if role == Qt.ItemDataRole.ForegroundRole:
                return _MARK
            if role == Qt.ItemDataRole.FontRole:
                font = QFont()
                font.setPixelSize(FONT)
                font.setBold(True)
                return font
        return None


def is_marked(item: Item, column: str) -> bool:
    """Say whether a cell is marked as far from the rest of its cohort."""
    if column == DOUBT:
        return item.outlier
    return item.outlier and item.z.get(column, 0.0) > OUTLIER_Z


def cell_text(item: Item, column: str) -> str:
    """Return what a cell shows."""
    if column in MEASURES:
        value = item.values.get(column)
        return "–" if value is None else f"{value:.{MEASURES[column].digits}f}"
    if column == DOUBT:
        if item.doubt is None:
            return "–"
        return f"▲ {item.doubt:.1f}" if item.outlier else f"{item.doubt:.1f}"
    if column == VERDICT:
        return "" if item.review is None else item.review.verdict
    if column == COMMENT:
        return "" if item.review is None else item.review.comment
    return item.name if column == NAME else item.source.removeprefix("predictions/")


def cell_help(item: Item, column: str) -> str:
    """Return the tooltip of a cell."""
    if column == DOUBT:
        return doubt_in_words(item)
    if column in item.z:
        z = item.z[column]
        side = "the bad side" if z > 0 else "the good side"
        return f"Robust z-score {abs(z):.1f}, on {side} of the median of {item.cohort} results."
    if column in (VERDICT, COMMENT) and item.review is not None:
        return review_in_words(item.review)
    return str(item.path) if column == NAME else cell_text(item, column)


def doubt_in_words(item: Item) -> str:
    """Say why a result is doubtful, or why nothing can be said."""
    if item.doubt is None:
        return "There is no evidence on this result."
    if item.cohort < FEWEST_FOR_OUTLIERS:
        return (
            f"Compared with {item.cohort - 1} others; outliers are marked from "
            f"{FEWEST_FOR_OUTLIERS} results on."
        )
    striking = sorted(
        (key for key, z in item.z.items() if z > OUTLIER_Z), key=lambda key: -item.z[key]
    )
    if not item.outlier or not striking:
        return (
            f"No measure lies more than {OUTLIER_Z} robust standard deviations on the bad side of "
            f"the median of {item.cohort} results. That makes it like the others, not right."
        )
    parts = [
        f"{MEASURES[key].title} {cell_text(item, key)} (z {item.z[key]:.1f})" for key in striking
    ]
    return (
        f"Outlier among {item.cohort} results: {', '.join(parts)}; marked beyond a robust z-score "
        f"of {OUTLIER_Z} (distance from the median in units of 1.48 median deviations)."
    )


def review_in_words(review: ReviewRow) -> str:
    """Return a verdict with who and when."""
    try:
        when = datetime.fromisoformat(review.when).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        when = review.when
    parts = [review.verdict, f"by {review.who}" if review.who else "", when]
    words = " ".join(part for part in parts if part)
    return f"{words}: {review.comment}" if review.comment else words


def _sort_key(item: Item, column: str) -> Any:
    if column in MEASURES:
        return item.values.get(column, float("-inf"))
    if column == DOUBT:
        return -1.0 if item.doubt is None else item.doubt
    return cell_text(item, column)


class ItemFilter(QSortFilterProxyModel):
    """Sorts by value and lets through what is to be shown."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.show: Show = "all"
        self.setSortRole(_SORT)

    def set_show(self, show: Show) -> None:
        """Let other rows through."""
        self.show = show
        self.invalidate()

    def filterAcceptsRow(self, row: int, parent: _Index) -> bool:
        """Say whether a row is shown."""
        model = self.sourceModel()
        assert isinstance(model, ItemModel)
        item = model.items[row]
        return {
            "all": True,
            "predictions": item.kind == "prediction",
            "pairs": item.kind == "pair",
            "outliers": item.outlier,
            "not reviewed": item.review is None,
        }[self.show]


class ItemTable(QTableView):
    """The view of an :class:`ItemModel`."""

    def __init__(self, parent: QWidget | None = None, *, one_source: bool = False) -> None:
        super().__init__(parent)
        self.items = ItemModel(self, one_source=one_source)
        self.filter = ItemFilter(self)
        self.filter.setSourceModel(self.items)
        self.setModel(self.filter)
        self.setSortingEnabled(True)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setWordWrap(False)
        self.setStyleSheet(f"font-size: {FONT}px;")
        header = self.horizontalHeader()
        assert header is not None
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setStretchLastSection(True)
        rows = self.verticalHeader()
        assert rows is not None
        rows.hide()
        rows.setDefaultSectionSize(FONT + 9)

    def set_items(self, items: Sequence[Item]) -> None:
        """Show other items; sorting and the selected item stay."""
        selected = self.selected()
        fresh = not self.items.items
        layout = self.items.columns
        self.items.set_items(items)
        if fresh or layout != self.items.columns:
            self.sortByColumn(self.items.columns.index(DOUBT), Qt.SortOrder.DescendingOrder)
            self.resizeColumnsToContents()
        if selected is not None:
            self.select(selected.key)

    def selected(self) -> Item | None:
        """Return the selected item, None without one."""
        model = self.selectionModel()
        rows = model.selectedRows() if model is not None else []
        return self._item(rows[0]) if rows else None

    def _item(self, index: QModelIndex) -> Item:
        return self.items.items[self.filter.mapToSource(index).row()]

    def shown(self) -> list[Item]:
        """Return the items that the filter lets through, in the order of the table."""
        count = self.filter.rowCount()
        return [self._item(self.filter.index(row, 0)) for row in range(count)]

    def select(self, key: tuple[str, str]) -> bool:
        """Select the row of an item; False where it is not shown."""
        for row, item in enumerate(self.shown()):
            if item.key == key:
                self.selectRow(row)
                self.scrollTo(self.filter.index(row, 0))
                return True
        return False

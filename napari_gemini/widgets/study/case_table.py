"""The table of cases: filter, sort, show a case by a click or Enter."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QSize,
    QSortFilterProxyModel,
    Qt,
    Signal,
)
from qtpy.QtGui import QColor, QFont, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLineEdit,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_gemini.study.scheme import LabelScheme
from napari_gemini.study.study import Study
from napari_gemini.study.summary import LabelSummary
from napari_gemini.widgets.study.rows import COLUMNS, CaseRow, RowReader
from napari_gemini.widgets.study.tables import plain_table

_SWATCH = 8
#: Pixels; seven columns have to fit into a dock.
_FONT = 11
_SORT = Qt.ItemDataRole.UserRole + 1
#: All of them fit into the dock as it opens; the rest is a matter of dragging.
_WIDTHS = dict(zip(COLUMNS, (94, 64, 42, 62, 44, 50, 38), strict=True))


class CaseModel(QAbstractTableModel):
    """The rows of a study."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.rows: list[CaseRow] = []
        self.scheme = LabelScheme(names={1: "label 1"})
        self.shown: str | None = None
        #: Of the table, which the row in bold follows.
        self.font = QFont()

    def set_rows(self, rows: Sequence[CaseRow], scheme: LabelScheme) -> None:
        """Show other rows; where the cases stay the same, selection and order do too."""
        self.scheme = scheme
        if [row.case for row in rows] == [row.case for row in self.rows]:
            self.rows = list(rows)
            self._changed(0, len(self.rows) - 1)
            return
        self.beginResetModel()
        self.rows = list(rows)
        self.endResetModel()

    def set_row(self, row: CaseRow) -> None:
        """Replace the row of a case."""
        for number, old in enumerate(self.rows):
            if old.case == row.case and old != row:
                self.rows[number] = row
                self._changed(number, number)

    def set_shown(self, case: str | None) -> None:
        """Mark the case that is shown in the viewer."""
        self.shown = case
        self._changed(0, len(self.rows) - 1)

    def _changed(self, first: int, last: int) -> None:
        if first <= last:
            self.dataChanged.emit(self.index(first, 0), self.index(last, len(COLUMNS) - 1))

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Cases."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Columns."""
        return 0 if parent is not None and parent.isValid() else len(COLUMNS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Names of the columns."""
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return COLUMNS[section]
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Text, colours of the classes, what to sort by, and a tooltip."""
        if not index.isValid():
            return None
        row, column = self.rows[index.row()], COLUMNS[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return "" if column == "Classes" else row.text(column, self.scheme)
        if role == _SORT:
            return row.sort_key(column, self.scheme)
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tooltip(row, column)
        if role == Qt.ItemDataRole.DecorationRole and column == "Classes":
            return swatches(row, self.scheme)
        if role == Qt.ItemDataRole.FontRole and row.case == self.shown and column == "Case":
            font = QFont(self.font)
            font.setBold(True)
            return font
        return None

    def _tooltip(self, row: CaseRow, column: str) -> str:
        if row.problem:
            return row.problem
        text = row.text(column, self.scheme)
        if column == "Saved" and row.saved is not None:
            return f"saved {row.saved:%H:%M:%S on %d %B %Y}"
        if column == "Labels":
            return f"{text.replace('/', ' of ')} labels of the scheme are painted"
        if column == "Slices":
            return f"{text.replace('/', ' of ')} axial slices have labels"
        return text


def swatches(row: CaseRow, scheme: LabelScheme) -> QIcon | None:
    """Draw one square for each class present."""
    values = () if row.summary is None else row.summary.values[:16]
    if not values:
        return None
    pixmap = QPixmap((_SWATCH + 2) * len(values), _SWATCH)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    for number, value in enumerate(values):
        colour = QColor(scheme.colors.get(value, "#ff00ff"))
        painter.fillRect(number * (_SWATCH + 2), 0, _SWATCH, _SWATCH, colour)
    painter.end()
    icon = QIcon(pixmap)
    # The same in a selected row: tinted colours would be others.
    icon.addPixmap(pixmap, QIcon.Mode.Selected)
    return icon


class CaseFilter(QSortFilterProxyModel):
    """Leaves the rows that hold every word, in the order of a column."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._words = ""
        self.setSortRole(_SORT)

    def set_words(self, words: str) -> None:
        """Leave only rows that hold every word."""
        self._words = words
        self.invalidate()

    def filterAcceptsRow(self, source_row: int, source_parent: QModelIndex) -> bool:
        """Whether a row holds every word."""
        model = self.sourceModel()
        assert isinstance(model, CaseModel)
        return model.rows[source_row].matches(self._words, model.scheme)

    def lessThan(self, left: QModelIndex, right: QModelIndex) -> bool:
        """Compare by value, not by text."""
        model = self.sourceModel()
        assert isinstance(model, CaseModel)
        column = COLUMNS[left.column()]
        keys = [model.rows[i.row()].sort_key(column, model.scheme) for i in (left, right)]
        return bool(keys[0] < keys[1])


class _View(QTableView):
    """A table in which Enter is as good as a click."""

    entered_row = Signal()

    def keyPressEvent(self, event: Any) -> None:
        """Take Enter for a click."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.entered_row.emit()
        else:
            super().keyPressEvent(event)


class CaseTable(QWidget):
    """The table with its filter.

    Rows are read in a thread: the table is there at once, its details follow.
    """

    #: A case was chosen to be shown.
    chosen = Signal(str)
    _read = Signal(int, object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = CaseModel(self)
        self.proxy = CaseFilter(self)
        self.proxy.setSourceModel(self.model)
        self.filter = QLineEdit(self)
        self.filter.setPlaceholderText("Filter: a name, role, class or status")
        self.filter.setClearButtonEnabled(True)
        self.filter.textChanged.connect(self.proxy.set_words)
        self.view = _View(self)
        self.view.setModel(self.proxy)
        self.view.setSortingEnabled(True)
        self.view.sortByColumn(-1, Qt.SortOrder.AscendingOrder)
        self.view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.view.setMinimumHeight(150)
        self.view.setIconSize(QSize(160, _SWATCH))
        header = plain_table(self.view, 20)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setMinimumSectionSize(24)
        self.view.setStyleSheet(f"font-size: {_FONT}px;")
        self.model.font.setPixelSize(_FONT)
        for number, name in enumerate(COLUMNS):
            self.view.setColumnWidth(number, _WIDTHS[name])
        self.view.clicked.connect(self._choose)
        self.view.entered_row.connect(self._choose)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.filter)
        layout.addWidget(self.view, 1)
        self._reader: RowReader | None = None
        self._turn = 0
        self._read.connect(self._arrived)

    # -- content -------------------------------------------------------------------------------

    def set_study(self, study: Study | None) -> None:
        """Show the cases of a study."""
        self._reader = None if study is None else RowReader(study)
        self._turn += 1
        self.model.set_rows([], self.model.scheme)
        if study is not None:
            # An image is one slice: its name has better use for the room.
            flat = study.dimension == 2
            self.view.setColumnHidden(COLUMNS.index("Slices"), flat)
            width = _WIDTHS["Case"] + (_WIDTHS["Slices"] if flat else 0)
            self.view.setColumnWidth(COLUMNS.index("Case"), width)
        self.refresh()

    def refresh(self) -> None:
        """Read everything again that may have changed."""
        if self._reader is None:
            return
        study = self._reader.study
        cases = study.cases
        old = {row.case: row for row in self.model.rows}
        rows = [old[c.id].updated(c) if c.id in old else CaseRow.of(c) for c in cases]
        self.model.set_rows(rows, study.scheme)
        self._turn += 1
        threading.Thread(
            target=self._read_rows,
            args=(self._turn, self._reader, cases),
            name="case-table",
            daemon=True,
        ).start()

    def _read_rows(self, turn: int, reader: RowReader, cases: Sequence[Any]) -> None:
        # The table may be gone before the last row is read.
        with contextlib.suppress(RuntimeError):
            for case in cases:
                if turn != self._turn:
                    return
                self._read.emit(turn, reader.read(case))

    def _arrived(self, turn: int, row: CaseRow) -> None:
        if turn == self._turn and self._reader is not None:
            self.model.set_row(row)

    def saved(self, case_id: str, summary: LabelSummary) -> None:
        """Take note that labels of a case were written."""
        if self._reader is None:
            return
        with contextlib.suppress(OSError):
            self._reader.remember(case_id, summary)
            self.model.set_row(self._reader.read(self._reader.study.case(case_id)))

    def stop(self) -> None:
        """Read no further."""
        self._turn += 1

    # -- choice --------------------------------------------------------------------------------

    def order(self) -> list[str]:
        """Return the cases as they are listed now."""
        rows = range(self.proxy.rowCount())
        places = [self.proxy.mapToSource(self.proxy.index(row, 0)).row() for row in rows]
        return [self.model.rows[place].case for place in places]

    @property
    def selected(self) -> str | None:
        """The selected case."""
        index = self.view.currentIndex()
        return self.order()[index.row()] if index.isValid() else None

    def select(self, case: str | None) -> None:
        """Select and mark the case that is shown."""
        self.model.set_shown(case)
        order = self.order()
        if case in order:
            self.view.selectRow(order.index(case))

    def _choose(self, *_: Any) -> None:
        case = self.selected
        if case is not None:
            self.chosen.emit(case)

"""Shows the numbers of a pair: evidence with ranks, sentences, a table per label."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_gemini.evaluation.tables import Table
from napari_gemini.widgets.pair.numbers import Numbers

#: Columns of the report's table that fit into a dock beside the labels' names, and what they are
#: called here.
_SHORT = {
    "Label": "Label",
    "Dice": "Dice",
    "Moving / fixed size": "Size",
    "Folds %": "Folds %",
    "GSS": "GSS",
}


class NumbersPanel(QWidget):
    """Evidence, not a verdict: no threshold is agreed upon."""

    report_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.heading = QLabel("No pair yet.")
        self.heading.setWordWrap(True)
        self.heading.setTextFormat(Qt.TextFormat.PlainText)
        self.evidence = _table()
        self.caption = QLabel()
        self.caption.setWordWrap(True)
        self.label_heading = QLabel("Per label")
        self.labels = _table()
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.words.setTextFormat(Qt.TextFormat.PlainText)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.report = QPushButton("Open the full report")
        self.report.setToolTip("report.html, with pictures, in the web browser")
        self.report.clicked.connect(self.report_wanted)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 6, 4, 4)
        for widget in (
            self.heading,
            self.evidence,
            self.caption,
            self.label_heading,
            self.labels,
            self.words,
            self.report,
        ):
            layout.addWidget(widget)
        layout.addStretch(1)
        self.show_numbers("No pair yet.", None)

    def show_numbers(self, heading: str, numbers: Numbers | None) -> None:
        """Fill the panel; None while nothing is known."""
        self.heading.setText(heading)
        for widget in (self.evidence, self.caption, self.words, self.report):
            widget.setVisible(numbers is not None)
        table = None if numbers is None else numbers.labels
        self.label_heading.setVisible(table is not None)
        self.labels.setVisible(table is not None)
        if numbers is None:
            return
        ranked = any(row.rank is not None for row in numbers.rows)
        heads = ["Evidence", "Value"] + (["Rank"] if ranked else [])
        _fill(
            self.evidence,
            heads,
            [
                [row.title, row.value] + ([row.rank.short if row.rank else ""] if ranked else [])
                for row in numbers.rows
            ],
            [row.hint for row in numbers.rows],
        )
        self.caption.setText(
            f"Ranks are among this study's {numbers.others + 1} pairs, 1 is best. "
            "No limit between good and bad is agreed upon: look at the worst places."
            if ranked
            else "No limit between good and bad is agreed upon: look at the worst places. With "
            "more pairs in the study, ranks stand here."
        )
        self.words.setText("\n\n".join(numbers.words))
        if table is not None:
            self._show_labels(table)

    def _show_labels(self, table: Table) -> None:
        kept = [i for i, column in enumerate(table.columns) if column.title in _SHORT]
        heads = [_SHORT[table.columns[i].title] for i in kept]
        rows = [[row[i].shown for i in kept] for row in table.rows]
        _fill(self.labels, heads, rows, [row[0] for row in rows])
        for index, column in enumerate(kept):
            item = self.labels.horizontalHeaderItem(index)
            if item is not None:
                full = table.columns[column]
                item.setToolTip(f"{full.title}: {full.hint}" if full.hint else full.title)


def _table() -> QTableWidget:
    table = QTableWidget()
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
    side = table.verticalHeader()
    assert side is not None
    side.setVisible(False)
    table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    table.setWordWrap(True)
    return table


def _fill(table: QTableWidget, heads: list[str], rows: list[list[str]], hints: list[str]) -> None:
    table.clear()
    table.setColumnCount(len(heads))
    table.setRowCount(len(rows))
    table.setHorizontalHeaderLabels(heads)
    for number, row in enumerate(rows):
        for column, words in enumerate(row):
            item = QTableWidgetItem(words)
            item.setToolTip(hints[number])
            if column:
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            table.setItem(number, column, item)
    header, side = table.horizontalHeader(), table.verticalHeader()
    assert header is not None
    assert side is not None
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    table.resizeRowsToContents()
    # All rows are seen: the dock scrolls, not each table.
    height = header.sizeHint().height() + side.length() + 4
    table.setFixedHeight(height + (14 if len(heads) > 5 else 0))

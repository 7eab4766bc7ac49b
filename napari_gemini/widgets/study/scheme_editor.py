"""The list of labels: names, colours and keys, one scheme for the study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QColorDialog,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_gemini.errors import GeminiError, InputError
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.widgets.study.tables import item_at, plain_table

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS = ("Key", "", "Name", "Value")
_KEY, _COLOUR, _NAME, _VALUE = range(4)
_ROW = 19


class SchemeEditor(QWidget):
    """Shows the labels and changes them; each change is applied at once.

    Parameters
    ----------
    apply
        Takes a new scheme, raises GeminiError to refuse it.
    """

    #: Value of a label that was clicked.
    selected = Signal(int)
    #: A sentence about a change that was refused.
    refused = Signal(str)

    def __init__(self, apply: Callable[[LabelScheme], None], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._apply = apply
        self._scheme: LabelScheme | None = None
        self._filling = False
        self.table = QTableWidget(0, len(COLUMNS), self)
        self.table.setHorizontalHeaderLabels(COLUMNS)
        self.table.setIconSize(QSize(18, 14))
        self._header = plain_table(self.table, _ROW)
        self._header.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        for column, width in ((_KEY, 40), (_COLOUR, 30), (_VALUE, 50)):
            self.table.setColumnWidth(column, width)
        self.table.itemChanged.connect(self._edited)
        self.table.cellClicked.connect(self._clicked)
        self.table.cellDoubleClicked.connect(self._double_clicked)
        self.add = QPushButton("Add label", self)
        self.add.clicked.connect(self._add)
        self.remove = QPushButton("Remove label", self)
        self.remove.setToolTip("A label that is painted in any case stays")
        self.remove.clicked.connect(self._remove)
        buttons = QHBoxLayout()
        buttons.addWidget(self.add)
        buttons.addWidget(self.remove)
        buttons.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table)
        layout.addLayout(buttons)

    # -- showing -------------------------------------------------------------------------------

    def show_scheme(self, scheme: LabelScheme | None, *, editable: bool) -> None:
        """Show a scheme."""
        self._scheme = scheme
        chosen = self.value
        self._filling = True
        try:
            self._fill(scheme, editable)
        finally:
            self._filling = False
        self.add.setEnabled(editable)
        self.remove.setEnabled(editable)
        if chosen is not None:
            self.select(chosen)

    def _fill(self, scheme: LabelScheme | None, editable: bool) -> None:
        values = [] if scheme is None else list(scheme.values)
        self.table.setRowCount(len(values))
        for row, value in enumerate(values):
            assert scheme is not None
            texts = {
                _KEY: scheme.keys.get(value, ""),
                _COLOUR: "",
                _NAME: scheme.names[value],
                _VALUE: str(value),
            }
            for column, text in texts.items():
                item = QTableWidgetItem(text)
                item.setData(Qt.ItemDataRole.UserRole, value)
                flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
                if editable and column in (_KEY, _NAME):
                    flags |= Qt.ItemFlag.ItemIsEditable
                item.setFlags(flags)
                self.table.setItem(row, column, item)
            colour = item_at(self.table, row, _COLOUR)
            colour.setIcon(_swatch(scheme.colors[value]))
            colour.setToolTip("Double-click to choose another colour")
            item_at(self.table, row, _NAME).setToolTip("Double-click to rename")
        rows = min(max(len(values), 2), 6)
        self.table.setFixedHeight(self._header.height() + _ROW * rows + 6)

    @property
    def value(self) -> int | None:
        """Value of the selected label."""
        row = self.table.currentRow()
        item = self.table.item(row, _VALUE) if row >= 0 else None
        return None if item is None else int(item.text())

    def select(self, value: int) -> None:
        """Mark the label that is painted with."""
        for row in range(self.table.rowCount()):
            if item_at(self.table, row, _VALUE).text() == str(value):
                self.table.selectRow(row)
                return
        self.table.clearSelection()

    def _clicked(self, row: int, _column: int) -> None:
        self.selected.emit(int(item_at(self.table, row, _VALUE).text()))

    # -- changing ------------------------------------------------------------------------------

    def _edited(self, item: QTableWidgetItem) -> None:
        if self._filling or self._scheme is None:
            return
        value, text = int(item.data(Qt.ItemDataRole.UserRole)), item.text().strip()
        if item.column() == _NAME:
            self._change(names={**self._scheme.names, value: text})
        elif item.column() == _KEY:
            self._set_key(value, text)

    def _set_key(self, value: int, key: str) -> None:
        assert self._scheme is not None
        if key and (len(key) != 1 or key not in "123456789"):
            self._refuse(f"{key!r} cannot be the key of a label: use one of 1 to 9.")
            return
        keys = {v: k for v, k in self._scheme.keys.items() if v != value and k != key}
        self._change(keys={**keys, value: key} if key else keys)

    def _double_clicked(self, row: int, column: int) -> None:
        if column != _COLOUR or self._scheme is None or not self.add.isEnabled():
            return
        value = int(item_at(self.table, row, _VALUE).text())
        colour = QColorDialog.getColor(QColor(self._scheme.colors[value]), self)
        if colour.isValid():
            self.set_colour(value, colour.name())

    def set_colour(self, value: int, colour: str) -> None:
        """Give a label another colour, ``#rrggbb``."""
        assert self._scheme is not None
        self._change(colors={**self._scheme.colors, value: colour})

    def _add(self) -> None:
        if self._scheme is None:
            return
        value = max(self._scheme.allowed) + 1
        taken = {name.lower() for name in self._scheme.names.values()}
        number = next(n for n in range(value, value + len(taken) + 2) if f"label {n}" not in taken)
        self._change(names={**self._scheme.names, value: f"label {number}"})
        self.select(value)
        self.selected.emit(value)
        row = self.table.currentRow()
        if row >= 0:
            self.table.editItem(self.table.item(row, _NAME))

    def _remove(self) -> None:
        value = self.value
        if self._scheme is None or value is None:
            return
        parts = {
            name: {v: x for v, x in getattr(self._scheme, name).items() if v != value}
            for name in ("names", "colors", "keys")
        }
        self._change(**parts)

    def _change(self, **changes: Any) -> None:
        """Apply a change, or say why not and show what is."""
        assert self._scheme is not None
        try:
            self._apply(changed_scheme(self._scheme, **changes))
        except GeminiError as error:
            self._refuse(str(error))

    def _refuse(self, sentence: str) -> None:
        self.show_scheme(self._scheme, editable=self.add.isEnabled())
        self.refused.emit(sentence)


def changed_scheme(scheme: LabelScheme, **changes: Any) -> LabelScheme:
    """Return a scheme with other names, colours or keys.

    Raises
    ------
    InputError
        If that is no scheme; the sentence says why.
    """
    try:
        return LabelScheme.model_validate({**scheme.model_dump(), **changes})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"The labels cannot be changed so: {reason}.") from None


def _swatch(colour: str) -> QIcon:
    pixmap = QPixmap(18, 14)
    pixmap.fill(QColor(colour))
    icon = QIcon(pixmap)
    # The same in a selected row: a tinted colour would be another.
    icon.addPixmap(pixmap, QIcon.Mode.Selected)
    return icon

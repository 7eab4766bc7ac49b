"""Toggles of everything that shows a deformation, and the table of its folds."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_gemini.widgets.pair.folds import Fold
from napari_gemini.widgets.pair.keys import ARROWS, FOLD, GRID, JACOBIAN, key_words
from napari_gemini.widgets.pair.map_layers import MAPS

#: More rows than anybody reads.
MOST_ROWS = 500


class EvidencePanel(QWidget):
    """What can be laid over the scans."""

    grid_toggled = Signal(bool)
    arrows_toggled = Signal(bool)
    spacing_changed = Signal(float)
    #: Stem of a map, and whether it is wanted.
    map_toggled = Signal(str, bool)
    #: Row of the table of folds.
    fold_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.grid = QCheckBox("Deformation grid")
        self.grid.setToolTip(
            "On the fixed scan: the moving scan's grid as the map deforms it.\n"
            "On the moving scan: the grid of the fixed slice, where the field sends it.\n"
            "What leaves the plane is seen from the front\n" + key_words(GRID)
        )
        self.grid.toggled.connect(self.grid_toggled)
        self.arrows = QCheckBox("Displacement arrows")
        self.arrows.setToolTip(
            "From a fixed point to where its partner would lie had the moving scan only been "
            "placed, coloured by length\n" + key_words(ARROWS)
        )
        self.arrows.toggled.connect(self.arrows_toggled)
        self.arrow_words = QLabel()
        self.arrow_words.setWordWrap(True)
        self.spacing = QDoubleSpinBox()
        self.spacing.setRange(0.1, 500)
        self.spacing.setDecimals(1)
        self.spacing.setKeyboardTracking(False)
        self.spacing.setToolTip("Distance of grid lines and arrows")
        self.spacing.valueChanged.connect(self.spacing_changed)
        self.unit = QLabel("mm")
        self.maps: dict[str, QCheckBox] = {}

        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 6, 4, 4)
        layout.addWidget(self.grid)
        layout.addWidget(self.arrows)
        layout.addWidget(self.arrow_words)
        row = QHBoxLayout()
        row.addWidget(QLabel("Lines, arrows every"))
        row.addWidget(self.spacing)
        row.addWidget(self.unit)
        row.addStretch(1)
        layout.addLayout(row)
        layout.addLayout(self._map_boxes())
        self.fold_words = QLabel("")
        self.fold_words.setWordWrap(True)
        layout.addWidget(self.fold_words)
        self.table = self._table()
        layout.addWidget(self.table)
        layout.addStretch(1)

    def _map_boxes(self) -> QGridLayout:
        boxes = QGridLayout()
        for index, (stem, (name, words)) in enumerate(MAPS.items()):
            box = QCheckBox(name)
            key = {"log_jacobian": JACOBIAN}.get(stem)
            box.setToolTip(words if key is None else f"{words}\n{key_words(key)}")
            box.toggled.connect(lambda on, stem=stem: self.map_toggled.emit(stem, on))
            self.maps[stem] = box
            boxes.addWidget(box, index // 2, index % 2)
        return boxes

    def _table(self) -> QTableWidget:
        table = QTableWidget(0, 3)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        side, header = table.verticalHeader(), table.horizontalHeader()
        assert side is not None
        assert header is not None
        side.setVisible(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        table.setMinimumHeight(150)
        table.setToolTip(f"Click a row to go there. {key_words(FOLD)} for the next one")
        # Clicked, not selected: the same fold can be gone to again.
        table.cellClicked.connect(lambda row, column: self.fold_chosen.emit(row))
        return table

    def set_pair(self, available: set[str], spacing: float, unit: str) -> None:
        """Offer what a pair has.

        Parameters
        ----------
        available
            Stems of its maps.
        spacing
            Of the grid lines.
        unit
            Of lengths.
        """
        for box in (self.grid, self.arrows, *self.maps.values()):
            box.blockSignals(True)
            box.setChecked(False)
            box.blockSignals(False)
        for stem, box in self.maps.items():
            box.setEnabled(stem in available)
        self.spacing.blockSignals(True)
        self.spacing.setValue(spacing)
        self.spacing.blockSignals(False)
        self.unit.setText(unit)
        self.show_arrows(False)
        self.set_folds(None, unit, 3)

    def show_map(self, stem: str, on: bool) -> None:
        """Show a toggle as switched, without switching."""
        self._set(self.maps[stem], on)

    def show_grid(self, on: bool) -> None:
        """Show the toggle of the grid as switched, without switching."""
        self._set(self.grid, on)

    def show_arrows(self, on: bool, words: str = "") -> None:
        """Show the toggle of the arrows as switched, without switching; say what colours mean."""
        self._set(self.arrows, on)
        self.arrow_words.setText(words)
        self.arrow_words.setVisible(bool(words))

    def _set(self, box: QCheckBox, on: bool) -> None:
        box.blockSignals(True)
        box.setChecked(on)
        box.blockSignals(False)

    def select_fold(self, row: int) -> None:
        """Mark a row of the table of folds."""
        if row < self.table.rowCount():
            self.table.selectRow(row)

    def set_folds(self, folds: list[Fold] | None, unit: str, dimension: int) -> None:
        """Fill the table; None while the folds are not known."""
        of = "voxels" if dimension == 3 else "pixels"
        self.table.setRowCount(0)
        self.table.setHorizontalHeaderLabels(
            [of.capitalize(), f"Size, {unit}{'³' if dimension == 3 else '²'}", "Central"]
        )
        # Where the spacing is unknown, their number is all that is known of their size.
        self.table.setColumnHidden(1, unit == "px")
        if folds is None:
            self.fold_words.setText("")
            self.table.setVisible(False)
            return
        total = sum(fold.voxels for fold in folds)
        self.fold_words.setText(
            "No folds by either criterion."
            if not folds
            else f"{len(folds)} folded region{'s' * (len(folds) > 1)}, {total} {of}. "
            f'"Central": {of} that fold by central differences too.'
        )
        self.table.setVisible(bool(folds))
        shown = folds[:MOST_ROWS]
        self.table.setRowCount(len(shown))
        for row, fold in enumerate(shown):
            for column, words in enumerate(
                (str(fold.voxels), f"{fold.volume:.4g}", str(fold.central))
            ):
                item = QTableWidgetItem(words)
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(row, column, item)

"""The lower half of the Probe dock: the table of landmarks and what they say of the map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QGridLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_gemini.study.landmarks import LandmarkPair
from napari_gemini.volumes.geometry import FloatArray
from napari_gemini.widgets.canvas.grid import CanvasGrid

_FORMATS = "csv (*.csv);;Slicer point lists (*.mrk.json)"
_EDITABLE = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEditable
_FIXED = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable


class LandmarkPanel(QWidget):
    """Kept landmarks; a double click on a row goes there, on a name renames."""

    renamed = Signal(int, str)
    remove_wanted = Signal(list)
    undo_wanted = Signal()
    jump_wanted = Signal(int)
    import_wanted = Signal(list)
    export_wanted = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.error = QLabel()
        self.error.setTextFormat(Qt.TextFormat.PlainText)
        self.error.setWordWrap(True)
        self.error.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.saved = QLabel()
        self.saved.setWordWrap(True)
        self.table = QTableWidget(0, 4)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setMinimumHeight(150)
        header, side = self.table.horizontalHeader(), self.table.verticalHeader()
        assert header is not None
        assert side is not None
        side.hide()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
        self.table.itemChanged.connect(self._on_changed)
        self.table.cellDoubleClicked.connect(self._on_double_click)
        self.remove = _button("Remove", "Remove the selected landmarks")
        self.undo = _button("Undo", "Take the last change back")
        self.bring = _button("Import...", "A csv, or the two .mrk.json files of 3D Slicer")
        self.give = _button("Export...", "As csv, or as two .mrk.json files of 3D Slicer")
        self.remove.clicked.connect(lambda: self.remove_wanted.emit(self.rows()))
        self.undo.clicked.connect(self.undo_wanted)
        self.bring.clicked.connect(self._on_import)
        self.give.clicked.connect(self._on_export)
        buttons = QGridLayout()
        for place, button in enumerate((self.remove, self.undo, self.bring, self.give)):
            buttons.addWidget(button, place // 2, place % 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(QLabel("Landmarks"))
        layout.addWidget(self.table, 1)
        layout.addWidget(self.error)
        layout.addLayout(buttons)
        layout.addWidget(self.saved)
        self.show_landmarks([], np.zeros(0), None, "mm", False)

    def rows(self) -> list[int]:
        """Return the selected rows."""
        return sorted({index.row() for index in self.table.selectedIndexes()})

    def show_landmarks(
        self,
        landmarks: Sequence[LandmarkPair],
        errors: FloatArray,
        total: dict[str, float] | None,
        unit: str,
        can_undo: bool,
        grids: tuple[CanvasGrid, CanvasGrid] | None = None,
    ) -> None:
        """Fill the table.

        Parameters
        ----------
        landmarks
            First positions are those in the fixed scan.
        errors
            (n,) distances between the mapped and the kept partner.
        total
            Of the target registration error; None without landmarks.
        unit
            Of distances.
        can_undo
            Whether there is a change to take back.
        grids
            Of the fixed and of the moving scan: how positions are said.
        """
        table = self.table
        table.blockSignals(True)
        table.setHorizontalHeaderLabels(["Name", f"Error {unit}", "Fixed", "Moving"])
        error_title = table.horizontalHeaderItem(1)
        assert error_title is not None
        error_title.setToolTip(
            "From where the deformation sends the fixed point to where the landmark is."
        )
        here, there = grids or (None, None)
        for column, grid in ((2, here), (3, there)):
            title = table.horizontalHeaderItem(column)
            assert title is not None
            title.setToolTip("row, column" if grid and not grid.oriented else "R, A, S in mm")
        table.setRowCount(len(landmarks))
        for row, (mark, error) in enumerate(zip(landmarks, errors, strict=True)):
            words = "-" if not np.isfinite(error) else f"{error:.2f}"
            ends = _place(mark.a, here), _place(mark.b, there)
            for column, text in enumerate((mark.name, words, *ends)):
                item = QTableWidgetItem(text)
                item.setFlags(_EDITABLE if column == 0 else _FIXED)
                item.setToolTip("Double click to rename" if column == 0 else text)
                table.setItem(row, column, item)
        table.blockSignals(False)
        self.error.setText(_error_words(total, unit))
        self.remove.setEnabled(bool(landmarks))
        self.give.setEnabled(bool(landmarks))
        self.undo.setEnabled(can_undo)

    def _on_changed(self, item: QTableWidgetItem) -> None:
        if item.column() == 0:
            self.renamed.emit(item.row(), item.text())

    def _on_double_click(self, row: int, column: int) -> None:
        if column > 0:
            self.jump_wanted.emit(row)

    def _on_import(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(
            self,
            "Landmarks: one csv, or the point lists of both scans",
            "",
            "Landmarks (*.csv *.mrk.json)",
        )
        if names:
            self.import_wanted.emit(names)

    def _on_export(self) -> None:
        name, chosen = QFileDialog.getSaveFileName(self, "Export landmarks", "", _FORMATS)
        if not name:
            return
        wanted = ".mrk.json" if "mrk" in chosen else ".csv"
        path = Path(name)
        known = path.name.lower().endswith((".csv", ".mrk.json"))
        self.export_wanted.emit(name if known else f"{name}{wanted}")


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    return button


def _place(point: tuple[float, ...], grid: CanvasGrid | None) -> str:
    """Say where a landmark is: RAS mm, or row and column where the file knows no directions."""
    numbers = np.array(point)
    if grid is not None and not grid.oriented:
        numbers = grid.data_to_voxel(grid.world_to_data(numbers))[:2][::-1]
    return ", ".join(f"{x:.1f}" for x in numbers)


def _error_words(total: dict[str, float] | None, unit: str) -> str:
    if total is None:
        return "Keep landmarks to measure the registration error."
    left_out = round(total["left_out"])
    words = ""
    if left_out:
        one = left_out == 1
        words = (
            f"{left_out} landmark{'' if one else 's'} {'was' if one else 'were'} set by this "
            "deformation itself and cannot measure it."
        )
    if not total["count"]:
        return f"{words} Set the partner yourself: Shift+click in the other scan."
    return (
        f"Registration error of {total['count']:.0f} landmark{'s' * (total['count'] > 1)}: mean "
        f"{total['mean']:.2f}, median "
        f"{total['median']:.2f}, max {total['max']:.2f} {unit} (before the deformation: mean "
        f"{total['initial_mean']:.2f}). {words}"
    ).strip()

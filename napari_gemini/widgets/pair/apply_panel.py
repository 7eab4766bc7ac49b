"""Apply the map to any layer, and take the results elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import ReferenceType, ref

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QGroupBox,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)


class ApplyPanel(QWidget):
    """Choose a layer and the scan that it lies on."""

    apply_wanted = Signal()
    #: Folder (str) that the results are to be copied into.
    export_wanted = Signal(str)
    layer_chosen = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layers: list[ReferenceType[Any]] = []
        self.layer = QComboBox()
        self.layer.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.layer.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.layer.setMinimumContentsLength(6)
        self.layer.setToolTip(
            "Images are interpolated, labels take the nearest voxel, points, shapes and vectors "
            "are carried by the map of the other direction"
        )
        self.layer.currentIndexChanged.connect(lambda _: self.layer_chosen.emit())
        self.side = QComboBox()
        self.side.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.side.addItem("moving scan", "moving")
        self.side.addItem("fixed scan", "fixed")
        self.apply_button = QPushButton("Carry to the other scan")
        self.apply_button.clicked.connect(self.apply_wanted)
        box = QGroupBox("Apply to a layer")
        form = QFormLayout(box)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Layer", self.layer)
        form.addRow("Lies on the", self.side)
        form.addRow(self.apply_button)

        self.export_button = QPushButton("Copy results to a folder...")
        self.export_button.clicked.connect(self._choose_folder)
        words = QLabel(
            "field.h5 is an ITK transform from fixed to moving points: SimpleITK, ANTs and Slicer "
            "apply it to the original files. Maps lie on the fixed scan's grid."
        )
        words.setWordWrap(True)
        export = QGroupBox("Export")
        column = QVBoxLayout(export)
        column.addWidget(words)
        column.addWidget(self.export_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 6, 4, 4)
        layout.addWidget(box)
        layout.addWidget(export)
        layout.addStretch(1)

    def set_layers(self, layers: Sequence[tuple[str, Any]]) -> None:
        """Offer layers by name; the chosen one stays chosen where it still is."""
        before = self.chosen
        self._layers = [ref(layer) for _, layer in layers]
        self.layer.blockSignals(True)
        self.layer.clear()
        self.layer.addItems([name for name, _ in layers])
        found = [index for index, (_, layer) in enumerate(layers) if layer is before]
        self.layer.setCurrentIndex(found[0] if found else (0 if layers else -1))
        self.layer.blockSignals(False)
        self.apply_button.setEnabled(bool(layers))
        self.layer_chosen.emit()

    @property
    def chosen(self) -> Any | None:
        """The layer that is chosen, None when there is none any more."""
        index = self.layer.currentIndex()
        return self._layers[index]() if 0 <= index < len(self._layers) else None

    def set_side(self, side: str | None) -> None:
        """Show which scan the layer lies on; it can be chosen only where it is not known."""
        self.side.setEnabled(side is None)
        if side is not None:
            self.side.setCurrentIndex(self.side.findData(side))

    def set_busy(self, busy: bool) -> None:
        """Show that a layer is being carried."""
        self.apply_button.setEnabled(not busy and self.layer.count() > 0)
        self.apply_button.setText("Carrying..." if busy else "Carry to the other scan")

    def _choose_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Folder that the results are copied into")
        if name:
            self.export_wanted.emit(name)

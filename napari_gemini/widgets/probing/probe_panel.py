"""The upper half of the Probe dock: which features, and what the last probe found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_gemini.volumes.geometry import FloatArray
from napari_gemini.widgets.canvas.grid import CanvasGrid
from napari_gemini.widgets.canvas.readout import world_words
from napari_gemini.widgets.common.models import NO_MODEL, ModelChoice
from napari_gemini.widgets.probing.landmarks import Probe

#: What can be kept as the other end of a landmark.
KINDS = {
    "partner": "the partner by deformation",
    "best": "the best match by similarity",
    "chosen": "my own point (Shift+click)",
}


class ProbePanel(QWidget):
    """Form and answers of probes."""

    model_changed = Signal()
    toggled = Signal(bool)
    stop_wanted = Signal()
    #: ``point``, ``partner``, ``best`` or ``chosen``.
    jump_wanted = Signal(str)
    #: A key of :data:`KINDS`.
    keep_wanted = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.active = QCheckBox("Click in either scan to probe")
        self.active.setChecked(True)
        self.active.setToolTip(
            "A click (without moving) marks the partner in the other scan. Shift+click in the "
            "other scan says where the partner really is."
        )
        self.active.toggled.connect(self.toggled)
        self.model = QComboBox()
        self.model.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.model.setMinimumContentsLength(8)
        self.model.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.model.setToolTip("Whose features are compared.")
        self.model.activated.connect(lambda _: self.model_changed.emit())
        self.stop = QPushButton("Stop")
        self.stop.clicked.connect(self._on_stop)
        self.stop.hide()
        self.status = _words()
        self.point, self.partner, self.best, self.chosen = (_words() for _ in range(4))
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow("Features of", self.model)
        found = QGroupBox("Probed voxel")
        rows = QVBoxLayout(found)
        for name, words in (
            ("point", self.point),
            ("partner", self.partner),
            ("best", self.best),
            ("chosen", self.chosen),
        ):
            rows.addLayout(self._row(name, words))
        self.kind = QComboBox()
        for key, text in KINDS.items():
            self.kind.addItem(text, key)
        self.keep = QPushButton("Keep as landmark")
        self.keep.setToolTip("Key: Shift+K")
        self.keep.clicked.connect(lambda: self.keep_wanted.emit(str(self.kind.currentData())))
        rows.addWidget(self.kind)
        rows.addWidget(self.keep)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.active)
        layout.addLayout(form)
        line = QHBoxLayout()
        line.addWidget(self.status, 1)
        line.addWidget(self.stop)
        layout.addLayout(line)
        layout.addWidget(found)
        self.show_probe(None, None, "mm")

    def _row(self, name: str, words: QLabel) -> QHBoxLayout:
        row = QHBoxLayout()
        button = QPushButton("Go")
        button.setMaximumWidth(36)
        button.setToolTip("Show this place")
        button.clicked.connect(lambda: self.jump_wanted.emit(name))
        row.addWidget(words, 1)
        row.addWidget(button, 0, Qt.AlignmentFlag.AlignTop)
        words.setProperty("go", button)
        return row

    # -- models --------------------------------------------------------------------------------

    @property
    def spec(self) -> str | None:
        """What a job gets as its model."""
        found = self.model.currentData()
        return None if found is None else str(found)

    def set_models(self, choices: Sequence[ModelChoice], prefer: str | None) -> None:
        """Offer models; what was chosen stays, else the preferred one is taken."""
        before = self.spec if self.model.count() else prefer
        self.model.clear()
        for choice in choices:
            none = choice.spec == NO_MODEL
            self.model.addItem("none (local descriptors)" if none else choice.name, choice.spec)
            self.model.setItemData(
                self.model.count() - 1,
                "intensity, gradient and Laplacian around each voxel"
                if none
                else choice.description,
                Qt.ItemDataRole.ToolTipRole,
            )
        self.prefer(before)

    def prefer(self, spec: str | None) -> None:
        """Choose a model where it is offered."""
        index = self.model.findData(spec)
        self.model.setCurrentIndex(max(index, 0))

    # -- what is shown -------------------------------------------------------------------------

    def set_busy(self, busy: bool) -> None:
        """Offer to stop while a probe runs."""
        self.stop.setText("Stop")
        self.stop.setEnabled(True)
        self.stop.setVisible(busy)

    def _on_stop(self) -> None:
        self.stop.setText("Stopping...")
        self.stop.setEnabled(False)
        self.stop_wanted.emit()

    def show_probe(
        self, probe: Probe | None, grids: tuple[CanvasGrid, CanvasGrid] | None, unit: str
    ) -> None:
        """Show what is known of a probe.

        Parameters
        ----------
        probe
            None for none yet.
        grids
            Of the probed scan and of the other.
        unit
            Of distances.
        """
        self.keep.setEnabled(probe is not None)
        if probe is None or grids is None:
            self.point.setText("Nothing yet: click a voxel.")
            for words in (self.partner, self.best, self.chosen):
                words.setText("")
            self._show_buttons(None)
            return
        here, there = grids
        self.point.setText(f"In the {probe.side} scan: {_place(here, probe.point)}")
        partner = _place(there, probe.partner)
        self.partner.setText(
            f"Partner by deformation: {partner}{_cosine(probe.partner_similarity)}"
        )
        self.best.setText(
            ""
            if probe.best is None
            else f"Best match by similarity: {_place(there, probe.best)}"
            f"{_cosine(probe.best_similarity)}{_apart(probe.best, probe.partner, unit)}"
        )
        self.chosen.setText(
            ""
            if probe.chosen is None
            else f"My own point: {_place(there, probe.chosen)}"
            f"{_apart(probe.chosen, probe.partner, unit)}"
        )
        self._show_buttons(probe)

    def _show_buttons(self, probe: Probe | None) -> None:
        for name in ("point", "partner", "best", "chosen"):
            words = getattr(self, name)
            known = probe is not None and getattr(probe, name) is not None
            words.property("go").setVisible(known)
            words.setVisible(known or name == "point")


def _words() -> QLabel:
    label = QLabel()
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def _place(grid: CanvasGrid, world: FloatArray) -> str:
    if not np.isfinite(world).all():
        return "none (the deformation folds here)"
    return world_words(grid, grid.world_to_data(world))


def _cosine(value: float | None) -> str:
    return "" if value is None else f", similarity {value:.3f}"


def _apart(first: FloatArray, second: FloatArray, unit: str) -> str:
    distance = float(np.linalg.norm(first - second))
    return f", {distance:.1f} {unit} from the partner" if np.isfinite(distance) else ""

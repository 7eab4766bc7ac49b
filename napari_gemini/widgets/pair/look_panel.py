"""How a pair is looked at: linked cursor, overlay, and a slider along the deformation."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_gemini.widgets.pair.composition import AMOUNTS, MODES
from napari_gemini.widgets.pair.keys import DEFORMED, MODE, SWAP, VIEW, WARPED, key_words

#: Steps of a slider from 0 to 1.
STEPS = 200


class LookPanel(QWidget):
    """Controls of the two canvases."""

    mode_changed = Signal(str)
    amount_changed = Signal(float)
    t_changed = Signal(float)
    view_changed = Signal(str)
    follow_changed = Signal(bool)
    swap_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title = QLabel("No pair yet: find one, or open a result.")
        self.title.setWordWrap(True)
        self.title.setTextFormat(Qt.TextFormat.PlainText)
        self.swap_button = QPushButton("Swap")
        self.swap_button.setToolTip(
            f"Exchange fixed and moving; nothing is computed again\n{key_words(SWAP)}"
        )
        self.swap_button.clicked.connect(self.swap_wanted)
        self.view = QComboBox()
        self.view.addItem("Side by side, undeformed", "side")
        self.view.addItem("In the fixed scan's space", "overlay")
        self.view.setToolTip(
            "Side by side: each scan as it is, one cursor linked through the deformation\n"
            + key_words(VIEW)
        )
        self.view.currentIndexChanged.connect(
            lambda index: self.view_changed.emit(self.view.itemData(index))
        )
        self.follow = QCheckBox("Cursor follows the pointer")
        self.follow.setChecked(True)
        self.follow.setToolTip("Off: click to move the linked cursor")
        self.follow.toggled.connect(self.follow_changed)
        self.partner = QLabel("")
        self.partner.setWordWrap(True)
        self.partner.setTextFormat(Qt.TextFormat.PlainText)

        self.mode = QComboBox()
        for key, (name, _) in MODES.items():
            self.mode.addItem(name, key)
        self.mode.setToolTip(
            f"{key_words(MODE)} for the next one, {WARPED.replace('-', '+')} hides the warped scan"
        )
        self.mode.currentIndexChanged.connect(self._on_mode)
        self.amount = _slider(AMOUNTS["fade"])
        self.amount.valueChanged.connect(lambda v: self.amount_changed.emit(v / STEPS))
        self.amount_name = QLabel(MODES["fade"][1])
        self.amount_words = QLabel()
        self.t = _slider(1.0)
        self.t.setToolTip(f"0: the moving scan, only placed; 1: warped\n{key_words(DEFORMED)}")
        self.t.valueChanged.connect(self._on_t)
        self.t_words = QLabel("1.00")

        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 6, 4, 4)
        top = QHBoxLayout()
        top.addWidget(self.title, 1)
        top.addWidget(self.swap_button)
        layout.addLayout(top)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("View", self.view)
        layout.addLayout(form)
        layout.addWidget(self.follow)
        layout.addWidget(self.partner)
        layout.addWidget(self._overlay_box())
        layout.addStretch(1)

    def _overlay_box(self) -> QWidget:
        self._overlay = QWidget()
        form = QFormLayout(self._overlay)
        form.setContentsMargins(0, 4, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Overlay", self.mode)
        form.addRow(self.amount_name)
        form.addRow(_with_words(self.amount, self.amount_words))
        ends = QHBoxLayout()
        ends.addWidget(QLabel("moving"))
        ends.addStretch(1)
        ends.addWidget(QLabel("warped"))
        form.addRow(ends)
        form.addRow(_with_words(self.t, self.t_words))
        self._overlay.setEnabled(False)
        return self._overlay

    def set_pair(self, words: str, swappable: bool) -> None:
        """Say which pair is looked at."""
        self.title.setText(words)
        self.swap_button.setEnabled(swappable)

    def set_view(self, view: str) -> None:
        """Show a view as chosen; ``side`` or ``overlay``."""
        self.view.blockSignals(True)
        self.view.setCurrentIndex(self.view.findData(view))
        self.view.blockSignals(False)
        self._overlay.setEnabled(view == "overlay")

    def show_amount(self, amount: float, name: str, words: str) -> None:
        """Show the slider of the current overlay."""
        self.amount.blockSignals(True)
        self.amount.setValue(round(amount * STEPS))
        self.amount.blockSignals(False)
        self.amount_name.setText(name)
        self.amount_words.setText(words)

    def _on_mode(self, index: int) -> None:
        self.mode_changed.emit(self.mode.itemData(index))

    def _on_t(self, value: int) -> None:
        self.t_words.setText(f"{value / STEPS:.2f}")
        self.t_changed.emit(value / STEPS)


def _slider(value: float) -> QSlider:
    slider = QSlider(Qt.Orientation.Horizontal)
    slider.setRange(0, STEPS)
    slider.setValue(round(value * STEPS))
    return slider


def _with_words(slider: QSlider, words: QLabel) -> QHBoxLayout:
    words.setMinimumWidth(72)
    row = QHBoxLayout()
    row.addWidget(slider, 1)
    row.addWidget(words)
    return row

"""Every setting of a training that a person may want to change, folded away."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFormLayout, QLabel, QToolButton, QVBoxLayout, QWidget

from napari_gemini.settings import preset
from napari_gemini.widgets.common.forms import settings_form

#: Fields of :class:`TrainSettings` that the advanced form has.
FIELDS = (
    "objective",
    "steps",
    "learning_rate",
    "schedule",
    "gradient_clip",
    "pairs_per_step",
    "labelled_per_step",
    "correspondence_every",
    "shape_transfer",
    "validation_cases",
    "validate_every",
    "checkpoint_every",
    "precision",
    "seed",
    "threads",
    "network.backbone",
    "network.base_width",
    "network.field_stride",
    "network.velocity_steps",
    "weights.gvs",
    "weights.gss",
    "weights.positive",
    "weights.smooth",
    "weights.segmentation",
    "augmentation.rotation_degrees",
    "augmentation.scale_range",
)
#: What the form calls fields whose own name says little.
_LABELS = {
    "weights.gvs": "weight of GVS",
    "weights.gss": "weight of GSS",
    "weights.positive": "GSS to features",
    "weights.smooth": "weight of smoothness",
    "weights.segmentation": "weight of labels",
}


class AdvancedSettings(QWidget):
    """A form of :class:`TrainSettings` that opens with a click.

    Parameters
    ----------
    on_change
        Called after the user changed something.

    Attributes
    ----------
    form
        Its ``value`` is the settings.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        super().__init__()
        self.form = settings_form(preset("quick"), FIELDS, on_change)
        self.button = QToolButton(self)
        self.button.setText("Advanced settings")
        self.button.setCheckable(True)
        self.button.setArrowType(Qt.ArrowType.RightArrow)
        self.button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.button.setAutoRaise(True)
        self.button.toggled.connect(self._fold)
        self._rows = self._lay_out_rows()
        self._rows.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.button)
        layout.addWidget(self._rows)

    def _lay_out_rows(self) -> QWidget:
        """Lay the inputs out in two columns that line up, which their container does not."""
        rows = QWidget(self)
        layout = QFormLayout(rows)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for name, entry in zip(FIELDS, self.form.widget, strict=True):
            entry.native.setMinimumWidth(60)
            label = QLabel(_LABELS.get(name, entry.label), rows)
            label.setToolTip(entry.tooltip or "")
            layout.addRow(label, entry.native)
        return rows

    def _fold(self, open_: bool) -> None:
        self._rows.setVisible(open_)
        self.button.setArrowType(Qt.ArrowType.DownArrow if open_ else Qt.ArrowType.RightArrow)

"""The first tab of the Features dock: which scans, which features, how many voxels."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_gemini.engine.jobs import ExploreJob
from napari_gemini.widgets.common.models import NO_MODEL, ModelChoice
from napari_gemini.widgets.features.runner import Wanted
from napari_gemini.widgets.pair.choice import SourceBox

_ONE_MODEL = "-"


class SetupPanel(QWidget):
    """Form of an exploration."""

    started = Signal()
    scans_changed = Signal()
    pair_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        defaults = {name: field.default for name, field in ExploreJob.model_fields.items()}
        self.scan = SourceBox("Scan")
        self.labels = SourceBox("Labels of the scan", none="(no labels)")
        self.scan2 = SourceBox("Second scan", none="(one scan)")
        self.labels2 = SourceBox("Labels of the second scan", none="(no labels)")
        self.model, self.model2 = (
            _models("Whose features are laid out."),
            _models("A second model whose features of the same voxels are laid out beside."),
        )
        self.samples = _number(10, 20_000, defaults["samples"], "Voxels drawn in all", step=500)
        self.seed = _number(0, 999_999, defaults["seed"], "The same seed draws the same voxels")
        self.clusters = _number(0, 100, 0, "Of k-means; auto: as many as labels, or the best")
        self.clusters.setSpecialValueText("auto")
        self.foreground = QCheckBox("Leave out the background")
        self.foreground.setChecked(bool(defaults["foreground"]))
        self.foreground.setToolTip("Of a scan without labels: its darkest voxels are not drawn.")
        self.take_pair = QPushButton("Take the current pair")
        self.take_pair.clicked.connect(self.pair_wanted)
        self.start = QPushButton("Explore")
        self.start.clicked.connect(self.started)
        for box in (self.scan, self.scan2):
            box.chosen.connect(self.scans_changed)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Scan", self.scan)
        form.addRow("its labels", self.labels)
        form.addRow("Second scan", self.scan2)
        form.addRow("its labels", self.labels2)
        form.addRow("", self.take_pair)
        form.addRow("Model", self.model)
        form.addRow("Compare with", self.model2)
        form.addRow("Voxels", self.samples)
        form.addRow("Seed", self.seed)
        form.addRow("Clusters", self.clusters)
        form.addRow(self.foreground)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.start)
        layout.addStretch(1)

    def set_models(self, choices: Sequence[ModelChoice]) -> None:
        """Offer models; what was chosen stays where it can."""
        for box, none in ((self.model, None), (self.model2, _ONE_MODEL)):
            before = box.currentData()
            box.clear()
            if none is not None:
                box.addItem("(no second model)", none)
            for choice in choices:
                bare = choice.spec == NO_MODEL
                box.addItem("none (local descriptors)" if bare else choice.name, choice.spec)
            box.setCurrentIndex(max(box.findData(before), 0))

    @property
    def wanted(self) -> Wanted | None:
        """What the form says; None without a scan."""
        if self.scan.source is None:
            return None
        models = [self.model.currentData()]
        if self.model2.currentData() not in (None, _ONE_MODEL):
            models.append(self.model2.currentData())
        options = {
            "samples": self.samples.value(),
            "seed": self.seed.value(),
            "clusters": self.clusters.value() if self.clusters.value() >= 2 else None,
            "foreground": self.foreground.isChecked(),
        }
        return Wanted(
            self.scan.source,
            self.scan2.source,
            self.labels.source,
            self.labels2.source,
            tuple(models),
            options,
        )


def _models(tip: str) -> QComboBox:
    box = QComboBox()
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(8)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    box.setToolTip(tip)
    return box


def _number(low: int, high: int, value: int, tip: str, step: int = 1) -> QSpinBox:
    box = QSpinBox()
    box.setRange(low, high)
    box.setSingleStep(step)
    box.setValue(int(value))
    box.setToolTip(tip)
    return box

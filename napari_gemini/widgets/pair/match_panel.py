"""Choose a pair, a model and labels; start, watch and stop the computation; open results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_gemini.settings import SimilarityChoice
from napari_gemini.widgets.common.models import ModelChoice
from napari_gemini.widgets.pair.choice import SourceBox
from napari_gemini.widgets.pair.inputs import Source

_MOST_STEPS = 2000
#: How scans can be compared, as the form calls it.
_SIMILARITIES: dict[str, SimilarityChoice] = {
    "automatic": "auto",
    "local correlation": "correlation",
    "self-similarity": "self-similarity",
}


@dataclass(frozen=True)
class Request:
    """What the user wants to have matched.

    Parameters
    ----------
    moving, fixed
        The scans.
    model
        What the job gets.
    refine
        Refinement steps, None for what suits the model.
    moving_labels, fixed_labels, ignore
        Label maps, None for none.
    spacing
        Of the grid to compute on, None for what suits the pair.
    similarity
        How the refinement compares the scans.
    """

    moving: Source
    fixed: Source
    model: str
    refine: int | None = None
    moving_labels: Source | None = None
    fixed_labels: Source | None = None
    ignore: Source | None = None
    spacing: float | None = None
    similarity: SimilarityChoice = "auto"


class MatchPanel(QWidget):
    """The form of a pair."""

    #: The user wants the pair of :attr:`request`.
    started = Signal()
    stopped = Signal()
    #: The user chose one of the scans.
    scans_changed = Signal()
    #: A folder with results (str).
    opened = Signal(str)
    #: The user accepted the smaller setting that was offered.
    retried = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.moving = SourceBox("Moving scan")
        self.fixed = SourceBox("Fixed scan")
        self.moving.setToolTip("The scan that is brought to the other one")
        self.fixed.setToolTip("The scan that stays; all results lie on its grid")
        for box in (self.moving, self.fixed):
            box.chosen.connect(self.scans_changed)
        self.model = QComboBox()
        self.model.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.model.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.model.setMinimumContentsLength(6)
        self.model.currentIndexChanged.connect(self._on_model)
        self.model_words = QLabel()
        self.model_words.setWordWrap(True)
        self.refine = QSpinBox()
        self.refine.setRange(-1, _MOST_STEPS)
        self.refine.setValue(-1)
        self.refine.setSpecialValueText("automatic")
        self.refine.setToolTip(
            "Steps of instance refinement on this pair: better alignment for more time.\n"
            "Automatic: 100"
        )
        self._models: list[ModelChoice] = []

        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Moving", self.moving)
        form.addRow("Fixed", self.fixed)
        form.addRow("Model", self.model)
        form.addRow("", self.model_words)
        form.addRow("Refinement", self.refine)

        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 6, 4, 4)
        layout.addLayout(form)
        layout.addWidget(self._labels_box())
        layout.addLayout(self._buttons())
        layout.addWidget(self._progress())
        layout.addWidget(self._results_box())
        layout.addStretch(1)
        self.set_running(False)

    def _labels_box(self) -> QCollapsible:
        self.moving_labels = SourceBox("Labels of the moving scan", none="none")
        self.fixed_labels = SourceBox("Known labels of the fixed scan", none="none")
        self.ignore = SourceBox("Region of the fixed scan to ignore", none="nothing")
        self.moving_labels.setToolTip("Carried over to the fixed scan")
        self.fixed_labels.setToolTip("The carried labels are scored against them (Dice)")
        self.ignore.setToolTip("A mask on the fixed scan's grid: lesions, implants")
        self.spacing = QDoubleSpinBox()
        self.spacing.setRange(0.0, 100.0)
        self.spacing.setDecimals(2)
        self.spacing.setSingleStep(0.25)
        self.spacing.setSpecialValueText("automatic")
        self.spacing.setToolTip(
            "Spacing of the grid that is computed on (mm, or pixels): larger needs less memory.\n"
            "Automatic: the model's, or the scans' own"
        )
        self.similarity = QComboBox()
        for words, choice in _SIMILARITIES.items():
            self.similarity.addItem(words, choice)
        self.similarity.setToolTip(
            "How the refinement compares the scans. Local correlation suits one contrast,\n"
            "self-similarity (MIND) suits two, such as CT and MR. Automatic: the scans decide"
        )
        inner = QWidget()
        form = QFormLayout(inner)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Labels, moving", self.moving_labels)
        form.addRow("Labels, fixed", self.fixed_labels)
        form.addRow("Ignore", self.ignore)
        form.addRow("Grid spacing", self.spacing)
        form.addRow("Compare by", self.similarity)
        box = QCollapsible("Labels and grid")
        box.setDuration(0)
        box.addWidget(inner)
        box.expand(animate=False)
        return box

    def _buttons(self) -> QHBoxLayout:
        self.start_button = QPushButton("Find correspondence")
        self.start_button.clicked.connect(self.started)
        self.stop_button = QPushButton("Stop")
        self.stop_button.clicked.connect(self._on_stop)
        self.retry_button = QPushButton("Try a coarser grid")
        self.retry_button.clicked.connect(self.retried)
        self.retry_button.hide()
        row = QHBoxLayout()
        for button in (self.start_button, self.stop_button, self.retry_button):
            row.addWidget(button)
        return row

    def _progress(self) -> QWidget:
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(8)
        self.step = QLabel()
        self.step.setWordWrap(True)
        self.step.setTextFormat(Qt.TextFormat.PlainText)
        self._busy = QWidget()
        layout = QVBoxLayout(self._busy)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.bar)
        layout.addWidget(self.step)
        return self._busy

    def _results_box(self) -> QWidget:
        self.results = QComboBox()
        self.results.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.results.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.results.setMinimumContentsLength(6)
        self.results.setToolTip("Pairs of this study that were computed before")
        self.open_button = QPushButton("Open")
        self.open_button.clicked.connect(self._open_result)
        browse = QToolButton()
        browse.setText("...")
        browse.setToolTip("Open a folder that correspond or propagate wrote")
        browse.clicked.connect(self._browse)
        box = QWidget()
        row = QHBoxLayout(box)
        row.setContentsMargins(0, 8, 0, 0)
        row.addWidget(QLabel("Results"))
        row.addWidget(self.results, 1)
        row.addWidget(self.open_button)
        row.addWidget(browse)
        return box

    # -- what can be chosen --------------------------------------------------------------------

    def set_models(self, models: list[ModelChoice]) -> None:
        """Offer models; the chosen one stays chosen where it still is."""
        before = self.chosen_model
        self._models = list(models)
        self.model.blockSignals(True)
        self.model.clear()
        for choice in models:
            self.model.addItem(choice.name)
        specs = [choice.spec for choice in models]
        if before is not None and before.spec in specs:
            self.model.setCurrentIndex(specs.index(before.spec))
        self.model.blockSignals(False)
        self._on_model()

    @property
    def chosen_model(self) -> ModelChoice | None:
        """The model that is chosen."""
        index = self.model.currentIndex()
        return self._models[index] if 0 <= index < len(self._models) else None

    def _on_model(self, index: int = 0) -> None:
        choice = self.chosen_model
        words = "" if choice is None else choice.description
        if len(self._models) == 1:
            words = (
                "No model of this dimension yet: the two images alone are matched by refinement."
            )
        self.model_words.setText(words)

    def set_results(self, folders: list[Path]) -> None:
        """Offer results on disk, by the names of their folders."""
        chosen = self.results.currentData()
        self.results.clear()
        for folder in folders:
            fixed, _, moving = folder.name.partition("__")
            self.results.addItem(f"{moving} → {fixed}" if moving else folder.name, str(folder))
        index = self.results.findData(chosen)
        self.results.setCurrentIndex(max(index, 0) if folders else -1)
        self.results.setEnabled(bool(folders))
        self.open_button.setEnabled(bool(folders))

    @property
    def request(self) -> Request | None:
        """What the form says, None while a scan is missing."""
        moving, fixed, model = self.moving.source, self.fixed.source, self.chosen_model
        if moving is None or fixed is None or model is None:
            return None
        return Request(
            moving=moving,
            fixed=fixed,
            model=model.spec,
            refine=None if self.refine.value() < 0 else self.refine.value(),
            moving_labels=self.moving_labels.source,
            fixed_labels=self.fixed_labels.source,
            ignore=self.ignore.source,
            spacing=self.spacing.value() or None,
            similarity=self.similarity.currentData(),
        )

    # -- while it runs -------------------------------------------------------------------------

    def set_running(self, running: bool) -> None:
        """Show what can be done now."""
        self.start_button.setEnabled(not running)
        self.start_button.setText("Working..." if running else "Find correspondence")
        self.stop_button.setEnabled(running)
        self.stop_button.setVisible(running)
        self.stop_button.setText("Stop")
        self._busy.setVisible(running)
        if running:
            self.retry_button.hide()
            self.bar.setRange(0, 0)
            self.step.setText("Starting")

    def show_progress(self, done: int, total: int, words: str) -> None:
        """Show how far the computation is."""
        self.bar.setRange(0, max(total, 0))
        self.bar.setValue(done)
        self.step.setText(words)

    def offer_retry(self, words: str) -> None:
        """Offer a smaller setting."""
        self.retry_button.setText(words)
        self.retry_button.show()

    def _on_stop(self) -> None:
        self.stop_button.setText("Stopping...")
        self.stop_button.setEnabled(False)
        self.stopped.emit()

    def _open_result(self) -> None:
        if self.results.currentData():
            self.opened.emit(self.results.currentData())

    def _browse(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Folder with the results of a pair")
        if name:
            self.opened.emit(name)

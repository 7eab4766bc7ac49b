"""The third tab of the Features dock: clusters, their scores against labels, and maps of them."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_gemini.widgets.features.exploration import SCORES, Exploration

_WORDS = (
    "Silhouette: -1 to 1, how separate groups are (labels and k-means: among features, HDBSCAN: in "
    "the layout). ARI and NMI: agreement of clusters with labels, 1 is perfect, 0 is chance."
)


class ClustersPanel(QWidget):
    """Scores of one exploration or two, and clusters as labels layers."""

    #: (which exploration, ``kmeans`` or ``hdbscan``)
    map_wanted = Signal(int, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.table = QTableWidget(0, 0)
        self.table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        header = self.table.horizontalHeader()
        assert header is not None
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        words = QLabel(_WORDS)
        words.setWordWrap(True)
        words.setTextFormat(Qt.TextFormat.PlainText)
        self.which = QComboBox()
        self.method = QComboBox()
        self.method.addItem("k-means", "kmeans")
        self.method.addItem("HDBSCAN", "hdbscan")
        self.make = QPushButton("Show clusters as labels layer")
        self.make.setToolTip(
            "Every voxel gets the cluster of the drawn voxel whose feature is nearest to its own."
        )
        self.make.clicked.connect(
            lambda: self.map_wanted.emit(self.which.currentIndex(), self.method.currentData())
        )
        form = QFormLayout()
        form.addRow("Model", self.which)
        form.addRow("Clusters", self.method)
        layout = QVBoxLayout(self)
        layout.addWidget(self.table)
        layout.addWidget(words)
        layout.addLayout(form)
        layout.addWidget(self.make)
        layout.addStretch(1)
        self.show_scores([])

    def show_scores(self, found: Sequence[Exploration | None]) -> None:
        """Show what is known of one exploration or two."""
        complete = [one for one in found if one is not None and one.scores]
        names = [
            name for name in SCORES if any(one.scores.get(name) is not None for one in complete)
        ]
        self.table.setColumnCount(len(complete))
        self.table.setRowCount(len(names))
        self.table.setHorizontalHeaderLabels([one.model_name for one in complete])
        self.table.setVerticalHeaderLabels([SCORES[name] for name in names])
        for row, name in enumerate(names):
            for column, one in enumerate(complete):
                value = one.scores.get(name)
                item = QTableWidgetItem("-" if value is None else _number(name, value))
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(row, column, item)
        self._fit_table()
        before = max(self.which.currentIndex(), 0)
        self.which.clear()
        self.which.addItems([one.model_name for one in complete])
        self.which.setCurrentIndex(min(before, len(complete) - 1))
        for widget in (self.which, self.method, self.make):
            widget.setEnabled(bool(complete))

    def _fit_table(self) -> None:
        """Make the table as high as its rows: the dock scrolls, not the table."""
        header, side = self.table.horizontalHeader(), self.table.verticalHeader()
        assert header is not None
        assert side is not None
        self.table.setVisible(self.table.rowCount() > 0)
        self.table.setFixedHeight(header.sizeHint().height() + side.length() + 4)


def _number(name: str, value: float) -> str:
    if name.endswith("_clusters"):
        return f"{value:.0f}"
    return f"{value:.1f}" if name.endswith("_percent") else f"{value:.3f}"

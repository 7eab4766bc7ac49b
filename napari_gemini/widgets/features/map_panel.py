"""The second tab of the Features dock: one layout, or two side by side, and their colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from napari_gemini.widgets.features.exploration import (
    COLOUR_BY,
    Exploration,
    categories,
    colours_by,
)
from napari_gemini.widgets.plots.scatter import ScatterPlot

_HELP = (
    "Drag: lasso, click: one point. Shift adds, Ctrl takes away, Esc clears. Right button moves, "
    "wheel zooms, double click shows all."
)
#: From this width on, two layouts are side by side; in a narrower dock they are stacked.
_BESIDE = 520


class MapPanel(QWidget):
    """Scatter plots that share one selection."""

    #: A mask (n,), whoever made it.
    selected = Signal(object)
    #: A label, or a cluster, of which the points are to be selected.
    colours_changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.found: list[Exploration | None] = [None, None]
        self.selection: NDArray[np.bool_] = np.zeros(0, bool)
        self._label_colours: Mapping[int, Any] = {}
        self._label_names: Mapping[int, str] = {}
        self._scan_names: tuple[str, ...] = ()
        self.plots = [ScatterPlot(), ScatterPlot()]
        self.splitter = QSplitter(Qt.Orientation.Vertical)
        self.splitter.setChildrenCollapsible(False)
        for plot in self.plots:
            self.splitter.addWidget(plot)
            plot.selected.connect(self.select)
        self.plots[1].hide()
        self.colour_by = QComboBox()
        for key, words in COLOUR_BY.items():
            self.colour_by.addItem(words, key)
        self.colour_by.currentIndexChanged.connect(self._recolour)
        self.legend = QLabel()
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.legend.setWordWrap(True)
        self.pick = QComboBox()
        self.pick.setToolTip("Select all points of one category")
        self.pick.activated.connect(self._on_pick)
        self.count = QLabel("Nothing selected.")
        self.count.setWordWrap(True)
        self.none = QPushButton("Clear")
        self.none.clicked.connect(lambda: self.select(np.zeros(len(self.selection), bool)))
        self.plots[0].canvas.native.setToolTip(_HELP)
        self.plots[1].canvas.native.setToolTip(_HELP)
        for label in (self.legend, self.count):
            # Long names wrap and never widen the dock.
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        for box in (self.colour_by, self.pick):
            box.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        form = QFormLayout()
        form.addRow("Colour by", self.colour_by)
        form.addRow("Select", self.pick)
        line = QHBoxLayout()
        line.addWidget(self.count, 1)
        line.addWidget(self.none)
        hint = QLabel(_HELP)
        hint.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.addWidget(self.splitter, 1)
        layout.addWidget(self.legend)
        layout.addLayout(form)
        layout.addLayout(line)
        layout.addWidget(hint)

    # -- content -------------------------------------------------------------------------------

    def clear(self, scan_names: tuple[str, ...], models: int) -> None:
        """Forget what was shown; explorations of some scans with one or two models come."""
        self.found = [None, None]
        self.selection = np.zeros(0, bool)
        self._scan_names = scan_names
        for plot in self.plots:
            plot.set_points(np.zeros((0, 2)))
            plot.title.setText("")
        self.plots[1].setVisible(models > 1)
        self.legend.clear()
        self.pick.clear()
        self._count()

    def set_labels(self, colours: Mapping[int, Any], names: Mapping[int, str]) -> None:
        """Take colours and names of labels from a study's scheme."""
        self._label_colours, self._label_names = colours, names

    def show_exploration(self, which: int, found: Exploration) -> None:
        """Show an exploration as far as it is."""
        new = self.found[which] is not found
        self.found[which] = found
        plot = self.plots[which]
        if new:
            plot.title.setText(found.model_name)
            if len(self.selection) != len(found):
                self.selection = np.zeros(len(found), bool)
            if which == 0:
                self._choose_colours(found)
        if found.coordinates is None:
            return
        known = plot.colours if len(plot.points) == len(found) and not new else None
        plot.set_points(found.coordinates, self.colours(found) if known is None else known)
        plot.select(self.selection)
        if new:
            self._show_legend()

    def _choose_colours(self, found: Exploration) -> None:
        """Start with what is known before any cluster: labels, scans, or position."""
        by = "label" if found.has_labels else "image" if len(found.grids) > 1 else "position"
        self.colour_by.blockSignals(True)
        self.colour_by.setCurrentIndex(self.colour_by.findData(by))
        self.colour_by.blockSignals(False)

    @property
    def by(self) -> str:
        """What points are coloured by."""
        return str(self.colour_by.currentData())

    def colours(self, found: Exploration) -> NDArray[np.float32]:
        """Return the colours of an exploration's points, (n, 4)."""
        return colours_by(found, self.by, self._label_colours, self._label_names)[0]

    def refresh(self) -> None:
        """Colour anew: clusters are known now, or something else counts."""
        self._recolour()

    def _recolour(self, *_: Any) -> None:
        for plot, found in zip(self.plots, self.found, strict=True):
            if found is not None and found.coordinates is not None:
                plot.set_colours(self.colours(found))
        self._show_legend()
        self.colours_changed.emit()

    def _show_legend(self) -> None:
        found = self.found[0]
        self.pick.clear()
        if found is None:
            self.legend.clear()
            return
        _, entries = colours_by(
            found, self.by, self._label_colours, self._label_names, self._scan_names
        )
        words = [
            f'<span style="color:{colour}">&#9632;</span>&nbsp;{escape(text)}'
            for colour, text in entries
        ]
        if not words:
            words = ["not known yet" if self.by != "label" else "this scan has no labels"]
        if self.found[1] is not None and self.by in ("kmeans", "hdbscan"):
            words.append("(numbers: first model)")
        self.legend.setText(" &nbsp; ".join(words))
        values = categories(found, self.by)
        if values is None or self.by == "position":
            self.pick.setEnabled(False)
            return
        self.pick.setEnabled(True)
        self.pick.addItem("points of ...", None)
        for value, (_, text) in zip(np.unique(values[values >= 0]).tolist(), entries, strict=False):
            self.pick.addItem(text, value)

    # -- selection -----------------------------------------------------------------------------

    def select(self, mask: NDArray[np.bool_]) -> None:
        """Select points in all plots and tell about it."""
        self.mark(mask)
        self.selected.emit(self.selection)

    def mark(self, mask: NDArray[np.bool_]) -> None:
        """Select points in all plots without telling."""
        self.selection = np.asarray(mask, dtype=bool).copy()
        for plot in self.plots:
            if len(plot.points) == len(self.selection):
                plot.select(self.selection)
        self._count()

    def _on_pick(self, index: int) -> None:
        value, found = self.pick.itemData(index), self.found[0]
        values = None if found is None else categories(found, self.by)
        if value is not None and values is not None:
            self.select(values == value)

    def _count(self) -> None:
        chosen = int(self.selection.sum())
        self.count.setText(
            f"{chosen} of {len(self.selection)} voxels selected." if chosen else "Nothing selected."
        )
        self.none.setEnabled(bool(chosen))

    def show_words(self, words: Sequence[str]) -> None:
        """Add words to the line about the selection."""
        self._count()
        self.count.setText(" ".join([self.count.text(), *words]))

    # -- looks ---------------------------------------------------------------------------------

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Put two layouts side by side where there is room."""
        wide = self.width() >= _BESIDE
        self.splitter.setOrientation(Qt.Orientation.Horizontal if wide else Qt.Orientation.Vertical)
        if event is not None:
            super().resizeEvent(event)

    def close_canvases(self) -> None:
        """Give the canvases' resources back."""
        for plot in self.plots:
            plot.close_canvas()

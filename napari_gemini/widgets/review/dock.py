"""The review dock: every result of a study by its evidence, the worst first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QLabel, QPushButton

from napari_gemini.errors import GeminiError
from napari_gemini.study.study import Study
from napari_gemini.widgets.common.dock import Dock
from napari_gemini.widgets.review.decisions import export_csv
from napari_gemini.widgets.review.items import Item, collect, pairs_in
from napari_gemini.widgets.review.panel import ReviewPanel
from napari_gemini.widgets.review.table import SHOWS

if TYPE_CHECKING:
    import napari

#: Pixels of the dock as it opens.
_WIDTH = 440
NO_STUDY = "No study is open: open one in the Study dock."
NOTHING = (
    "There is nothing to review yet: predict all cases in the Train dock, or match pairs in the "
    "Correspondence dock."
)


class ReviewDock(Dock):
    """A table of every prediction and pair of the study, and the verdicts on them.

    Parameters
    ----------
    viewer
        napari's viewer.
    """

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__(viewer)
        self._folders: list[Path] = []
        self._dialog: QFileDialog | None = None
        self.state = QLabel(self)
        self.state.setWordWrap(True)
        self.filter = QComboBox(self)
        self.filter.addItems(list(SHOWS))
        self.filter.setToolTip("Which results the table shows")
        self.add_button = QPushButton("Add ...", self)
        self.add_button.setToolTip("Add results that correspond or propagate wrote elsewhere")
        self.export_button = QPushButton("Export ...", self)
        self.export_button.setToolTip("Write the table that is shown as a csv file")
        self.panel = ReviewPanel(self.session, self.say, self._collect)
        row = QHBoxLayout()
        row.addWidget(QLabel("Show", self))
        row.addWidget(self.filter, 1)
        row.addWidget(self.add_button)
        row.addWidget(self.export_button)
        self.body.addLayout(row)
        self.body.addWidget(self.state)
        self.body.addWidget(self.panel, 1)
        self.filter.currentTextChanged.connect(self.panel.set_show)
        self.add_button.clicked.connect(self._choose_folder)
        self.export_button.clicked.connect(self._choose_file)
        self.panel.table.items.modelReset.connect(self._tell_state)
        for signal in (self.session.models_changed, self.session.pair_changed):
            self.connections.connect(signal, self._refresh)
        self._tell_state()
        self.panel.refresh()

    def _collect(self, study: Study) -> list[Item]:
        return collect(study, self._folders)

    def _refresh(self) -> None:
        self.panel.refresh()

    def _tell_state(self) -> None:
        items = self.panel.items
        self.export_button.setEnabled(bool(items))
        self.add_button.setEnabled(self.session.study is not None)
        if self.session.study is None:
            self.state.setText(NO_STUDY)
        elif not items:
            self.state.setText(NOTHING)
        else:
            outliers = sum(item.outlier for item in items)
            judged = sum(item.review is not None for item in items)
            self.state.setText(
                f"{len(items)} results; marked as outliers (▲): {outliers}, "
                f"with a verdict: {judged}."
            )

    # -- files ---------------------------------------------------------------------------------

    def _choose_folder(self) -> None:
        self._ask(QFileDialog.FileMode.Directory, "Add a folder of results", self.add_folder)

    def add_folder(self, folder: str | Path) -> None:
        """Add the results in a folder that ``correspond`` or ``propagate`` wrote."""
        place = Path(folder)
        if not pairs_in(place, place.name, None):
            self.say(
                "error",
                f"{place} holds no results; choose a folder that correspond or propagate wrote.",
            )
            return
        self._folders = [*(f for f in self._folders if f != place), place]
        self.panel.refresh()

    def _choose_file(self) -> None:
        self._ask(QFileDialog.FileMode.AnyFile, "Export the table", self.export)

    def _ask(self, mode: QFileDialog.FileMode, title: str, done: Callable[[str], None]) -> None:
        dialog = QFileDialog(self, title)
        dialog.setFileMode(mode)
        if mode == QFileDialog.FileMode.AnyFile:
            dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
            dialog.setNameFilter("Table (*.csv)")
            dialog.setDefaultSuffix("csv")
            dialog.selectFile("review-table.csv")
        dialog.fileSelected.connect(done)
        dialog.open()
        self._dialog = dialog

    def export(self, path: str | Path) -> None:
        """Write the rows that are shown, in their order."""
        try:
            export_csv(Path(path), self.panel.table.shown())
        except GeminiError as error:
            self.say("error", str(error))
        else:
            self.say("info", f"The table is in {path}.")

    def sizeHint(self) -> QSize:
        """Open wide enough for the evidence."""
        return QSize(_WIDTH, super().sizeHint().height())

    def tear_down(self) -> None:
        """Let go of the viewer."""
        super().tear_down()
        self.panel.tear_down()

"""The form that makes a study, from files or from the layers that are open."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_gemini.engine.events import Event, ProgressEvent
from napari_gemini.engine.jobs import NewStudyJob, make_job
from napari_gemini.errors import GeminiError, InputError
from napari_gemini.study.candidates import Candidate, list_candidates
from napari_gemini.study.naming import check_name
from napari_gemini.volumes.reading import SUFFIXES
from napari_gemini.widgets.common.forms import settings_form
from napari_gemini.widgets.common.threads import in_thread
from napari_gemini.widgets.study.open_layers import LayerCase, layer_cases, write_sources
from napari_gemini.widgets.study.tables import plain_table

if TYPE_CHECKING:
    from napari_gemini.widgets.common.engine import JobHandle
    from napari_gemini.widgets.common.session import Session

_MAKE = "Make the study"
_IMAGES = "Images (" + " ".join(f"*{suffix}" for suffix in SUFFIXES) + ")"
_SEPARATOR = " ; "


class PathsEdit(QWidget):
    """A line for paths with buttons to choose them.

    Parameters
    ----------
    files
        Whether files can be chosen besides a folder.
    """

    changed = Signal()

    def __init__(self, hint: str, *, files: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.line = QLineEdit(self)
        self.line.setPlaceholderText(hint)
        self.line.editingFinished.connect(self.changed)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.line, 1)
        layout.addWidget(self._button("Folder…", self._choose_folder))
        if files:
            layout.addWidget(self._button("Files…", self._choose_files))

    def _button(self, text: str, action: Callable[[], None]) -> QPushButton:
        button = QPushButton(text, self)
        button.clicked.connect(lambda *_: action())
        return button

    @property
    def paths(self) -> list[Path]:
        """The paths, made absolute; none while the line is empty."""
        parts = self.line.text().split(_SEPARATOR.strip())
        return [Path(part.strip()).expanduser().absolute() for part in parts if part.strip()]

    def set_paths(self, paths: list[Path]) -> None:
        """Write paths into the line."""
        self.line.setText(_SEPARATOR.join(map(str, paths)))
        self.changed.emit()

    def _choose_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Choose a folder")
        if chosen:
            self.set_paths([Path(chosen)])

    def _choose_files(self) -> None:
        chosen, _ = QFileDialog.getOpenFileNames(self, "Choose images", "", _IMAGES)
        if chosen:
            self.set_paths([Path(item) for item in chosen])


class VolumePicker(QTableWidget):
    """One row for each file that holds several volumes: which of them to use."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, 2, parent)
        self.setHorizontalHeaderLabels(["File with several volumes", "Use volume"])
        plain_table(self, 24).setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.setMaximumHeight(140)
        self._spins: dict[str, QSpinBox] = {}
        self.hide()

    def show_candidates(self, candidates: list[Candidate]) -> None:
        """Ask for the volumes of these images; hidden when none has several."""
        several = [candidate for candidate in candidates if candidate.volumes > 1]
        old = self.choices
        self._spins = {}
        self.setRowCount(len(several))
        for row, candidate in enumerate(several):
            item = QTableWidgetItem(candidate.image.name)
            item.setFlags(Qt.ItemFlag.ItemIsEnabled)
            item.setToolTip(str(candidate.image))
            spin = QSpinBox()
            spin.setRange(0, candidate.volumes - 1)
            spin.setSuffix(f" of 0 to {candidate.volumes - 1}")
            spin.setValue(old.get(candidate.case, 0))
            self._spins[candidate.case] = spin
            self.setItem(row, 0, item)
            self.setCellWidget(row, 1, spin)
        self.setColumnWidth(1, 110)
        self.setVisible(bool(several))

    @property
    def choices(self) -> dict[str, int]:
        """The chosen volume by case."""
        return {case: spin.value() for case, spin in self._spins.items()}


class NewStudyForm(QWidget):
    """Asks for everything that a study needs, and has the engine make it.

    Parameters
    ----------
    session
        Whose engine makes it.
    """

    made = Signal(str)
    cancelled = Signal()
    #: (level, sentence)
    said = Signal(str, str)

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._handle: JobHandle | None = None
        self._layers: list[LayerCase] | None = None
        self._labels_made: tempfile.TemporaryDirectory[str] | None = None
        self._turn = 0
        self.name = QLineEdit("study", self)
        self.place = PathsEdit("where its folder is made", parent=self)
        self.images = PathsEdit("folder or files; they stay there", files=True, parent=self)
        self.labels = PathsEdit("optional; named like the images", parent=self)
        self.names = QLineEdit(self)
        self.names.setPlaceholderText("optional; such as liver, spleen, left kidney")
        self.settings = settings_form(
            NewStudyJob(folder=Path("x"), images=[Path("x")]), ["align", "spacing"]
        )
        self.settings.widget["align"].label = "Align scans by"
        self.settings.widget["spacing"].label = "Grid spacing, mm"
        self.from_layers = QPushButton("Use the open layers", self)
        self.from_layers.setCheckable(True)
        self.from_layers.setToolTip("Make the study from the images and labels in the viewer")
        self.from_layers.toggled.connect(self._on_layers)
        self.preview = QLabel(self)
        self.preview.setWordWrap(True)
        self.volumes = VolumePicker(self)
        self.make = QPushButton(_MAKE, self)
        self.make.clicked.connect(self._on_make)
        self.cancel = QPushButton("Cancel", self)
        self.cancel.clicked.connect(self._on_cancel)
        for edit in (self.images, self.labels):
            edit.changed.connect(self._look)
        self._lay_out()

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow("Name", self.name)
        form.addRow("In folder", self.place)
        form.addRow("Images", self.images)
        form.addRow("", self.from_layers)
        form.addRow("Labels", self.labels)
        form.addRow("Label names", self.names)
        buttons = QHBoxLayout()
        buttons.addWidget(self.make)
        buttons.addWidget(self.cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self.settings.widget.native)
        layout.addWidget(self.preview)
        layout.addWidget(self.volumes)
        layout.addLayout(buttons)
        layout.addStretch(1)

    # -- looking before anything is made -------------------------------------------------------

    def _look(self) -> None:
        """List what the study would hold, in a thread: folders may be large or far away."""
        sources, labels = self.images.paths, self.labels.paths
        self._turn += 1
        turn = self._turn
        if not sources or self._layers is not None:
            return

        def found(candidates: list[Candidate]) -> None:
            if turn == self._turn:
                self.preview.setText(describe(candidates))
                self.volumes.show_candidates(candidates)

        def failed(sentence: str) -> None:
            if turn == self._turn:
                self.volumes.show_candidates([])
                self.preview.setText(sentence)

        in_thread(
            lambda: list_candidates(sources, labels[0] if labels else None),
            "Looking for images",
            found,
            failed,
        )

    def _on_layers(self, checked: bool) -> None:
        self._layers = None
        if checked:
            try:
                self._layers = layer_cases(self._session.viewer)
            except GeminiError as error:
                self.said.emit("error", str(error))
                self.from_layers.setChecked(False)
                return
            self.preview.setText(describe_layers(self._layers))
            self.volumes.show_candidates([])
        else:
            self.preview.clear()
            self._look()
        for edit in (self.images, self.labels):
            edit.setEnabled(not checked)

    # -- making --------------------------------------------------------------------------------

    def _on_make(self) -> None:
        try:
            folder = self._folder()
            settings = self.settings.value
            names = parse_names(self.names.text())
        except GeminiError as error:
            self.said.emit("error", str(error))
            return
        if self._layers is None:
            if not self.images.paths:
                self.said.emit("error", "No images are named: choose a folder or files.")
                return
            labels = self.labels.paths
            self._submit(
                folder,
                self.images.paths,
                labels[0] if labels else None,
                settings,
                names,
                self.volumes.choices,
            )
            return
        self._labels_made = tempfile.TemporaryDirectory(prefix="napari-gemini-labels-")
        labels_dir = Path(self._labels_made.name)
        cases, images_dir = self._layers, folder.with_name(f"{folder.name}-images")
        self._busy("Writing the layers…")

        def written(result: tuple[list[Path], bool]) -> None:
            paths, labelled = result
            self._submit(folder, paths, labels_dir if labelled else None, settings, names, {})

        in_thread(
            lambda: write_sources(cases, images_dir, labels_dir),
            "Writing layers",
            written,
            self._failed,
        )

    def _folder(self) -> Path:
        if not self.place.paths:
            raise InputError("No place is named for the study: choose the folder to make it in.")
        return self.place.paths[0] / check_name(self.name.text().strip(), "study")

    def _submit(
        self,
        folder: Path,
        images: list[Path],
        labels: Path | None,
        settings: NewStudyJob,
        names: dict[int, str],
        volumes: dict[str, int],
    ) -> None:
        self._busy("Making the study…")
        try:
            job = make_job(
                NewStudyJob,
                folder=folder,
                images=images,
                labels=labels,
                align=settings.align,
                spacing=settings.spacing,
                names=names,
                volumes=volumes,
            )
            self._handle = self._session.engine.run(
                job,
                description="Making a study",
                on_event=self._hear,
                on_result=self._done,
                on_error=self._failed,
                on_cancelled=self._idle,
            )
        except GeminiError as error:
            self._failed(str(error))

    def _hear(self, event: Event) -> None:
        if isinstance(event, ProgressEvent):
            self.make.setText(f"Reading scan {event.done + 1} of {event.total}…")

    def _done(self, values: dict[str, Any]) -> None:
        self._idle()
        self.made.emit(str(values["folder"]))

    def _failed(self, sentence: str) -> None:
        self._idle()
        self.said.emit("error", sentence)

    def _busy(self, words: str) -> None:
        self.make.setText(words)
        self.make.setEnabled(False)

    def _idle(self) -> None:
        self._handle = None
        if self._labels_made is not None:
            self._labels_made.cleanup()
            self._labels_made = None
        self.make.setText(_MAKE)
        self.make.setEnabled(True)
        self.cancel.setEnabled(True)

    def _on_cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self.make.setText("Stopping…")
            self.cancel.setEnabled(False)
        else:
            self.cancelled.emit()


def parse_names(text: str) -> dict[int, str]:
    """Read numbered label names: ``liver, spleen`` becomes ``{1: "liver", 2: "spleen"}``."""
    names = [part.strip() for part in text.split(",")]
    return dict(enumerate(filter(None, names), start=1))


def describe(candidates: list[Candidate]) -> str:
    """Say what a study of these images would hold."""
    labelled = sum(candidate.labelled for candidate in candidates)
    several = sum(candidate.volumes > 1 for candidate in candidates)
    words = f"{len(candidates)} images, {labelled} of them with labels."
    if several:
        words += f" {several} hold several volumes: choose which one is the case."
    return words


def describe_layers(cases: list[LayerCase]) -> str:
    """Say what a study of these layers would hold, and what has to be written for it."""
    labelled = sum(case.labels is not None for case in cases)
    words = f"{len(cases)} image layers, {labelled} of them with labels."
    written = [case.name for case in cases if case.path is None]
    if written:
        words += (
            f" No file is known of {', '.join(written)}: written beside the study, lying in the "
            "body as shown here, which may not be true."
        )
    return words

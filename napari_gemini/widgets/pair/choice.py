"""A combo box of sources that keeps the choice while the list changes, and takes files too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QSizePolicy, QWidget

from napari_gemini.volumes.reading import SUFFIXES
from napari_gemini.widgets.pair.inputs import Source

_FILE = "file..."


class SourceBox(QComboBox):
    """Choose a case, a layer or a file.

    Parameters
    ----------
    none
        What the entry for nothing is called; None has no such entry.
    title
        Of the dialog for files.
    """

    chosen = Signal()

    def __init__(self, title: str, none: str | None = None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title, self._none = title, none
        self._files: list[Source] = []
        self._sources: list[Source] = []
        self._last = 0
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(6)
        self.activated.connect(self._on_activated)
        self.set_sources([])

    @property
    def source(self) -> Source | None:
        """What is chosen, None for nothing."""
        index = self.currentIndex() - (self._none is not None)
        return self._sources[index] if 0 <= index < len(self._sources) else None

    def set_sources(self, sources: Sequence[Source], prefer: int = 0) -> None:
        """Offer other sources; what was chosen stays chosen where it still is.

        Parameters
        ----------
        sources
            Besides the files that were chosen here.
        prefer
            Which one is chosen where nothing was.
        """
        before = self.source
        self._sources = [*sources, *self._files]
        self.blockSignals(True)
        self.clear()
        if self._none is not None:
            self.addItem(self._none)
        for source in self._sources:
            # A box of labels says so already; the name of the case has to fit.
            self.addItem(source.name.removeprefix("labels of "))
            self.setItemData(self.count() - 1, str(source.path or source.name), 3)
        self.addItem(_FILE)
        index = next(
            (i for i, s in enumerate(self._sources) if before is not None and s.key == before.key),
            min(prefer, len(self._sources) - 1),
        )
        self.setCurrentIndex(max(index, 0 if self._none is None else -1) + (self._none is not None))
        if not self._sources and self._none is None:
            self.setCurrentIndex(-1)
        self._last = self.currentIndex()
        self.blockSignals(False)

    def choose(self, source: Source) -> None:
        """Choose a source; a file that is not in the list yet is added."""
        for index, known in enumerate(self._sources):
            if known.key == source.key:
                self.setCurrentIndex(index + (self._none is not None))
                break
        else:
            self._files.append(source)
            others = [known for known in self._sources if known not in self._files]
            self.set_sources(others)
            self.setCurrentIndex(len(self._sources) - 1 + (self._none is not None))
        self._last = self.currentIndex()
        self.chosen.emit()

    def choose_file(self, path: Path) -> None:
        """Choose a file."""
        self.choose(Source(f"file: {path.name}", path=path))

    def choose_none(self) -> None:
        """Choose nothing, where that is offered."""
        if self._none is not None:
            self.setCurrentIndex(0)
            self._last = 0

    def _on_activated(self, index: int) -> None:
        if index != self.count() - 1:
            self._last = index
            self.chosen.emit()
            return
        patterns = " ".join(f"*{suffix}" for suffix in SUFFIXES)
        name, _ = QFileDialog.getOpenFileName(self, self._title, "", f"Images ({patterns})")
        if name:
            self.choose_file(Path(name))
        else:
            self.setCurrentIndex(self._last)

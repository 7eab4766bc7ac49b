"""The module ``ctk``: the four widgets of the panel, with the properties and signals it uses."""

from __future__ import annotations

import types

from PySide6.QtCore import Property, QMargins, Qt, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QDoubleSpinBox, QGroupBox, QHBoxLayout, QLineEdit, QWidget

from tests.slicer_module.standin.properties import use_properties

use_properties(__name__)


class _Collapsible(QGroupBox):
    """A box whose content can be folded away."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._collapsed = False
        self._folded: list[QWidget] = []

    def _is_collapsed(self) -> bool:
        return self._collapsed

    def _set_collapsed(self, collapsed: bool) -> None:
        self._collapsed = collapsed
        self._fold()
        self.contentsCollapsed.emit(collapsed)

    def _fold(self) -> None:
        self.maximumHeight = 24 if self._collapsed else 16777215
        if self._collapsed:
            direct = Qt.FindChildOption.FindDirectChildrenOnly
            children = self.findChildren(QWidget, options=direct)
            self._folded += [child for child in children if not child.isHidden()]
        for child in self._folded:
            child.visible = not self._collapsed
        if not self._collapsed:
            self._folded = []

    def showEvent(self, event: QShowEvent) -> None:
        """Fold what the .ui file put inside after it had set the property."""
        super().showEvent(event)
        if self._collapsed:
            self._fold()

    collapsed = Property(bool, _is_collapsed, _set_collapsed)


class ctkCollapsibleButton(_Collapsible):
    """Shown as a box; the real one is a button above a frame."""

    def _text(self) -> str:
        return self.title

    def _set_text(self, text: str) -> None:
        self.title = text

    text = Property(str, _text, _set_text)


class ctkCollapsibleGroupBox(_Collapsible):
    """A group box that folds."""


class ctkPathLineEdit(QWidget):
    """A line for a path; the real one completes names and has a button to browse."""

    currentPathChanged = Signal(str)
    Files, Dirs, Executable = 0x002, 0x001, 0x080

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.filters = self.Files | self.Dirs
        self._line = QLineEdit(self)
        self._line.textChanged.connect(self.currentPathChanged)
        layout = QHBoxLayout(self)
        layout.contentsMargins = QMargins(0, 0, 0, 0)
        layout.addWidget(self._line)

    def _path(self) -> str:
        return self._line.text

    def _set_path(self, path: str) -> None:
        self._line.text = path

    currentPath = Property(str, _path, _set_path)


class ctkSliderWidget(QDoubleSpinBox):
    """Value, range and step; the real one has a slider as well."""


WIDGETS = [ctkCollapsibleButton, ctkCollapsibleGroupBox, ctkPathLineEdit, ctkSliderWidget]


def make_ctk() -> types.ModuleType:
    """Return the module."""
    ctk = types.ModuleType("ctk")
    for widget in WIDGETS:
        setattr(ctk, widget.__name__, widget)
    return ctk

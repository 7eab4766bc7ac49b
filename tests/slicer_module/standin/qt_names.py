"""The module ``qt``: PySide6's classes under one roof, as PythonQt has them."""

from __future__ import annotations

import types

import PySide6.QtCore
import PySide6.QtGui
import PySide6.QtUiTools
import PySide6.QtWidgets
from PySide6.QtCore import QIODevice
from PySide6.QtWidgets import QWidget

from tests.slicer_module.standin.properties import use_properties

use_properties(__name__)

_loaders: list[PySide6.QtUiTools.QUiLoader] = []


def make_qt(custom_widgets: list[type[QWidget]]) -> types.ModuleType:
    """Return the module; its loader of .ui files knows the custom widgets."""
    qt = types.ModuleType("qt")
    for source in (PySide6.QtCore, PySide6.QtGui, PySide6.QtWidgets):
        for name in dir(source):
            if name.startswith("Q"):
                setattr(qt, name, getattr(source, name))

    class QUiLoader(PySide6.QtUiTools.QUiLoader):
        def __init__(self) -> None:
            super().__init__()
            for widget in custom_widgets:
                self.registerCustomWidget(widget)
            # What it made must not go with it.
            _loaders.append(self)

        def load(self, device: QIODevice) -> QWidget:
            widget = super().load(device)
            widget.kept_children = widget.findChildren(QWidget)
            return widget

    qt.QUiLoader = QUiLoader
    return qt

"""``slicer.ScriptedLoadableModule``: the four base classes of a scripted module."""

from __future__ import annotations

import sys
import types
import unittest
from pathlib import Path
from typing import Any

import slicer
from PySide6.QtWidgets import QVBoxLayout, QWidget

from tests.slicer_module.standin.properties import use_properties

use_properties(__name__)


class ModuleParent:
    """What Slicer hands to a module: takes its title and texts."""

    path = ""


class WidgetParent(QWidget):
    """What Slicer hands to a module's widget."""

    def __init__(self) -> None:
        super().__init__()
        self.isEntered = False
        QVBoxLayout(self)


class ScriptedLoadableModule:
    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = parent.helpText = parent.acknowledgementText = ""
        parent.categories, parent.dependencies, parent.contributors = [], [], []


class ScriptedLoadableModuleWidget:
    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = WidgetParent() if parent is None else parent
        self.layout = self.parent.layout()

    def resourcePath(self, filename: str) -> str:
        file = Path(sys.modules[type(self).__module__].__file__)
        return str(file.parent / "Resources" / filename)

    def setup(self) -> None: ...

    def cleanup(self) -> None: ...


class ScriptedLoadableModuleLogic:
    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        tag = self.moduleName
        node = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(tag)
            node.SetModuleName(tag)
            node = slicer.mrmlScene.AddNode(node)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.messages: list[str] = []

    def delayDisplay(self, message: str, *_: Any, **__: Any) -> None:
        self.messages.append(message)

    def runTest(self) -> None: ...


def make_scripted() -> types.ModuleType:
    """Return the module."""
    module = types.ModuleType("slicer.ScriptedLoadableModule")
    for name, value in list(globals().items()):
        if name.startswith("ScriptedLoadable"):
            setattr(module, name, value)
    return module

"""Turn this process into something the module's widget takes for Slicer.

Stand-ins for the window, on Slicer's real scene. Only :func:`boot` changes anything, and only in
the process that calls it: it adds names to the real ``slicer`` of slicer-core and puts ``qt``,
``ctk`` and three modules of Slicer's Python into ``sys.modules``. They are our own, small, and
behave like Slicer's as far as its documentation says; they prove that the panel is wired, not that
it works in Slicer.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import types
from pathlib import Path
from typing import Any

import slicer
import slicer.util
from PySide6.QtCore import QSettings, QtMsgType, qInstallMessageHandler
from PySide6.QtWidgets import QApplication, QWidget

from tests.slicer_module.standin import ctk_names, mrml_widgets
from tests.slicer_module.standin.parameter_nodes import make_wrapper_module
from tests.slicer_module.standin.properties import use_properties
from tests.slicer_module.standin.qt_names import make_qt
from tests.slicer_module.standin.scripted import make_scripted

use_properties(__name__)
MODULE_FOLDER = Path(__file__).resolve().parents[3] / "slicer_module" / "GeminiPropagate"


class Answers:
    """What a user would answer to questions; remembers them."""

    def __init__(self) -> None:
        self.confirm = True
        self.questions: list[str] = []

    def ask(self, text: str, windowTitle: str | None = None, parent: Any = None) -> bool:
        self.questions.append(text)
        return self.confirm


answers = Answers()


class Language:
    """The language of this "Slicer": English, or one that marks what was translated."""

    def __init__(self) -> None:
        self.foreign = False

    def translate(self, text: str) -> str:
        return f"‹{text}›" if self.foreign else text


language = Language()


def boot(settings_folder: Path) -> Any:
    """Make application, scene and names, and return the module GeminiPropagate.

    Parameters
    ----------
    settings_folder
        Where the settings of this "Slicer" are kept.
    """
    _hold_none()
    application = QApplication.instance() or QApplication(["Slicer stand-in"])
    qInstallMessageHandler(_quiet)
    _extend_slicer(application, settings_folder)
    sys.modules["qt"] = make_qt(ctk_names.WIDGETS + mrml_widgets.WIDGETS)
    sys.modules["ctk"] = ctk_names.make_ctk()
    sys.modules["slicer.ScriptedLoadableModule"] = make_scripted()
    sys.modules["slicer.parameterNodeWrapper"] = make_wrapper_module()
    sys.modules["slicer.i18n"] = _translations()
    sys.path.insert(0, str(MODULE_FOLDER))
    use_properties("GeminiPropagate", *_library_modules())
    return importlib.import_module("GeminiPropagate")


def _hold_none() -> None:
    """Keep Python alive although PySide6 loses references to None.

    Python counts them up to 3.11 and ends with the last one, which a slow machine reaches. From
    3.12 on (Slicer's own) None needs no count.
    """
    if sys.version_info < (3, 12):
        ctypes.c_ssize_t.from_address(id(None)).value += 1_000_000_000


def new_scene() -> Any:
    """Make an empty scene as Slicer has it at its start."""
    scene = slicer.vtkMRMLScene()
    slicer.mrmlScene = scene
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    logic = slicer.vtkSlicerSegmentationsModuleLogic()
    logic.SetMRMLScene(scene)
    slicer.modules.segmentations = types.SimpleNamespace(logic=lambda: logic)
    for name in ("Red", "Green", "Yellow"):
        view = slicer.vtkMRMLSliceNode()
        view.SetLayoutName(name)
        view.SetName(name)
        scene.AddNode(view)
        composite = slicer.vtkMRMLSliceCompositeNode()
        composite.SetLayoutName(name)
        scene.AddNode(composite)
    return scene


def _library_modules() -> list[str]:
    files = sorted((MODULE_FOLDER / "GeminiPropagateLib").glob("*.py"))
    return [f"GeminiPropagateLib.{file.stem}" for file in files]


def _extend_slicer(application: QApplication, settings_folder: Path) -> None:
    settings = QSettings(str(settings_folder / "Slicer.ini"), QSettings.Format.IniFormat)
    slicer.app = types.SimpleNamespace(
        userSettings=lambda: settings,
        slicerUserSettingsFilePath=str(settings_folder / "Slicer.ini"),
        launcherExecutableFilePath=str(settings_folder / "Slicer"),
        temporaryPath=str(settings_folder),
        testingEnabled=lambda: True,
        processEvents=application.processEvents,
    )
    slicer.modules = types.SimpleNamespace()
    slicer.util.confirmOkCancelDisplay = answers.ask
    slicer.util.mainWindow = lambda: None
    slicer.util.startupEnvironment = lambda: dict(os.environ)
    slicer.util.childWidgetVariables = _named_children
    new_scene()


def _named_children(widget: QWidget) -> Any:
    named = types.SimpleNamespace()
    for child in widget.findChildren(QWidget):
        name = child.objectName
        if name and not name.startswith("qt_"):
            setattr(named, name, child)
    return named


def _translations() -> types.ModuleType:
    module = types.ModuleType("slicer.i18n")
    module.tr = lambda text: language.translate(text)
    module.translate = lambda context, text: text
    return module


def _quiet(kind: QtMsgType, context: Any, message: str) -> None:
    """Drop what the .ui file's connections of vtkMRMLScene* say under PySide6; show the rest."""
    if "mrmlSceneChanged" not in message and "QObject::connect:  (" not in message:
        print(f"Qt: {message}", file=sys.stderr)

"""Section Compute: which Python, model, device and refinement."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from GeminiPropagateLib.banner import banner_for
from GeminiPropagateLib.command_run import CommandRun
from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.interpreters import (
    Interpreter,
    InterpreterCheck,
    InterpreterReport,
    external_python,
    slicer_python,
)
from GeminiPropagateLib.jobs import PropagateOptions
from GeminiPropagateLib.ui_tools import blocked, set_items

#: Model that the engine knows by this word.
NO_MODEL = "none"
_DEVICES = ("auto", "cpu", "cuda", "mps")
_SETTINGS = "GeminiAtlas/"


class ComputeSection:
    """The interpreter and the device belong to the machine (settings), the rest to the scene."""

    def __init__(self, panel: Any) -> None:
        self._panel = panel
        self._ui = ui = panel.ui
        self._check: InterpreterCheck | None = None
        self._models: CommandRun | None = None
        self._checked = ""
        self._automatic = _("automatic")
        settings = slicer.app.userSettings()
        external = str(settings.value(_SETTINGS + "externalPython") or "")
        ui.externalPythonEdit.filters = ctk.ctkPathLineEdit.Files
        ui.outputFolderEdit.filters = ctk.ctkPathLineEdit.Dirs
        ui.externalPythonEdit.currentPath = external
        ui.externalPythonButton.checked = bool(external)
        ui.slicerPythonButton.checked = not external
        set_items(ui.deviceComboBox, _DEVICES, str(settings.value(_SETTINGS + "device") or "auto"))
        set_items(ui.modelComboBox, (self._automatic, NO_MODEL), self._automatic)
        ui.slicerPythonButton.toggled.connect(self._python_changed)
        ui.externalPythonEdit.currentPathChanged.connect(self._python_changed)
        ui.checkButton.clicked.connect(self.check)
        ui.installButton.clicked.connect(panel.install)
        ui.modelComboBox.currentTextChanged.connect(self._model_changed)
        ui.modelFolderButton.clicked.connect(self._choose_model)
        ui.deviceComboBox.currentTextChanged.connect(self._device_changed)
        ui.outputFolderEdit.currentPathChanged.connect(self._output_changed)
        self._show_python()

    def update(self) -> None:
        """Show what the parameter node holds."""
        ui, parameters = self._ui, self._panel.parameters
        if parameters is None:
            return
        with blocked(ui.modelComboBox, ui.outputFolderEdit):
            if ui.modelComboBox.currentText != (parameters.model or self._automatic):
                ui.modelComboBox.setEditText(parameters.model or self._automatic)
            if ui.outputFolderEdit.currentPath != parameters.outputFolder:
                ui.outputFolderEdit.currentPath = parameters.outputFolder

    # -- what was chosen -----------------------------------------------------------------------

    def interpreter(self) -> Interpreter:
        """Return the Python that runs the engine.

        Raises
        ------
        PropagateError
            If none is chosen or it is not there.
        """
        if self._ui.slicerPythonButton.checked:
            return Interpreter(slicer_python())
        path = str(self._ui.externalPythonEdit.currentPath)
        return external_python(path, slicer.util.startupEnvironment())

    def use(self, python: str) -> None:
        """Choose another Python (after an installation)."""
        self._ui.externalPythonEdit.currentPath = python
        self._ui.externalPythonButton.checked = True
        self._checked = ""

    @property
    def device(self) -> str:
        """``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``."""
        return str(self._ui.deviceComboBox.currentText).strip() or "auto"

    def options(self) -> PropagateOptions:
        """Return how to propagate."""
        parameters = self._panel.parameters
        return PropagateOptions(
            model=parameters.model or None,
            device=self.device,
            refine=None if parameters.refine < 0 else int(parameters.refine),
            spacing=float(parameters.gridSpacing) or None,
        )

    def output_folder(self) -> Path | None:
        """Return where to keep the files, None for a temporary folder."""
        folder = str(self._panel.parameters.outputFolder).strip()
        return Path(folder).expanduser() if folder else None

    # -- checking the interpreter --------------------------------------------------------------

    def check_once(self) -> None:
        """Check the chosen interpreter unless that was done; for entering the module."""
        if self._check is None and self._identity() != self._checked:
            self.check()

    def check(self, *_args: object) -> None:
        """Ask the interpreter what works, in a process of its own; :meth:`poll` hears it."""
        self._stop_checks()
        self._checked = self._identity()
        try:
            self._check = InterpreterCheck(self.interpreter())
        except PropagateError as error:
            self._take(InterpreterReport(False, str(error)))
            return
        self._ui.pythonStatusLabel.text = _("Checking ...")
        self._panel.watch()

    def poll(self) -> bool:
        """Take in answers; True while one is awaited."""
        if self._check is not None:
            report = self._check.poll()
            if report is not None:
                interpreter, self._check = self._check.interpreter, None
                self._take(report)
                if report.ok:
                    self._ask_for_models(interpreter)
        if self._models is not None:
            # An engine without shipped models is no problem of the user's.
            try:
                answer = self._models.poll()
            except PropagateError:
                self._models = None
            else:
                if answer is not None:
                    self._models = None
                    self._show_models(answer)
        return self._check is not None or self._models is not None

    def close(self) -> None:
        """End what is awaited."""
        self._stop_checks()

    def _take(self, report: InterpreterReport) -> None:
        self._ui.pythonStatusLabel.text = report.sentence
        for line in report.details:
            self._panel.log("debug", line)
        self._panel.show_banner(banner_for(report))

    def _ask_for_models(self, interpreter: Interpreter) -> None:
        with contextlib.suppress(PropagateError):
            self._models = CommandRun(interpreter.path, ["models", "list"], interpreter.environment)

    def _show_models(self, answer: dict[str, Any]) -> None:
        models = answer.get("models")
        names = [
            str(model.get("name")) if isinstance(model, dict) else str(model)
            for model in (models if isinstance(models, list) else [])
        ]
        current = str(self._ui.modelComboBox.currentText)
        set_items(self._ui.modelComboBox, (self._automatic, NO_MODEL, *names), current)

    def _identity(self) -> str:
        own = self._ui.slicerPythonButton.checked
        return "PythonSlicer" if own else str(self._ui.externalPythonEdit.currentPath)

    def _stop_checks(self) -> None:
        for running in (self._check, self._models):
            if running is not None:
                running.kill()
        self._check = self._models = None

    # -- widgets -------------------------------------------------------------------------------

    def _show_python(self) -> None:
        self._ui.externalPythonEdit.visible = not self._ui.slicerPythonButton.checked

    def _python_changed(self, *_args: object) -> None:
        own = self._ui.slicerPythonButton.checked
        external = "" if own else str(self._ui.externalPythonEdit.currentPath)
        slicer.app.userSettings().setValue(_SETTINGS + "externalPython", external)
        self._ui.pythonStatusLabel.text = ""
        self._show_python()

    def _model_changed(self, *_args: object) -> None:
        if self._panel.parameters is not None:
            text = str(self._ui.modelComboBox.currentText).strip()
            self._panel.parameters.model = "" if text == self._automatic else text

    def _choose_model(self, *_args: object) -> None:
        folder = qt.QFileDialog.getExistingDirectory(None, _("Folder of a model or a training"))
        if folder:
            self._ui.modelComboBox.setEditText(str(folder))

    def _device_changed(self, *_args: object) -> None:
        slicer.app.userSettings().setValue(_SETTINGS + "device", self.device)

    def _output_changed(self, *_args: object) -> None:
        if self._panel.parameters is not None:
            self._panel.parameters.outputFolder = str(self._ui.outputFolderEdit.currentPath)

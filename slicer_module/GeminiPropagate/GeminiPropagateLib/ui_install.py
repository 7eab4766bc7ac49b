"""The dialog behind Install: from where, to where; asks before anything happens."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from GeminiPropagateLib.banner import Banner
from GeminiPropagateLib.errors import INSTALL, PropagateError
from GeminiPropagateLib.install import InstallPlan, InstallRun, plan_environment, plan_slicer
from GeminiPropagateLib.interpreters import base_python, slicer_python


class InstallDialog:
    """Asks for the package and the place; shown without blocking.

    Parameters
    ----------
    on_accept
        Called without arguments when the user pressed Install.
    """

    def __init__(self, on_accept: Any) -> None:
        self.dialog = qt.QDialog(slicer.util.mainWindow())
        self.dialog.windowTitle = _("Install napari-gemini")
        form = qt.QFormLayout(self.dialog)
        self.package = ctk.ctkPathLineEdit()
        self.package.filters = ctk.ctkPathLineEdit.Files | ctk.ctkPathLineEdit.Dirs
        self.own_environment = qt.QRadioButton(_("an environment of its own"))
        self.own_environment.checked = True
        self.into_slicer = qt.QRadioButton(_("Slicer's own Python, through SlicerPyTorch"))
        self.folder = ctk.ctkPathLineEdit()
        self.folder.filters = ctk.ctkPathLineEdit.Dirs
        self.folder.currentPath = str(_default_folder())
        self.base = ctk.ctkPathLineEdit()
        self.base.filters = ctk.ctkPathLineEdit.Files
        self.base.currentPath = base_python(slicer.util.startupEnvironment())
        self.pip_options = qt.QLineEdit()
        self.pip_options.placeholderText = _("such as --find-links FOLDER")
        form.addRow(_("Wheel or folder:"), self.package)
        form.addRow(_("Into:"), self.own_environment)
        form.addRow("", self.into_slicer)
        form.addRow(_("Folder of the environment:"), self.folder)
        form.addRow(_("Made with Python:"), self.base)
        form.addRow(_("Options for pip:"), self.pip_options)
        self._buttons = qt.QDialogButtonBox()
        install = self._buttons.addButton(_("Install..."), qt.QDialogButtonBox.AcceptRole)
        install.clicked.connect(lambda *_args: self._accept(on_accept))
        self._buttons.addButton(qt.QDialogButtonBox.Cancel).clicked.connect(
            lambda *_args: self.dialog.close()
        )
        form.addRow(self._buttons)

    def plan(self) -> InstallPlan:
        """Return what the chosen installation would do.

        Raises
        ------
        PropagateError
            If something is missing.
        """
        package, options = str(self.package.currentPath), str(self.pip_options.text)
        if self.into_slicer.checked:
            return plan_slicer(
                package,
                slicer_python(),
                str(slicer.app.launcherExecutableFilePath),
                hasattr(slicer.modules, "pytorchutils"),
                options,
            )
        return plan_environment(
            package,
            Path(str(self.folder.currentPath)).expanduser(),
            str(self.base.currentPath),
            slicer.util.startupEnvironment(),
            options,
        )

    def _accept(self, on_accept: Any) -> None:
        self.dialog.close()
        on_accept()


class InstallSection:
    """Plans, asks, installs in processes of its own, then chooses the new Python."""

    def __init__(self, panel: Any) -> None:
        self._panel = panel
        self._run: InstallRun | None = None
        self._python = ""
        self.dialog: InstallDialog | None = None

    @property
    def running(self) -> bool:
        """Whether an installation is going on."""
        return self._run is not None

    def ask(self) -> None:
        """Show the dialog; while an installation runs, offer to cancel it."""
        if self._run is not None:
            if slicer.util.confirmOkCancelDisplay(
                _("Cancel the installation?"), _("Install napari-gemini")
            ):
                self._run.kill()
            return
        # Kept, so that one wrong entry does not cost the others.
        self.dialog = self.dialog or InstallDialog(self._begin)
        self.dialog.dialog.show()

    def poll(self) -> bool:
        """Take in what happened; True while an installation is going on."""
        if self._run is None:
            return False
        for line in self._run.poll():
            self._panel.log("info", line)
        self._panel.ui.pythonStatusLabel.text = _("{title} ...").format(title=self._run.title)
        if self._run.error:
            error, self._run = self._run.error, None
            self._panel.ui.pythonStatusLabel.text = error
            self._panel.show_banner(Banner(error, INSTALL))
        elif self._run.done:
            self._run = None
            self._use()
        return self.running

    def close(self) -> None:
        """End an installation with everything it started."""
        if self._run is not None:
            self._run.kill()
            self._run = None
        if self.dialog is not None:
            self.dialog.dialog.close()
            self.dialog = None

    def _begin(self) -> None:
        assert self.dialog is not None
        try:
            plan = self.dialog.plan()
        except PropagateError as error:
            self._panel.show_banner(Banner(str(error), INSTALL))
            return
        if not slicer.util.confirmOkCancelDisplay(plan.question, _("Install napari-gemini")):
            return
        self._python = plan.python
        self._run = InstallRun(plan.steps)
        self._panel.show_banner(None)
        self._panel.watch()

    def _use(self) -> None:
        own = ""
        with contextlib.suppress(PropagateError):
            own = slicer_python()
        if self._python != own:
            self._panel.compute.use(self._python)
        self._panel.compute.check()


def _default_folder() -> Path:
    return Path(str(slicer.app.slicerUserSettingsFilePath)).parent / "GeminiAtlas" / "environment"

"""The panel: its sections, the parameter node they share, one timer, banner and log."""

from __future__ import annotations

import logging
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from GeminiPropagateLib.banner import Banner, banner_for_error
from GeminiPropagateLib.errors import COMPUTE, INSTALL, PropagateError
from GeminiPropagateLib.scene_nodes import by_products
from GeminiPropagateLib.ui_compute import ComputeSection
from GeminiPropagateLib.ui_inputs import InputsSection
from GeminiPropagateLib.ui_install import InstallSection
from GeminiPropagateLib.ui_quality import QualitySection
from GeminiPropagateLib.ui_results import ResultsSection
from GeminiPropagateLib.ui_run import RunSection
from GeminiPropagateLib.ui_tools import hide_nodes
from GeminiPropagateLib.ui_training import TrainingSection

_POLL_MS = 200


class Panel:
    """Everything between the widgets of the .ui file and the logic.

    Parameters
    ----------
    ui
        The named widgets.
    logic
        The module's logic: :attr:`propagation` and :attr:`training` are what runs.
    """

    def __init__(self, ui: Any, logic: Any) -> None:
        self.ui = ui
        self.logic = logic
        self.parameters: Any = None
        self.updating = False
        self._banner: Banner | None = None
        self._wanted = False
        self._timer = qt.QTimer()
        self._timer.interval = _POLL_MS
        self._timer.timeout.connect(self.poll)
        ui.trainingProgressBar.maximum = 1000
        self.results = ResultsSection(self)
        self.quality = QualitySection(self)
        self.inputs = InputsSection(self)
        self.installation = InstallSection(self)
        self.compute = ComputeSection(self)
        self.run = RunSection(self)
        self.training = TrainingSection(self)
        ui.bannerButton.clicked.connect(self._banner_pressed)
        self.show_banner(None)
        self.update()

    # -- the parameter node and the scene ------------------------------------------------------

    def set_parameters(self, parameters: Any) -> None:
        """Show another parameter node, or none."""
        self.parameters = parameters
        self.update()

    def update(self, *_args: object) -> None:
        """Show what the parameter node holds."""
        if self.updating:
            return
        self.updating = True
        try:
            self._hide_by_products()
            for section in (self.inputs, self.compute, self.run, self.training):
                section.update()
        finally:
            self.updating = False

    def _hide_by_products(self) -> None:
        """Offer no maps and folds of earlier results as inputs."""
        ui = self.ui
        selectors = (
            ui.atlasVolumeSelector,
            ui.atlasSegmentationSelector,
            ui.furtherVolumeSelector,
            ui.furtherSegmentationSelector,
            ui.targetsSelector,
            ui.exampleVolumeSelector,
            ui.exampleSegmentationSelector,
            ui.othersSelector,
        )
        hide_nodes(selectors, by_products(slicer.mrmlScene))

    def enter(self) -> None:
        """Look at the interpreter when the user opens the module, not before."""
        self.results.refresh()
        self.compute.check_once()

    def scene_closing(self) -> None:
        """Let go of every node; a propagation ends, a training goes on without us."""
        self.run.cancel()
        self.training.close()
        self.set_parameters(None)
        self.quality.forget()
        self.results.forget()

    def scene_opened(self) -> None:
        """Show what a loaded scene brought."""
        self.results.refresh()

    def close(self) -> None:
        """End everything; the module is being unloaded."""
        self._timer.stop()
        for section in (self.compute, self.installation, self.run, self.training, self.quality):
            section.close()

    # -- what goes on --------------------------------------------------------------------------

    def watch(self) -> None:
        """Start the timer; it stops by itself when nothing goes on."""
        self._wanted = True
        if not self._timer.active:
            self._timer.start()

    def poll(self) -> None:
        """Hear every section; one that fails is closed and says so, the others go on."""
        busy = self._wanted = False
        for section in (self.compute, self.installation, self.run, self.training):
            try:
                busy = section.poll() or busy
            except PropagateError as error:
                section.close()
                self.show_banner(banner_for_error(error))
            except Exception as error:
                logging.exception("GeminiPropagate")
                section.close()
                self.show_banner(
                    Banner(_("Something unexpected went wrong: {error}").format(error=error))
                )
        # A section that ended may have started something in another one.
        if not busy and not self._wanted:
            self._timer.stop()
            self.update()

    def install(self, *_args: object) -> None:
        """Open the dialog of the installation."""
        self.installation.ask()

    # -- banner and log ------------------------------------------------------------------------

    def show_banner(self, banner: Banner | None) -> None:
        """Show a sentence above the panel, or take it away."""
        self._banner = banner
        self.ui.bannerFrame.visible = banner is not None
        if banner is not None:
            self.ui.bannerLabel.text = banner.sentence
            self.ui.bannerButton.text = banner.button
            self.log("error", banner.sentence)

    def log(self, level: str, text: str) -> None:
        """Add a line to the log; what is not for users goes to Slicer's own log."""
        if level == "debug":
            logging.debug("GeminiPropagate: %s", text)
            return
        sign = {"warning": _("Warning: "), "error": _("Error: ")}.get(level, "")
        self.ui.logEdit.appendPlainText(sign + text)

    def _banner_pressed(self, *_args: object) -> None:
        step = self._banner.step if self._banner is not None else ""
        self.show_banner(None)
        if step == INSTALL:
            self.install()
        elif step == COMPUTE:
            self.ui.computeSection.collapsed = False
            self.ui.externalPythonEdit.setFocus()

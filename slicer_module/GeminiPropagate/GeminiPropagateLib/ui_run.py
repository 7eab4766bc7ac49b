"""Section with Apply, Cancel, progress and log."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _
from slicer.util import WaitCursor

from GeminiPropagateLib.banner import banner_for_error
from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.sentences import duration
from GeminiPropagateLib.session import FAILED, FINAL_STATES


class RunSection:
    """Starts a propagation, shows how it goes, and hands results on as they come."""

    def __init__(self, panel: Any) -> None:
        self._panel = panel
        self._ui = ui = panel.ui
        ui.applyButton.clicked.connect(self.apply)
        ui.cancelButton.clicked.connect(self.cancel)
        ui.progressBar.maximum = 1000

    @property
    def running(self) -> bool:
        """Whether a propagation is going on."""
        return self._panel.logic.propagation is not None

    def update(self) -> None:
        """Enable what can be pressed."""
        missing = self._panel.inputs.what_is_missing()
        self._ui.applyButton.enabled = not missing and not self.running
        self._ui.applyButton.toolTip = missing or _("Carry the atlas's labels to every target.")
        self._ui.cancelButton.enabled = self.running

    def apply(self, *_args: object) -> None:
        """Start a propagation with what is chosen."""
        panel = self._panel
        panel.show_banner(None)
        # Events are heard while the inputs are written: no second run may start.
        self._ui.applyButton.enabled = False
        try:
            # Writing the inputs of many targets takes a while.
            with WaitCursor():
                panel.logic.startPropagation(
                    panel.compute.interpreter(),
                    panel.inputs.atlases(),
                    panel.inputs.targets(),
                    panel.compute.options(),
                    panel.inputs.vote_by(),
                    panel.compute.output_folder(),
                )
        except PropagateError as error:
            panel.show_banner(banner_for_error(error))
        else:
            self._show(0.0, _("Starting"))
            panel.watch()
        finally:
            self.update()

    def cancel(self, *_args: object) -> None:
        """Ask the propagation to stop; its process tree is ended when it does not."""
        if self.running:
            self._panel.logic.propagation.cancel()

    def poll(self) -> bool:
        """Take in what happened; True while a propagation is going on."""
        if not self.running:
            return False
        update = self._panel.logic.propagation.poll()
        run = update.run
        for level, text in run.log:
            self._panel.log(level, text)
        self._show(run.fraction, _status(run.message, run.remaining))
        if update.imported or run.finished:
            self._panel.results.take(update.imported)
        if run.state in FINAL_STATES:
            self._panel.logic.endPropagation()
            self._ui.progressLabel.text = run.message
            if run.state == FAILED:
                self._panel.show_banner(
                    banner_for_error(PropagateError(run.error or run.message, run.step))
                )
            self._panel.results.refresh()
            self.update()
        return self.running

    def close(self) -> None:
        """End a propagation with everything it started."""
        self._panel.logic.endPropagation()

    def _show(self, fraction: float, text: str) -> None:
        self._ui.progressBar.value = round(1000 * fraction)
        self._ui.progressLabel.text = text


def _status(message: str, remaining: float | None) -> str:
    return (
        message
        if remaining is None
        else _("{message} – about {duration} left").format(
            message=message, duration=duration(remaining)
        )
    )

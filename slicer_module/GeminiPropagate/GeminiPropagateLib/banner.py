"""What the banner above the panel says, and which step it offers. Standard library alone."""

from __future__ import annotations

from dataclasses import dataclass

from GeminiPropagateLib.errors import COMPUTE, INSTALL, PropagateError
from GeminiPropagateLib.interpreters import InterpreterReport
from GeminiPropagateLib.translations import _


@dataclass(frozen=True)
class Banner:
    """One sentence and the step that its button offers, empty for none."""

    sentence: str
    step: str = ""

    @property
    def button(self) -> str:
        """Text of the button."""
        if self.step == INSTALL:
            return _("Install...")
        return _("Go to Compute") if self.step == COMPUTE else _("Dismiss")


def banner_for(report: InterpreterReport) -> Banner | None:
    """Return the banner for a check of the interpreter, None when everything is there."""
    if report.ok:
        return None
    return Banner(report.sentence, INSTALL if report.can_install else COMPUTE)


def banner_for_error(error: PropagateError) -> Banner:
    """Return the banner for an error, with the step that mends it."""
    return Banner(str(error), error.step)

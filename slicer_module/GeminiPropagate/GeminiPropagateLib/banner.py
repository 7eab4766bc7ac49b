"""What the banner above the panel says, and which step it offers. Standard library alone."""

from __future__ import annotations

from dataclasses import dataclass

from GeminiPropagateLib.interpreters import InterpreterReport

#: Steps that a banner can offer, and the text of their button.
INSTALL, COMPUTE, DISMISS = "install", "compute", "dismiss"
BUTTONS = {INSTALL: "Install...", COMPUTE: "Go to Compute", DISMISS: "Dismiss"}


@dataclass(frozen=True)
class Banner:
    """One sentence and the step that its button offers."""

    sentence: str
    step: str = DISMISS


def banner_for(report: InterpreterReport) -> Banner | None:
    """Return the banner for a check of the interpreter, None when everything is there."""
    if report.ok:
        return None
    return Banner(report.sentence, INSTALL if report.can_install else COMPUTE)


def banner_for_error(sentence: str) -> Banner:
    """Return the banner for a sentence of an error, with the step that its words point to."""
    if "has no napari-gemini" in sentence:
        return Banner(sentence, INSTALL)
    if "under Compute" in sentence or "a Python" in sentence:
        return Banner(sentence, COMPUTE)
    return Banner(sentence)

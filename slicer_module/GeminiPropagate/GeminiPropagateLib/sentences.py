"""The engine's sentences in the words of the panel. Standard library alone."""

from __future__ import annotations

import re

from GeminiPropagateLib.translations import _


def in_panel_words(sentence: str) -> str:
    """Replace options of the command line by what they are called in the panel.

    The engine speaks English; what stands in the panel has the panel's language.
    """
    for option, words in _in_the_panel().items():
        sentence = re.sub(option, lambda _match, words=words: words, sentence)
    return sentence


def _in_the_panel() -> dict[str, str]:
    """Return options of the command line (patterns, longest first) and the panel's words."""
    return {
        r"a larger --spacing": _('a larger "Grid spacing"'),
        r"--spacing": _('"Grid spacing"'),
        r"--device cpu": _('the device "cpu"'),
        r"--device": _('"Device"'),
        r"--preset quick": _('the preset "quick"'),
        r"--model": _('"Model"'),
        r"--refine": _('"Refinement steps"'),
        r"\(--out\)": "",
        r"Run the same command again": _("Press Apply again"),
    }


def duration(seconds: float) -> str:
    """Return a time for people: ``45 s``, ``3 min``, ``2 h 10 min``."""
    if seconds < 60:
        return _("{seconds} s").format(seconds=max(1, round(seconds)))
    minutes = round(seconds / 60)
    if minutes < 60:
        return _("{minutes} min").format(minutes=minutes)
    return _("{hours} h {minutes} min").format(hours=minutes // 60, minutes=minutes % 60)

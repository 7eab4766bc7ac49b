"""The engine's sentences in the words of the panel. Standard library alone."""

from __future__ import annotations

import re

#: Options of the command line and where the panel has them.
_IN_THE_PANEL = {
    r"a larger --spacing": 'a larger "Grid spacing"',
    r"--spacing": '"Grid spacing"',
    r"--device cpu": 'the device "cpu"',
    r"--device": '"Device"',
    r"--preset quick": 'the preset "quick"',
    r"--model": '"Model"',
    r"--refine": '"Refinement steps"',
    r"\(--out\)": "",
    r"Run the same command again": "Press Apply again",
}


def in_panel_words(sentence: str) -> str:
    """Replace options of the command line by what they are called in the panel."""
    for option, words in _IN_THE_PANEL.items():
        sentence = re.sub(option, words, sentence)
    return sentence


def duration(seconds: float) -> str:
    """Return a time for people: ``45 s``, ``3 min``, ``2 h 10 min``."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"

"""The function that translates texts, for files that run without Slicer as well.

In Slicer it is Slicer's own: it finds the language pack's entry by the file that calls it, so it
is handed on as it is and never wrapped. Arguments are literals, with named places for values.
"""

from __future__ import annotations

try:
    from slicer.i18n import tr as _
except ImportError:

    def _(text: str) -> str:
        """Return a text as it is: nobody translates outside Slicer."""
        return text


__all__ = ["_"]

"""Properties as attributes (``label.text = "x"``), as PythonQt has them.

PySide6 switches this on for each module that asks; in a process where some do and others do not,
it mixes them up, so every module of the stand-ins and of the scenarios asks.
"""

from __future__ import annotations

import PySide6.QtCore  # noqa: F401 - before shibokensupport, which it brings
from shibokensupport import feature

_TRUE_PROPERTY = 0x02


def use_properties(*modules: str) -> None:
    """Give modules properties in place of the methods that get and set them."""
    for name in modules:
        feature.set_selection(_TRUE_PROPERTY, name)
